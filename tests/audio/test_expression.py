"""Expressive copies: what was asked for is heard, the formants stay, and nothing breaks on what is no speech."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from openkith.audio import load
from openkith.audio.degrade import add_noise, noise
from openkith.audio.expression import Expression, draw_expression, express, express_all, track_pitch
from openkith.errors import AudioError, ConfigError

RATE = 16_000
FORMANTS = (700.0, 1200.0, 2500.0, 3500.0)


def contour(pitch: float, seconds: float, spread: float = 0.1) -> np.ndarray:
    """Hz at each sample: two and a half turns a second about a level."""
    return pitch * np.exp(spread * np.sin(2 * np.pi * 2.5 * np.arange(round(seconds * RATE)) / RATE))


def vowel(pitch: float = 140, seconds: float = 1.2, spread: float = 0.1) -> np.ndarray:
    """A voice: pulses of a wandering pitch through one resonance for each formant."""
    hz = contour(pitch, seconds, spread)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    x = sum(np.cos(k * phase) / k**0.7 for k in range(1, int(7000 / hz.max())))
    for formant, width in zip(FORMANTS, (80, 100, 120, 150), strict=True):
        radius = np.exp(-np.pi * width / RATE)
        x = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], x)
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


def pitch_by_hand(x: np.ndarray) -> np.ndarray:
    """Pitch (Hz) of frames of 40 ms, by autocorrelation between 60 and 400 Hz: another way than the module's."""
    found = []
    for start in range(1600, len(x) - 2240, 160):
        frame = x[start : start + 640].astype(np.float64)
        correlation = np.correlate(frame, frame, "full")[639:]
        found.append(RATE / (40 + correlation[40:266].argmax()))
    return np.array(found)


def formants(x: np.ndarray) -> np.ndarray:
    """Frequencies (Hz) of the resonances of x, by linear prediction of order 12 over all frames of 50 ms."""
    x = np.diff(x.astype(np.float64)) + 0.1 * x[1:]
    correlation = np.zeros(13)
    for start in range(1600, len(x) - 2400, 400):
        frame = x[start : start + 800] * np.hanning(800)
        own = np.correlate(frame, frame, "full")[799:812]
        correlation += own / own[0]
    correlation[0] *= 1.0001
    lags = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    poles = np.roots(np.r_[1, -np.linalg.solve(correlation[lags], correlation[1:])])
    hz, width = np.angle(poles) * RATE / (2 * np.pi), -np.log(np.abs(poles)) * RATE / np.pi
    return np.sort(hz[(hz > 200) & (width < 500)])[:4]


# ---- pitch


@pytest.mark.parametrize("pitch", [75, 110, 180, 300, 420])
def test_pitch_is_that_of_the_pulses(pitch: float) -> None:
    x = vowel(pitch)
    found = track_pitch(x)
    assert len(found) == 1 + len(x) // 160
    true = contour(pitch, 1.2)[np.minimum(np.arange(len(found)) * 160, len(x) - 1)]
    inside = slice(5, -5)
    assert (found[inside] > 0).all()
    assert np.abs(np.log(found[inside] / true[inside])).max() < 0.03


def test_pitch_in_noise() -> None:
    x = vowel(160)
    found = track_pitch(add_noise(x, noise(len(x), "pink", np.random.default_rng(0)), 5))[3:-3]
    assert (found > 0).mean() > 0.95
    assert np.abs(np.log(found[found > 0] / 160)).max() < 0.2


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "speech"])
def test_noise_is_unvoiced(kind: str) -> None:
    assert (track_pitch(noise(RATE, kind, np.random.default_rng(1))) > 0).mean() < 0.05


def test_pauses_are_unvoiced() -> None:
    x = np.r_[np.zeros(8000), vowel(seconds=0.5), np.zeros(8000)]
    x += 1e-4 * np.random.default_rng(0).standard_normal(len(x))
    found = track_pitch(x)
    assert not found[:48].any()
    assert found[53:98].all()
    assert not found[103:].any()


# ---- what was asked for


