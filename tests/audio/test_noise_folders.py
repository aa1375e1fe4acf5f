"""Noise, music, talk and rooms of the user's: trees as they are published, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from openkith.audio.noise_folders import NoiseTree, load_noise_tree
from openkith.errors import AudioError, ConfigError

RATE = 16_000


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def ramp(seconds: float, rate: int = RATE) -> np.ndarray:
    """A tone whose frequency tells the place: 200 Hz at the beginning, 200 Hz more after each second."""
    t = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * np.cumsum(200 + 200 * t) / rate)


@pytest.fixture
def musan(tmp_path: Path) -> Path:
    root = tmp_path / "musan"
    for place in (
        "noise/free-sound/n-0.wav",
        "noise/sound-bible/n-1.wav",
        "music/fma/m-0.wav",
        "speech/us-gov/s-0.wav",
    ):
        write(root / place, ramp(0.5))
    (root / "music" / "fma" / "ANNOTATIONS").write_text("m-0 jazz\n")
    return root


@pytest.fixture
def rirs(tmp_path: Path) -> Path:
    root = tmp_path / "RIRS_NOISES"
    echo = np.r_[np.zeros(40), 0.9, np.zeros(30), 0.3]
    for place in (
        "simulated_rirs/smallroom/Room001/Room001-00001.wav",
        "real_rirs_isotropic_noises/RWCP_type1_rir_p30r.wav",
    ):
        write(root / place, echo)
    write(root / "real_rirs_isotropic_noises" / "RVB2014_type1_noise_largeroom1_1.wav", ramp(0.4))
    write(root / "pointsource_noises" / "noise-free-sound-0000.wav", ramp(0.4))
    (root / "simulated_rirs" / "smallroom" / "rir_list").write_text("x\n")
    return root


def counts(tree: NoiseTree) -> dict[str, int]:
    return {kind: len(tree.files[kind]) for kind in tree.kinds}


def test_published_trees(musan: Path, rirs: Path, tmp_path: Path) -> None:
    assert counts(load_noise_tree(musan)) == {"noise": 2, "music": 1, "speech": 1}
    assert counts(load_noise_tree(rirs)) == {"noise": 2, "response": 2}
    assert counts(load_noise_tree(tmp_path)) == {"noise": 4, "music": 1, "speech": 1, "response": 2}


def test_a_part_of_a_published_tree(musan: Path, rirs: Path) -> None:
    assert counts(load_noise_tree(musan / "music")) == {"music": 1}
    assert counts(load_noise_tree(rirs / "simulated_rirs")) == {"response": 1}


def test_a_plain_folder_is_noise_unless_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "kitchen" / "a.wav", ramp(1.0))
    write(tmp_path / "mine" / ".hidden" / "b.wav", ramp(1.0))
    assert counts(load_noise_tree(tmp_path / "mine")) == {"noise": 1}
    assert counts(load_noise_tree(tmp_path / "mine", kind="response")) == {"response": 1}


def test_a_stretch_is_drawn_by_its_seed(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", ramp(10.0))
    tree = load_noise_tree(tmp_path)
    drawn = [tree.draw("noise", RATE, np.random.default_rng(seed)) for seed in (*range(8), 0)]
    assert np.array_equal(drawn[0], drawn[-1])
    hz = [float(np.abs(np.fft.rfft(x)).argmax()) for x in drawn]
    assert max(hz) - min(hz) > 600  # from different places
    for x in drawn:
        assert (x.dtype, x.shape) == (np.float32, (RATE,))
        assert np.sqrt(np.mean(x.astype(np.float64) ** 2)) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("n", [1, 100, 4000, 20_000])
def test_any_length(tmp_path: Path, n: int) -> None:
    write(tmp_path / "short.wav", ramp(0.3, 8000), 8000)
    x = load_noise_tree(tmp_path).draw("noise", n, np.random.default_rng(3))
    assert (len(x), np.isfinite(x).all()) == (n, True)


def test_silence_is_drawn_again(tmp_path: Path) -> None:
    """One half of the file is silent."""
    samples = np.r_[np.zeros(4 * RATE), ramp(4.0)]
    write(tmp_path / "half.wav", samples)
    tree = load_noise_tree(tmp_path)
    for seed in range(20):
        assert np.abs(tree.draw("noise", 800, np.random.default_rng(seed))).max() > 0.5


def test_nothing_but_silence_names_folder_and_file(tmp_path: Path) -> None:
    write(tmp_path / "still.wav", np.zeros(2 * RATE))
    with pytest.raises(
        AudioError, match=r"8 stretches drawn were silent, the last one in .*still\.wav"
    ) as caught:
        load_noise_tree(tmp_path).draw("noise", 800, np.random.default_rng(0))
    assert str(caught.value).startswith(str(tmp_path))


def test_a_file_that_is_no_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "silence.wav").write_bytes(b"digital audio this is not" * 50)
    tree = load_noise_tree(tmp_path)
    with pytest.raises(AudioError, match=r"cannot use .*silence\.wav: ") as caught:
        tree.draw("noise", 800, np.random.default_rng(0))
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError, match=r"cannot read the impulse response .*silence\.wav"):
        load_noise_tree(tmp_path, kind="response").draw_response(np.random.default_rng(0))


def test_responses(rirs: Path, tmp_path: Path) -> None:
    h = load_noise_tree(rirs).draw_response(np.random.default_rng(0))
    assert h.dtype == np.float32
    assert int(np.abs(h).argmax()) == 40
    assert h[71] / h[40] == pytest.approx(1 / 3, rel=1e-3)
    channels = np.zeros((4800, 2))
    channels[100, 0], channels[400, 1] = 0.5, 0.5
    write(tmp_path / "pair" / "array.wav", channels, 48_000)
    tree = load_noise_tree(tmp_path / "pair", kind="response")
    peaks = {int(np.abs(tree.draw_response(np.random.default_rng(seed))).argmax()) for seed in range(12)}
    assert {round(peak / 10) for peak in peaks} == {
        3,
        13,
    }  # one channel or the other, at 16 kHz, never their sum


def test_a_silent_response_is_named(tmp_path: Path) -> None:
    write(tmp_path / "rirs" / "zero.wav", np.zeros(100))
    with pytest.raises(AudioError, match=r"impulse response .*zero\.wav is empty, silent"):
        load_noise_tree(tmp_path).draw_response(np.random.default_rng(0))


def test_what_is_not_there(musan: Path, tmp_path: Path) -> None:
    tree = load_noise_tree(musan)
    with pytest.raises(
        ConfigError, match=r"musan: no files of response; it has noise \(2\), music \(1\), speech \(1\)"
    ):
        tree.draw_response(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="ask for 1 or more"):
        tree.draw("noise", 0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="nothing: no such folder"):
        load_noise_tree(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: no audio in it"):
        load_noise_tree(tmp_path / "empty")
    with pytest.raises(ConfigError, match="kind 'hum' is unknown; use noise, music, speech, response"):
        load_noise_tree(musan, kind="hum")  # type: ignore[arg-type]
