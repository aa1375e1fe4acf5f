from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile
import soxr

from openkith.audio import Audio, Quality, load, measure_quality


def clip(samples: np.ndarray, **fields) -> Audio:
    return Audio(np.asarray(samples, dtype=np.float32), "x", **fields)


def noise(n: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(n))
    if kind == "pink":
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    samples = np.fft.irfft(spectrum, n)
    return samples / np.sqrt(np.mean(samples**2))


def at_snr(samples: np.ndarray, added: np.ndarray, snr_db: float) -> np.ndarray:
    return samples + added * np.sqrt(np.mean(samples**2)) * 10 ** (-snr_db / 20)


@pytest.fixture(scope="module")
def clean(speech) -> list[np.ndarray]:
    """Clips of 5 s of ten people, whose own noise is far below what the tests add."""
    found = []
    for folder in sorted((speech / "home").iterdir()):
        for path in sorted(folder.glob("*.flac")):
            if soundfile.info(path).duration > 5:
                audio = load(path, end=5.0)
                if measure_quality(audio).snr_db > 32:
                    found.append(audio.samples)
                    break
    assert len(found) >= 4
    return found


# ------------------------------------------------------------------ noise


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("snr_db", [0, 5, 10, 15, 20, 25])
def test_snr_of_real_speech(clean, kind, snr_db):
    for seed, samples in enumerate(clean):
        noisy = at_snr(samples, noise(len(samples), kind, np.random.default_rng(seed)), snr_db)
        assert measure_quality(clip(noisy)).snr_db == pytest.approx(snr_db, abs=5)


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_more_noise_is_a_lower_snr(clean, kind):
    for seed, samples in enumerate(clean):
        added = noise(len(samples), kind, np.random.default_rng(seed))
        found = [measure_quality(clip(at_snr(samples, added, snr))).snr_db for snr in range(-5, 35, 2)]
        assert found == sorted(found)


@pytest.mark.parametrize("snr_db", [0, 6, 12, 20, 30])
def test_snr_of_bursts_in_noise(snr_db):
    """No speech needed: tones that are on half of the time."""
    t = np.arange(80_000) / 16_000
    bursts = (
        sum(np.sin(2 * np.pi * hz * t) for hz in (500, 1200, 2300)) * (np.sin(2 * np.pi * 2 * t) > 0) * 0.05
    )
    noisy = at_snr(bursts, noise(len(t), "white", np.random.default_rng(0)), snr_db)
    assert measure_quality(clip(noisy)).snr_db == pytest.approx(snr_db, abs=1)


def test_level_does_not_change_the_snr(clean):
    samples = at_snr(clean[0], noise(len(clean[0]), "pink", np.random.default_rng(0)), 10)
    values = [measure_quality(clip(samples * gain)).snr_db for gain in (1, 0.1, 0.01)]
    assert max(values) - min(values) < 0.01