@pytest.mark.parametrize("factor", [0.85, 1.3, 1.6])
@pytest.mark.parametrize("pitch", [95, 140])
def test_pitch_moves_and_formants_stay(pitch: float, factor: float) -> None:
    x = vowel(pitch)
    [y] = express_all(x, [Expression(pitch=factor)])
    assert np.median(pitch_by_hand(y)) / np.median(pitch_by_hand(x)) == pytest.approx(factor, rel=0.03)
    assert formants(y) == pytest.approx(formants(x), rel=0.03)
    assert len(y) == len(x)


def test_pitch_range() -> None:
    x = vowel()
    wide, narrow, flat, same = express_all(x, [Expression(pitch_range=r) for r in (2.0, 0.5, 0.0, 1.0)])
    wide, narrow, flat, same = (np.std(np.log(pitch_by_hand(y))) for y in (wide, narrow, flat, same))
    assert same == pytest.approx(np.std(np.log(pitch_by_hand(x))), rel=0.05)
    assert wide / same == pytest.approx(2.0, rel=0.1)
    assert narrow / same == pytest.approx(0.5, rel=0.1)
    assert flat < 0.02


def test_spoken_pitch_has_bounds() -> None:
    high, low = vowel(430), vowel(80)
    assert np.median(track_pitch(express_all(low, [Expression(pitch=0.6)])[0])) == pytest.approx(60, rel=0.02)
    [y] = express_all(high, [Expression(pitch=2.0)])
    power = np.abs(np.fft.rfft(y))
    assert np.argmax(power[:1200]) * RATE / len(y) == pytest.approx(600, rel=0.02)  # the first harmonic


@pytest.mark.parametrize("tempo", [0.75, 1.3])
def test_tempo_changes_the_length_and_not_the_pitch(tempo: float) -> None:
    x = vowel()
    [y] = express_all(x, [Expression(tempo=tempo)])
    assert len(y) == round(len(x) / tempo)
    assert np.median(pitch_by_hand(y)) / np.median(pitch_by_hand(x)) == pytest.approx(1.0, rel=0.02)
    assert formants(y) == pytest.approx(formants(x), rel=0.02)


def test_tempo_keeps_the_order_of_what_is_said() -> None:
    x = np.r_[vowel(120, 0.5), np.zeros(4800), vowel(240, 0.5)]
    [y] = express_all(x, [Expression(tempo=0.8)])
    first, second = track_pitch(y[: round(7800 / 0.8)]), track_pitch(y[round(13_000 / 0.8) :])
    assert np.median(first[first > 0]) == pytest.approx(120, rel=0.05)
    assert np.median(second[second > 0]) == pytest.approx(240, rel=0.05)
    assert np.abs(y[round(8800 / 0.8) : round(12_000 / 0.8)]).max() < 0.01 * np.abs(y).max()


def test_nothing_asked_is_nearly_the_same() -> None:
    x = vowel(spread=0.0)
    [y] = express_all(x, [Expression()])
    one, two = (np.abs(scipy.signal.stft(z, RATE, nperseg=800)[2])[:, 6:-6] for z in (x, y))
    assert np.linalg.norm(one - two) / np.linalg.norm(one) < 0.05


def test_tilt() -> None:
    x = vowel()
    plain, bright = express_all(x, [Expression(), Expression(tilt=4.0)])

    def db(y: np.ndarray) -> float:
        hz, power = scipy.signal.welch(y, RATE, nperseg=2048)
        low, high = ((hz > a) & (hz < b) for a, b in ((600, 800), (2400, 2600)))
        return float(10 * np.log10(power[high].sum() / power[low].sum()))

    assert db(bright) - db(plain) == pytest.approx(4 * np.log2(2500 / 700), abs=0.4)


@pytest.mark.parametrize("factor", [0.98, 1.03])
def test_formants_move_and_nothing_else(factor: float) -> None:
    x = vowel(100)
    [y] = express_all(x, [Expression(formants=factor)])
    assert formants(y) / formants(x) == pytest.approx(np.full(4, factor), rel=0.015)
    assert np.median(pitch_by_hand(y)) / np.median(pitch_by_hand(x)) == pytest.approx(1.0, rel=0.02)
    assert len(y) == len(x)


