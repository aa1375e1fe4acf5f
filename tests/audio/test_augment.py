"""Copies of a clip: reproducible, independent of one another, and degraded as their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from openkith.audio import degrade
from openkith.audio.augment import (
    CONDITIONS,
    GROUPS,
    MORE_CONDITIONS,
    Condition,
    folder_conditions,
    make_copies,
)
from openkith.audio.expression import track_pitch
from openkith.audio.noise_folders import load_noise_tree
from openkith.errors import AudioError, ConfigError

RATE = 16_000
ALL = tuple(CONDITIONS)
LEVEL_CHANGES = {"eq", "short2"}
TEMPO_CHANGES = {"expressive", "expressive2", "expressive-noisy"}


@pytest.fixture(scope="module")
def speech_like() -> np.ndarray:
    """Twelve seconds of a buzz with syllables and pauses and power up to 8 kHz."""
    rng = np.random.default_rng(0)
    t = np.arange(12 * RATE) / RATE
    buzz = scipy.signal.sawtooth(2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / RATE)
    syllables = np.clip(np.sin(2 * np.pi * 4 * t) + 0.4, 0, None) * (np.sin(2 * np.pi * 0.5 * t) > -0.8)
    return (0.1 * (buzz * syllables + 0.003 * rng.standard_normal(len(t)))).astype(np.float32)


@pytest.fixture(scope="module")
def copies(speech_like: np.ndarray) -> dict[str, list[np.ndarray]]:
    made = [make_copies(speech_like, ALL, seed) for seed in range(12)]
    return {name: [run[index] for run in made] for index, name in enumerate(ALL)}


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.asarray(x, dtype=np.float64) ** 2)))


def share_above(x: np.ndarray, hz: float) -> float:
    frequencies, density = scipy.signal.welch(np.asarray(x, dtype=np.float64), RATE, nperseg=1024)
    return float(density[frequencies > hz].sum() / density.sum())


def test_names_and_groups() -> None:
    assert list(ALL) == [
        *("clean", "crop3", "eq", "white", "pink", "pink2", "brown", "speech", "room", "room2"),
        *("band4k", "phone", "band4k-short", "short", "short2", "short3"),
        *("expressive", "expressive2", "expressive-noisy", "band4k-short2"),
    ]
    groups = [CONDITIONS[name].group for name in ALL]
    assert list(dict.fromkeys(groups)) == list(GROUPS)  # in their order, none empty
    assert groups[-4:] == ["expressive", "expressive", "pink", "short-band"]
    assert all(CONDITIONS[name].name == name for name in ALL)


@pytest.mark.parametrize("length", [1, 1600, 5000, 50_000])
def test_every_copy_of_any_clip_is_usable(speech_like: np.ndarray, length: int) -> None:
    x = speech_like[3000 : 3000 + length]
    before = x.copy()
    for name, copy in zip(ALL, make_copies(x, ALL, 3), strict=True):
        assert copy.dtype == np.float32, name
        assert 1 <= len(copy) <= (length / 0.74 if name in TEMPO_CHANGES else length), name
        assert np.isfinite(copy).all(), name
    assert np.array_equal(x, before)


def test_silence_and_a_click_do_no_harm() -> None:
    click = np.zeros(RATE, dtype=np.float32)
    assert all(not copy.any() for copy in make_copies(click, ALL, 0))
    click[5000] = 1.0
    assert all(np.isfinite(copy).all() and np.abs(copy).max() < 100 for copy in make_copies(click, ALL, 0))


def test_lengths(copies: dict[str, list[np.ndarray]]) -> None:
    expected = {"clean": (10, 10), "pink2": (2, 2), "band4k-short": (0.2, 0.8), "short": (0.35, 0.9)}
    expected |= {"short2": (0.5, 1.2), "short3": (1.5, 1.5), "band4k-short2": (0.2, 0.8)}
    expected |= dict.fromkeys(TEMPO_CHANGES, (2.5 / 1.3, 2.5 / 0.75))
    for name, made in copies.items():
        low, high = expected.get(name, (3, 3))
        seconds = [len(copy) / RATE for copy in made]
        assert low - 1e-3 <= min(seconds) <= max(seconds) <= high + 1e-3, name
        if low < high:
            assert np.ptp(seconds) > 0.4 * (high - low), name


def test_clean_is_the_clip(speech_like: np.ndarray, copies: dict[str, list[np.ndarray]]) -> None:
    assert all(np.array_equal(copy, speech_like[: 10 * RATE]) for copy in copies["clean"])


def test_level_is_kept(speech_like: np.ndarray) -> None:
    x = speech_like[4000 : 4000 + 3000]  # shorter than any crop, so that each copy is of the whole
    for name, copy in zip(ALL, make_copies(x, ALL, 5), strict=True):
        change = 20 * np.log10(rms(copy) / rms(x))
        assert abs(change) <= (6.001 if name in LEVEL_CHANGES else 1e-3), name


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("white", 0, 15), ("pink", 0, 15), ("pink2", 0, 15), ("brown", -3, 12), ("speech", 0, 15)],
)
def test_signal_to_noise_ratios(name: str, low: float, high: float) -> None:
    """A tone is found again in the noise: its power against the rest is the ratio."""
    t = np.arange(2 * RATE) / RATE
    tone = 0.1 * np.sin(2 * np.pi * 2500 * t)
    ratios = []
    for seed in range(40):
        y = make_copies(tone, [name], seed)[0].astype(np.float64)
        basis = np.stack([np.sin(2 * np.pi * 2500 * t), np.cos(2 * np.pi * 2500 * t)])
        found = np.linalg.lstsq(basis.T, y, rcond=None)[0] @ basis
        ratios.append(20 * np.log10(rms(found) / rms(y - found)))
    assert low - 0.3 <= min(ratios) <= max(ratios) <= high + 0.3
    assert min(ratios) < low + 1.5
    assert max(ratios) > high - 1.5


@pytest.mark.parametrize("name", ["band4k", "band4k-short", "band4k-short2"])
def test_narrow_copies_end_at_4_khz(copies: dict[str, list[np.ndarray]], name: str) -> None:
    assert min(share_above(copy, 4000) for copy in copies["crop3"]) > 0.005
    assert max(share_above(copy, 4400) for copy in copies[name]) < 1e-4


def test_telephone_copies_end_below_4_khz(speech_like: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = make_copies(speech_like, ["phone"], 1)[0]
    monkeypatch.setattr(
        "openkith.audio.augment.add_noise", lambda x, *_: x
    )  # its noise is the room's, not the line's
    quiet = make_copies(speech_like, ["phone"], 1)[0]
    assert share_above(quiet, 5000) < 0.002 < share_above(speech_like, 5000)
    snr = 20 * np.log10(rms(quiet) / rms(noisy * (quiet @ quiet) / (noisy @ quiet) - quiet))
    assert 13.5 <= snr <= 28.5


def test_expressive_copies_differ_in_pitch(copies: dict[str, list[np.ndarray]]) -> None:
    """The buzz wanders between 100 and 140 Hz: its copies by x0.85 to 1.6, each draw another."""

    def level(x: np.ndarray) -> float:
        pitch = track_pitch(x)
        return float(np.median(pitch[pitch > 0]))

    for name in ("expressive", "expressive2"):
        levels = [level(copy) for copy in copies[name]]
        assert 100 * 0.85 * 0.97 < min(levels) < 110, name
        assert 150 < max(levels) < 140 * 1.6 * 1.03, name
    assert not np.array_equal(copies["expressive"][0], copies["expressive2"][0])


def test_noise_of_noisy_expressive_copies(speech_like: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def add_noise(x: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
        asked.append(snr_db)
        return degrade.add_noise(x, noise, snr_db)

    def noise(n: int, kind: degrade.NoiseKind, rng: np.random.Generator) -> np.ndarray:
        kinds.add(kind)
        return degrade.noise(n, kind, rng)

    kinds: set[str] = set()
    monkeypatch.setattr("openkith.audio.augment.add_noise", add_noise)
    monkeypatch.setattr("openkith.audio.augment.noise", noise)
    for seed in range(30):
        make_copies(speech_like[:RATE], ["expressive-noisy"], seed)
    assert kinds == {"white", "pink", "speech"}
    assert 5 <= min(asked) < 7
    assert 18 < max(asked) <= 20


def test_rooms_smear(copies: dict[str, list[np.ndarray]]) -> None:
    """The pauses of the clip fill up: its quietest tenth of 20-ms frames rises against the loudest."""

    def dynamics(x: np.ndarray) -> float:
        frames = (x[: len(x) // 320 * 320].reshape(-1, 320).astype(np.float64) ** 2).mean(axis=1)
        return float(10 * np.log10(np.quantile(frames, 0.9) / np.quantile(frames, 0.1)))

    dry = np.mean([dynamics(copy) for copy in copies["crop3"]])
    assert np.mean([dynamics(copy) for copy in copies["room"]]) < dry - 10
    assert np.mean([dynamics(copy) for copy in copies["room2"]]) < dry - 10


def test_same_seed_same_copies(speech_like: np.ndarray) -> None:
    for one, two in zip(make_copies(speech_like, ALL, 7), make_copies(speech_like, ALL, 7), strict=True):
        assert np.array_equal(one, two)


def test_another_seed_gives_other_copies(copies: dict[str, list[np.ndarray]]) -> None:
    for name, made in copies.items():
        assert len({copy.tobytes() for copy in made}) == (1 if name == "clean" else len(made)), name


def test_seeds_are_pinned() -> None:
    """The draws of a condition hang on its name by CRC-32: a copy is the same in every process."""
    x = np.arange(1, 32_001, dtype=np.float32)
    crc_of_short3 = 0x558564CF
    rng = np.random.default_rng([11, crc_of_short3, 0])
    start = int(rng.integers(32_000 - 24_000 + 1))
    assert np.array_equal(make_copies(x, ["short3"], 11)[0], x[start : start + 24_000])


def test_a_copy_does_not_depend_on_the_others(speech_like: np.ndarray) -> None:
    alone = make_copies(speech_like, ["white"], 4)[0]
    among = make_copies(speech_like, ["room", "short", "white", "pink"], 4)[2]
    assert np.array_equal(alone, among)


def test_a_name_given_twice_gives_two_copies(speech_like: np.ndarray) -> None:
    first, room, second = make_copies(speech_like, ["white", "room", "white"], 4)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, make_copies(speech_like, ["white"], 4)[0])
    assert np.array_equal(room, make_copies(speech_like, ["room"], 4)[0])


def test_no_names_no_copies(speech_like: np.ndarray) -> None:
    assert make_copies(speech_like, [], 0) == []


def test_what_is_refused(speech_like: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"condition 'rooom' is unknown; use clean, crop3"):
        make_copies(speech_like, ["rooom"], 0)
    with pytest.raises(ConfigError, match="seed is -1"):
        make_copies(speech_like, ["room"], -1)
    with pytest.raises(ConfigError, match="group 'loud' is unknown"):
        Condition("x", "loud", degrade.random_eq)
    for bad in (np.zeros(0), np.zeros((2, 9)), np.array([np.nan])):
        with pytest.raises(AudioError, match="give one channel"):
            make_copies(bad, ["room"], 0)


# ---- more conditions

EXPRESSIVE = tuple(name for name in MORE_CONDITIONS if name.startswith("expressive"))
ROOMS = tuple(name for name in MORE_CONDITIONS if name not in EXPRESSIVE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Noise at 3 kHz, music at 5 kHz, talk at 1 kHz, and a room of one late echo."""
    t = np.arange(4 * RATE) / RATE
    for kind, hz in (("noise", 3000), ("music", 5000), ("speech", 1000)):
        (tmp_path / kind).mkdir()
        soundfile.write(tmp_path / kind / "a.wav", 0.2 * np.sin(2 * np.pi * hz * t), RATE)
    (tmp_path / "rirs").mkdir()
    soundfile.write(tmp_path / "rirs" / "a.wav", np.r_[np.zeros(50), 0.9, np.zeros(799), 0.6], RATE)
    return tmp_path