def test_muted_pauses_do_not_hide_the_noise(clean):
    """A noise gate leaves zeros between the words."""
    samples = clean[0]
    noisy = at_snr(samples, noise(len(samples), "white", np.random.default_rng(0)), 6)
    gated = noisy.copy()
    gated[: len(gated) // 3] = 0
    assert measure_quality(clip(gated)).snr_db == pytest.approx(measure_quality(clip(noisy)).snr_db, abs=4)


def test_noise_alone():
    for kind in ("white", "pink"):
        quality = measure_quality(clip(0.1 * noise(48_000, kind, np.random.default_rng(0))))
        assert quality.snr_db < 0
        assert quality.bandwidth_hz == 0


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampled_noise_has_no_bandwidth(rate):
    """On the slope of the resampling filter few bins make up a band, and fluctuate."""
    for seed in range(3):
        audio = load(0.1 * noise(3 * rate, "white", np.random.default_rng(seed)), rate)
        assert measure_quality(audio).bandwidth_hz == 0


def test_a_long_clip_is_sampled(clean):
    once = measure_quality(clip(clean[0]))
    often = measure_quality(clip(np.tile(clean[0], 130)))  # 650 s
    assert often.seconds == 650
    assert often.snr_db == pytest.approx(once.snr_db, abs=1)
    assert often.bandwidth_hz == pytest.approx(once.bandwidth_hz, abs=250)


def test_the_estimate_has_bounds():
    t = np.arange(48_000) / 16_000
    pure = 0.1 * np.sin(2 * np.pi * 440 * t) * (t % 1 < 0.5)
    assert measure_quality(clip(pure + 1e-9)).snr_db <= 60
    silent = measure_quality(clip(np.zeros(48_000)))
    assert (silent.snr_db, silent.bandwidth_hz, silent.clipped, silent.speech_seconds) == (-10, 0, 0, 0)


# ------------------------------------------------------------------ bandwidth


def test_bandwidth_of_real_speech(clean, tmp_path):
    for samples in clean:
        assert measure_quality(clip(samples)).bandwidth_hz >= 7000
        telephone = soxr.resample(samples, 16_000, 8000)
        soundfile.write(tmp_path / "a.wav", telephone, 8000)
        assert 3000 <= measure_quality(load(tmp_path / "a.wav")).bandwidth_hz <= 4000
        # Sent at 16 kHz, and nothing tells that it was 8 before.
        soundfile.write(tmp_path / "b.wav", soxr.resample(telephone, 8000, 16_000), 16_000)
        assert 3000 <= measure_quality(load(tmp_path / "b.wav")).bandwidth_hz <= 4000


def test_noise_above_the_speech_is_no_bandwidth(clean):
    for seed, samples in enumerate(clean):
        telephone = soxr.resample(soxr.resample(samples, 16_000, 8000), 8000, 16_000)[: len(samples) - 2]
        noisy = at_snr(telephone, noise(len(telephone), "white", np.random.default_rng(seed)), 25)
        assert measure_quality(clip(noisy)).bandwidth_hz <= 4000


def test_telephone_digits(speech):
    for path in sorted(speech.glob("digits/**/*.wav"))[::30]:
        assert 1000 <= measure_quality(load(path)).bandwidth_hz <= 4000


def test_bandwidth_is_at_most_half_the_native_rate(voice):
    samples = voice(2.0) / 32768 + 0.05 * np.random.default_rng(0).standard_normal(32_000) * (
        np.arange(32_000) % 8000 < 800
    )
    assert measure_quality(clip(samples)).bandwidth_hz == 8000
    assert measure_quality(clip(samples, native_rate=11_025)).bandwidth_hz == 5512.5
    assert measure_quality(clip(samples, native_rate=48_000)).bandwidth_hz == 8000


def test_bandwidth_by_hand():
    """Bursts at 2.1 kHz: the band from 2000 to 2250 Hz is the last, if the switching is soft."""
    t = np.arange(64_000) / 16_000
    envelope = np.clip(np.sin(2 * np.pi * 2 * t), 0, None) ** 2
    samples = 0.1 * envelope * np.sin(2 * np.pi * 2100 * t) + 1e-4 * np.random.default_rng(0).standard_normal(
        64_000
    )
    assert measure_quality(clip(samples)).bandwidth_hz == 2250


# ------------------------------------------------------------------ clipping


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("gain_db", [9, 15, 20])
def test_clipped_share_of_real_speech(clean, rate, gain_db, tmp_path):
    estimates, truths = [], []
    for samples in clean:
        native = soxr.resample(samples, 16_000, rate) if rate != 16_000 else samples
        loud = native / np.abs(native).max() * 10 ** (gain_db / 20)
        soundfile.write(tmp_path / "a.wav", np.clip(loud, -1, 1), rate, subtype="PCM_16")
        estimates.append(measure_quality(load(tmp_path / "a.wav")).clipped)
        truths.append(np.mean(np.abs(loud) >= 1))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), rel=0.25)


def test_real_speech_is_not_clipped(clean):
    for samples in clean:
        assert measure_quality(clip(samples)).clipped < 1e-4


def test_what_loading_found_counts():
    samples = np.random.default_rng(0).standard_normal(16_000) * 0.1
    assert measure_quality(clip(samples)).clipped < 0.001
    assert measure_quality(clip(samples, clipped=0.125)).clipped == 0.125


# ------------------------------------------------------------------ the whole


@pytest.mark.parametrize("n", [1, 300, 511, 512, 513, 1600, 2000])
def test_short_clips(n):
    quality = measure_quality(clip(0.1 * np.random.default_rng(0).standard_normal(n)))
    assert quality.seconds == n / 16_000
    assert all(np.isfinite(value) for value in dataclasses.astuple(quality))


def test_seconds_of_real_speech(clean):
    for samples in clean:
        quality = measure_quality(clip(samples))
        assert quality.seconds == 5
        assert 2 < quality.speech_seconds <= 5
        assert quality.advice == ()
        assert measure_quality(clip(samples)) == quality


GOOD = Quality(seconds=5, speech_seconds=4, snr_db=30, clipped=0, bandwidth_hz=8000)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({}, ()),
        ({"speech_seconds": 0.62}, ("short: 0.6 s of speech; speak for 3 seconds or more",)),
        (
            {"snr_db": 6.4},
            ("noisy: about 6 dB above the noise; come closer to the microphone, or go where it is quieter",),
        ),
        ({"snr_db": 6.4, "seconds": 0.5}, ()),  # no pause to judge by
        (
            {"clipped": 0.034},
            ("clipped: 3.4% of the samples; lower the recording level, or step back",),
        ),
        (
            {"bandwidth_hz": 3750.0},
            (
                "narrow band: no speech above 3.8 kHz; a telephone line or noise hides the rest, "
                "record with the microphone that will be used",
            ),
        ),
        ({"bandwidth_hz": 0.0}, ()),
    ],
)
def test_advice(fault, expected):
    assert dataclasses.replace(GOOD, **fault).advice == expected


def test_all_the_advice_at_once():
    bad = Quality(seconds=2, speech_seconds=0.3, snr_db=0, clipped=0.2, bandwidth_hz=3000)
    assert [text.split(":")[0] for text in bad.advice] == ["short", "noisy", "clipped", "narrow band"]