def test_unvoiced_speech_gets_the_tempo_and_the_tilt() -> None:
    x = noise(RATE, "white", np.random.default_rng(3))
    [y] = express_all(x, [Expression(pitch=1.5, tempo=0.8, tilt=-4)])
    assert len(y) == 20_000
    hz, power = scipy.signal.welch(y, RATE, nperseg=512)
    inside = (hz > 300) & (hz < 7000)
    assert np.polyfit(np.log2(hz[inside]), 10 * np.log10(power[inside]), 1)[0] == pytest.approx(-4, abs=0.5)


@pytest.mark.parametrize(
    "wanted", [Expression(), Expression(tempo=0.8), Expression(tempo=1.25, formants=1.03)]
)
def test_noise_gets_neither_comb_nor_buzz(wanted: Expression) -> None:
    """Its spectrum stays flat, and its level is the same at every phase of the 6 ms between two grains."""
    x = noise(10 * RATE, "white", np.random.default_rng(0))
    [y] = express_all(x, [wanted])
    hz, power = scipy.signal.welch(y, RATE, nperseg=256)
    assert np.ptp(10 * np.log10(power[(hz > 300) & (hz < 7000)])) < 2.5
    by_phase = (y[: len(y) // 96 * 96].reshape(-1, 96).astype(np.float64) ** 2).mean(axis=0)
    assert 10 * np.log10(by_phase.max() / by_phase.min()) < 2


def test_loudness_of_voiced_and_unvoiced_keep_their_ratio() -> None:
    hiss = 0.02 * noise(8000, "white", np.random.default_rng(3))
    x = np.r_[vowel(seconds=0.5), hiss]

    def ratio(y: np.ndarray) -> float:
        half = len(y) // 2
        parts = (y[: half - 400], y[half + 400 :])
        return float(np.diff([10 * np.log10(np.mean(part.astype(np.float64) ** 2)) for part in parts])[0])

    for y in express_all(x, [Expression(pitch=p) for p in (0.85, 1.0, 1.6)]):
        assert ratio(y) == pytest.approx(ratio(x), abs=1.5)


def test_level_and_type() -> None:
    x = vowel()
    before = x.copy()
    for seed in range(5):
        y = express(x, np.random.default_rng(seed))
        assert y.dtype == np.float32
        assert np.sqrt(np.mean(y.astype(np.float64) ** 2)) == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-3)
    assert np.array_equal(x, before)


def test_level_changes_nothing_else() -> None:
    x = vowel()
    wanted = [Expression(1.2, 1.5, 0.9, 2.0, 1.01)]
    assert express_all(x / 64, wanted)[0] * 64 == pytest.approx(express_all(x, wanted)[0], abs=1e-6)


def test_same_seed_same_expression() -> None:
    x = vowel()
    one, two, other = (express(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert len(one) != len(other)
    assert np.array_equal(one, express_all(x, [draw_expression(np.random.default_rng(1))])[0])


# ---- what is no speech


@pytest.mark.parametrize("length", [1, 2, 79, 500, 1599, 1600, 3200, 8000])
@pytest.mark.parametrize(
    "kind", ["silence", "noise", "click", "quiet", "denormal", "vowel", "half", "tone", "offset", "clipped"]
)
def test_nothing_breaks(kind: str, length: int) -> None:
    rng = np.random.default_rng(length)
    made = {
        "silence": np.zeros(length),
        "noise": 0.1 * rng.standard_normal(length),
        "click": np.eye(1, length, length // 2)[0],
        "quiet": 1e-7 * rng.standard_normal(length),
        "denormal": np.full(length, 1e-42),
        "vowel": vowel()[:length],
        "half": vowel()[:length] * (np.arange(length) < length // 2),
        "tone": np.sin(np.arange(length) * 0.05),
        "offset": np.ones(length),
        "clipped": np.sign(vowel()[:length] + 1e-9),
    }[kind].astype(np.float32)
    for seed in range(3):
        y = express(made, np.random.default_rng(seed))
        assert y.dtype == np.float32
        assert 1 <= len(y) <= max(1, length / 0.74)
        assert np.isfinite(y).all()
        assert np.abs(y).max() <= 20 * np.abs(made).max() + 1e-12


@pytest.mark.parametrize("x", [np.zeros(8000, np.float32), vowel()[:1500]], ids=["silence", "93 ms"])
def test_what_comes_back_as_it_is(x: np.ndarray) -> None:
    assert np.array_equal(express(x, np.random.default_rng(0)), x)


def test_extremes_of_expressions() -> None:
    x = vowel(seconds=0.5)
    for wanted in (Expression(0.5, 3, 0.5, -6, 0.97), Expression(2, 3, 2, 6, 1.03), Expression(2, 0, 0.5, 6)):
        [y] = express_all(x, [wanted])
        assert len(y) == round(8000 / wanted.tempo)
        assert np.isfinite(y).all()


# ---- real speech


def test_real_speech(speech: Path) -> None:
    path = sorted((speech / "home").rglob("*.flac"))[0]
    x = load(path, start=0.0, end=2.0).samples
    level = np.median(track_pitch(x)[track_pitch(x) > 0])
    for seed in range(3):
        wanted = draw_expression(np.random.default_rng(seed))
        y = express(x, np.random.default_rng(seed))
        assert len(y) == round(len(x) / wanted.tempo)
        assert np.isfinite(y).all()
        found = track_pitch(y)
        assert np.median(found[found > 0]) / level == pytest.approx(wanted.pitch, rel=0.05)


@pytest.mark.slow
def test_the_person_stays(speech: Path, ge2e: object) -> None:
    """Nearer to the clip that it was made of than to anybody else's, and a cosine of 0.75 in the mean."""
    import dataclasses

    clips = [
        load(max(folder.glob("*.flac"), key=lambda path: path.stat().st_size), start=0.5, end=3.0)
        for folder in sorted((speech / "home").iterdir())[:6]
    ]
    rng = np.random.default_rng(0)
    copies = [[dataclasses.replace(c, samples=express(c.samples, rng)) for _ in range(5)] for c in clips]
    known = unit(ge2e.embed(clips))  # type: ignore[attr-defined]
    cosines = np.stack([unit(ge2e.embed(made)) @ known.T for made in copies])  # type: ignore[attr-defined]
    own = np.stack([cosines[k, :, k] for k in range(len(clips))])
    other = np.stack([np.delete(cosines[k], k, axis=1).max(axis=1) for k in range(len(clips))])
    assert own.mean() > 0.75
    assert own.mean() - other.mean() > 0.15
    assert (own > other).mean() > 0.85


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.slow
def test_speed() -> None:
    x, wanted, taken = vowel(seconds=2.5), Expression(1.2, 1.5, 0.9, 2.0, 1.01), []
    for _ in range(15):
        start = time.process_time()
        express_all(x, [wanted])
        taken.append(time.process_time() - start)
    assert min(taken) < 0.025


# ---- expressions


def test_drawn_expressions_cover_their_ranges() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_expression(rng) for _ in range(400)]
    for field, low, high, logarithmic in (
        ("pitch", 0.85, 1.6, True),
        ("pitch_range", 0.5, 2.0, True),
        ("tempo", 0.75, 1.3, True),
        ("tilt", -5.0, 5.0, False),
        ("formants", 0.98, 1.03, False),
    ):
        values = np.array([getattr(one, field) for one in drawn])
        assert low <= values.min() < low + 0.05 * (high - low), field
        assert high - 0.05 * (high - low) < values.max() <= high, field
        middle = np.sqrt(low * high) if logarithmic else (low + high) / 2
        assert np.mean(values < middle) == pytest.approx(0.5, abs=0.08), field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pitch", 3.0),
        ("pitch_range", -1.0),
        ("tempo", 0.0),
        ("tilt", 9.0),
        ("formants", 1.12),
        ("pitch", float("nan")),
    ],
)
def test_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"expression: {field} is {value}"):
        Expression(**{field: value})


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 9)), np.array([np.nan])])
def test_samples_that_are_none(bad: np.ndarray) -> None:
    with pytest.raises(AudioError, match="give one channel"):
        express(bad, np.random.default_rng(0))