def test_more_conditions_stand_beside_those_that_ship() -> None:
    assert not set(CONDITIONS) & set(MORE_CONDITIONS)
    assert all(condition.name == name for name, condition in MORE_CONDITIONS.items())


def test_more_conditions_change_no_copy(speech_like: np.ndarray) -> None:
    plain = make_copies(speech_like, ALL, 9)
    among = make_copies(speech_like, [*ROOMS, *ALL], 9, extra=MORE_CONDITIONS)[len(ROOMS) :]
    assert all(np.array_equal(one, two) for one, two in zip(plain, among, strict=True))


@pytest.mark.parametrize("name", ROOMS)
def test_box_rooms(speech_like: np.ndarray, name: str) -> None:
    one, two, other = (make_copies(speech_like, [name], seed, extra=MORE_CONDITIONS)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert len(one) == 3 * RATE
    dry = make_copies(speech_like[:3000], ["crop3"], 1)[0]
    assert rms(make_copies(speech_like[:3000], [name], 1, extra=MORE_CONDITIONS)[0]) == pytest.approx(
        rms(dry), rel=1e-3
    )


@pytest.mark.parametrize("name", EXPRESSIVE)
def test_short_expressive_copies(speech_like: np.ndarray, name: str) -> None:
    one, two, other = (make_copies(speech_like, [name], seed, extra=MORE_CONDITIONS)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert 0.5 / 1.31 < len(one) / RATE < 1.2 / 0.74


def test_conditions_of_a_folder(speech_like: np.ndarray, folder: Path) -> None:
    conditions = folder_conditions(load_noise_tree(folder))
    assert {name: condition.group for name, condition in conditions.items()} == {
        "folder-noise": "pink",
        "folder-music": "pink",
        "folder-speech": "speech",
        "folder-room": "room",
    }
    names = list(conditions)
    made = make_copies(speech_like, names, 3, extra=conditions)
    assert all(
        np.array_equal(one, two)
        for one, two in zip(made, make_copies(speech_like, names, 3, extra=conditions), strict=True)
    )
    for copy in made:
        assert (copy.dtype, len(copy)) == (np.float32, 3 * RATE)


@pytest.mark.parametrize(
    ("name", "hz", "low", "high"),
    [("folder-noise", 3000, 0, 15), ("folder-music", 5000, 5, 15), ("folder-speech", 1000, 13, 20)],
)
def test_levels_of_a_folder(folder: Path, name: str, hz: int, low: float, high: float) -> None:
    """The folder's tone is found again in a tone of 2.5 kHz: the ratio of the two is within its range."""
    t = np.arange(2 * RATE) / RATE
    x = 0.1 * np.sin(2 * np.pi * 2500 * t)
    conditions = folder_conditions(load_noise_tree(folder))
    ratios = []
    for seed in range(25):
        y = make_copies(x, [name], seed, extra=conditions)[0].astype(np.float64)
        assert rms(y) == pytest.approx(rms(x), rel=1e-3)
        powers = np.abs(np.fft.rfft(y)) ** 2
        ratios.append(10 * np.log10(powers[2 * 2500] / powers[2 * hz - 1 : 2 * hz + 2].sum()))
    assert low - 0.5 <= min(ratios) <= max(ratios) <= high + 0.5
    assert np.ptp(ratios) > 0.4 * (high - low)


def test_a_room_of_a_folder_by_hand(folder: Path) -> None:
    x = np.zeros(8000)
    x[1000] = 1.0
    y = make_copies(x, ["folder-room"], 0, extra=folder_conditions(load_noise_tree(folder)))[0]
    assert np.flatnonzero(np.abs(y) > 0.01).tolist() == [1000, 1800]
    assert y[1800] / y[1000] == pytest.approx(2 / 3, rel=1e-3)


def test_groups_of_a_folder_can_be_chosen(folder: Path) -> None:
    tree = load_noise_tree(folder)
    assert folder_conditions(tree, {"music": "brown"})["folder-music"].group == "brown"
    with pytest.raises(ConfigError, match="group 'loud' is unknown"):
        folder_conditions(tree, {"music": "loud"})


def test_a_name_that_ships_is_not_another_condition(speech_like: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="condition 'white' is one that ships"):
        make_copies(
            speech_like, ["white"], 0, extra={"white": Condition("white", "clean", degrade.random_eq)}
        )
    with pytest.raises(ConfigError, match="condition 'folder-noise' is unknown"):
        make_copies(speech_like, ["folder-noise"], 0, extra=MORE_CONDITIONS)
