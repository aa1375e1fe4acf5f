"""Files embedded block by block, beside the same clip embedded whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from openkith.audio import Audio, load, save, trim_silence
from openkith.encoders.clips.streaming import WindowEncoder, embed_file_windows, embed_files
from openkith.encoders.networks.ge2e import GE2E
from openkith.encoders.pieces import PieceEncoder
from openkith.errors import AudioError, ConfigError

sys.path.insert(0, str(Path(__file__).parents[2]))
from voices import FakeEncoder, write_voice

RATE = 16_000


class Loudness(PieceEncoder):
    """Power in 32 stretches of a window: windows on the grid of all encoders of pieces, and no torch."""

    name, dim, sample_rate, fingerprint = "loudness", 32, RATE, "loudness/1"
    fewest_samples = 3200
    batch_length = 10**6

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:  # type: ignore[override]
        return samples

    def _run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.array_split(features, 32, axis=1)
        return np.stack([np.square(part).mean(axis=1) for part in parts], axis=1).astype(np.float32) + 1e-4

    def frames(self, clip: Audio) -> Any:
        raise NotImplementedError


def wandering(seconds: float, rms: float = 0.05, dc: float = 0.0) -> NDArray[np.float32]:
    """Noise whose level and colour wander."""
    rng = np.random.default_rng(round(1000 * seconds))
    n = round(seconds * RATE)
    x = rng.standard_normal(n) * (1.2 + np.sin(np.arange(n) / RATE * 1.7))
    x[1:] += 0.8 * np.sin(np.arange(n - 1) / RATE * 0.9) * x[:-1]
    return np.asarray(rms * x / x.std() + dc, np.float32)


def streamed(encoder: Any, path: Path, block: int) -> tuple[NDArray[Any], NDArray[Any], int]:
    blocks = list(embed_file_windows(encoder, path, block_windows=block))
    return (
        np.concatenate([times for times, _ in blocks]),
        np.concatenate([embeddings for _, embeddings in blocks]),
        len(blocks),
    )


@pytest.mark.parametrize("block", [1, 2, 5, 256])
@pytest.mark.parametrize("seconds", [0.3, 1.6, 2.37, 2.38, 3.0, 9.9, 12.32])
@pytest.mark.parametrize("kind", ["ge2e", "pieces"])
def test_blocks_are_what_the_whole_clip_gives(
    small: GE2E, tmp_path: Path, kind: str, seconds: float, block: int
) -> None:
    encoder = small if kind == "ge2e" else Loudness()
    save(tmp_path / "a.wav", wandering(seconds))
    times, embeddings, count = streamed(encoder, tmp_path / "a.wav", block)
    expected_times, expected = encoder.embed_windows(load(tmp_path / "a.wav"))
    np.testing.assert_allclose(times, expected_times, atol=1e-9)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    if block < len(expected) - 2:
        assert count > 1


@pytest.mark.parametrize("rms", [0.0005, 0.2])
def test_level_and_dc_are_those_of_the_whole_file(checkpoint: Path, tmp_path: Path, rms: float) -> None:
    """The first half is 20 dB louder than the second: block-wise levels would show."""
    encoder = GE2E(checkpoint, threads=1, level_dbfs=0.0)
    x = wandering(14.0, rms)
    x[: len(x) // 2] *= 10.0
    soundfile.write(tmp_path / "a.wav", np.clip(x / 4, -1, 1) + 0.05, RATE, subtype="FLOAT")
    _, embeddings, _ = streamed(encoder, tmp_path / "a.wav", 4)
    clip = load(tmp_path / "a.wav")
    np.testing.assert_allclose(embeddings, encoder.embed_windows(clip)[1], atol=2e-5)
    half = Audio(clip.samples[len(clip.samples) // 2 :].copy(), "half")
    assert np.abs(encoder.embed_windows(half)[1][-1] - embeddings[-1]).max() > 1e-3


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_and_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    monkeypatch.setattr("openkith.audio.decode.BLOCK_SAMPLES", 10_007)  # several blocks of a short file
    x = np.resize(wandering(6.0), 6 * rate)
    soundfile.write(tmp_path / "a.flac", np.stack([x, 0.5 * x], axis=1), rate)
    times, embeddings, count = streamed(Loudness(), tmp_path / "a.flac", 2)
    expected_times, expected = Loudness().embed_windows(load(tmp_path / "a.flac"))
    np.testing.assert_allclose(times, expected_times, atol=1e-9)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    assert count > 1


def test_memory_holds_a_block_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkith.audio.decode.BLOCK_SAMPLES", 4_000)
    save(tmp_path / "a.wav", wandering(60.0))
    encoder, longest = Loudness(), 0
    embed = encoder.embed_windows

    def watched(clip: Audio) -> Any:
        nonlocal longest
        longest = max(longest, len(clip.samples))
        return embed(clip)

    monkeypatch.setattr(encoder, "embed_windows", watched)
    _, embeddings, _ = streamed(encoder, tmp_path / "a.wav", 4)
    assert len(embeddings) == 79
    assert longest < 6 * RATE


def test_what_cannot_be_streamed(small: GE2E, tmp_path: Path) -> None:
    assert isinstance(small, WindowEncoder)
    with pytest.raises(ConfigError, match=r"^encoder 'fake' has no window_seconds; "):
        embed_file_windows(FakeEncoder(), tmp_path / "a.wav")
    with pytest.raises(ConfigError, match=r"^block_windows is 0; "):
        embed_file_windows(small, tmp_path / "a.wav", block_windows=0)
    with pytest.raises(AudioError, match="no such file"):
        list(embed_file_windows(small, tmp_path / "a.wav"))
    save(tmp_path / "silent.wav", np.zeros(RATE, np.float32))
    with pytest.raises(AudioError, match="digital silence"):
        list(embed_file_windows(small, tmp_path / "silent.wav"))


@pytest.mark.parametrize("threads", [1, 3])
def test_files_are_embedded_in_their_order(tmp_path: Path, threads: int) -> None:
    paths = [write_voice(tmp_path, f"p{i % 4}", i, 1.1 + 0.2 * (i % 3)) for i in range(11)]
    for trim in (True, False):
        found = list(embed_files(FakeEncoder(), paths, trim=trim, threads=threads, batch=3))
        assert [path for path, _ in found] == paths
        clips = [load(path) for path in paths]
        expected = FakeEncoder().embed([trim_silence(clip) for clip in clips] if trim else clips)
        np.testing.assert_allclose(np.stack([embedding for _, embedding in found]), expected, atol=1e-6)


def test_a_bad_file_is_an_error_and_leaves_no_threads(tmp_path: Path) -> None:
    paths = [write_voice(tmp_path, "ann", take) for take in range(4)]
    paths[2].write_bytes(b"no audio")
    with pytest.raises(AudioError, match="not audio"):
        list(embed_files(FakeEncoder(), paths, threads=2, batch=2))
    for name in ("threads", "batch"):
        with pytest.raises(ConfigError, match=f"^{name} is 0; "):
            embed_files(FakeEncoder(), paths, **{name: 0})
    assert list(embed_files(FakeEncoder(), [])) == []
