"""NetworkEncoder: batches, pieces, windows, frames and their times, devices; with a network that is soon recomputed."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.audio import Audio
from openkith.audio.features import kaldi_fbank
from openkith.encoders import Encoder
from openkith.encoders.base import torch_threads
from openkith.encoders.networks.network import NetworkEncoder, check_precision, pick_device
from openkith.errors import ConfigError, WeightsError

RATE = 16_000


class Network(torch.nn.Module):
    """Two convolutions over time, the second of stride 2 with a batch norm; mean and deviation over time; linear."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = torch.nn.Conv1d(80, 12, 3, padding=1)
            self.second = torch.nn.Conv1d(12, 6, 3, stride=2, padding=1)
            self.norm = torch.nn.BatchNorm1d(6)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
            self.linear = torch.nn.Linear(12, 5)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(features.shape))
        states = self.frames(features)
        return self.linear(torch.cat([states.mean(1), states.std(1)], dim=1))

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(features.transpose(1, 2)))
        return torch.relu(self.norm(self.second(hidden))).transpose(1, 2)


class Small(NetworkEncoder):
    name = "small"
    batch_frames: ClassVar[dict[str, int]] = {"cpu": 250, "cuda": 250, "mps": 250}

    def __init__(self, network: torch.nn.Module | None = None, **options: Any) -> None:
        options = {"device": "cpu", "min_frames": 3, "stride": 2, **options}
        network = network or Network()
        super().__init__(network, features=kaldi_fbank, dim=5, fingerprint="small/1", **options)


@pytest.fixture
def encoder() -> Small:
    encoder = Small(threads=1)
    encoder.network.seen.clear()
    return encoder


def sound(samples: int, seed: int = 0) -> Audio:
    """Noise whose colour changes with time."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(samples + 8)
    drift = np.linspace(-0.9, 0.9, samples)
    return Audio((0.1 * (x[8:] + drift * x[7:-1])).astype(np.float32), "<array>")


def by_definition(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """The embedding of one clip, in numpy, from a network of the same seed."""
    network = Network().double().eval()
    with torch.no_grad():
        embedding = network(torch.from_numpy(kaldi_fbank(samples)).double()[None])[0].numpy()
    return embedding / np.linalg.norm(embedding)


# Clips


def test_it_is_an_encoder(encoder: Small) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.dim, encoder.sample_rate, encoder.fingerprint) == (5, RATE, "small/1")


def test_clips_by_definition(encoder: Small) -> None:
    clips = [sound(n, n) for n in (8000, 16_000, 9000, 16_000, 16_001, 16_100)]
    embeddings = encoder.embed(clips)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, [by_definition(clip.samples) for clip in clips], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)


def test_no_clips(encoder: Small) -> None:
    embeddings = encoder.embed([])
    assert embeddings.shape == (0, 5)
    assert embeddings.dtype == np.float32


def test_clips_of_one_length_go_together_and_others_alone(encoder: Small) -> None:
    lengths = (16_000, 8000, 16_000, 16_010, 8000, 24_000, 16_020)  # 98, 48, 98, 98, 48, 148, 98 frames
    encoder.embed([sound(n, i) for i, n in enumerate(lengths)])
    assert encoder.network.seen == [(2, 48, 80), (2, 98, 80), (2, 98, 80), (1, 148, 80)]


def test_a_batch_is_the_same_as_single_clips(encoder: Small) -> None:
    clips = [sound(n, i) for i, n in enumerate((16_000, 8000, 16_000, 16_000, 12_345))]
    apart = np.concatenate([encoder.embed([clip]) for clip in clips])
    np.testing.assert_allclose(encoder.embed(clips), apart, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(clips[::-1]), apart[::-1], atol=1e-6)


def test_a_clip_longer_than_a_batch_goes_alone(encoder: Small) -> None:
    encoder.embed([sound(48_000, 1), sound(48_000, 2)])
    assert encoder.network.seen == [(1, 298, 80), (1, 298, 80)]


@pytest.mark.parametrize("samples", [1, 100, 400, 719])
def test_short_clips_are_repeated(encoder: Small, samples: int) -> None:
    clip = sound(samples)
    filled = np.tile(clip.samples, 720)[:720]  # three frames
    np.testing.assert_allclose(encoder.embed([clip])[0], by_definition(filled), atol=1e-5)


def test_a_clip_of_just_enough_frames_is_left_alone(encoder: Small) -> None:
    clip = sound(720)
    np.testing.assert_allclose(encoder.embed([clip])[0], by_definition(clip.samples), atol=1e-5)


def test_an_empty_clip_and_silence_have_embeddings(encoder: Small) -> None:
    for samples in (0, 8000):
        assert np.isfinite(encoder.embed([Audio(np.zeros(samples, np.float32), "<array>")])).all()


# Pieces of long clips


class Pieces(Small):
    whole_seconds = 2.0
    piece_seconds = 1.0


def test_a_clip_up_to_the_limit_is_whole() -> None:
    clip = sound(32_000)
    np.testing.assert_allclose(Pieces().embed([clip])[0], by_definition(clip.samples), atol=1e-5)


def test_a_longer_clip_is_the_mean_of_even_pieces() -> None:
    clip = sound(40_003)  # three pieces: 13335, 13334, 13334
    pieces = clip.samples[:13_335], clip.samples[13_335:26_669], clip.samples[26_669:]
    mean = np.mean([by_definition(piece) for piece in pieces], axis=0)
    embedding = Pieces().embed([sound(9000, 7), clip])[1]
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.abs(embedding - by_definition(clip.samples)).max() > 1e-4


def test_the_usual_pieces_bound_memory(encoder: Small) -> None:
    encoder.embed([sound(RATE * 100)])
    assert max(batch * frames for batch, frames, _ in encoder.network.seen) <= 1500
    assert (encoder.whole_seconds, encoder.piece_seconds) == (60.0, 15.0)


# Windows


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (8000, [0]),
        (24_000, [0]),
        (24_001, [0, 1]),
        (36_000, [0, 12_000]),
        (50_000, [0, 12_000, 24_000, 26_000]),
    ],
)
def test_windows(encoder: Small, samples: int, starts: list[int]) -> None:
    clip = sound(samples)
    times, embeddings = encoder.embed_windows(clip)
    windows = [clip.samples[start : start + 24_000] for start in starts]
    expected = [[start / RATE, min(start + 24_000, samples) / RATE] for start in starts]
    np.testing.assert_allclose(times, expected, atol=1e-9)
    np.testing.assert_allclose(embeddings, [by_definition(window) for window in windows], atol=1e-5)


def test_windows_go_in_batches(encoder: Small) -> None:
    encoder.embed_windows(sound(RATE * 6))
    assert encoder.network.seen == [(1, 148, 80)] * 7  # a batch holds 250 frames


# Frames


def test_frames_by_definition_and_their_times(encoder: Small) -> None:
    clip = sound(16_000)
    features, times = encoder.frames(clip)
    with torch.no_grad():
        expected = Network().eval().frames(torch.from_numpy(kaldi_fbank(clip.samples))[None])[0].numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert features.shape == (49, 6)
    np.testing.assert_allclose(times, 0.0125 + 0.02 * np.arange(49), atol=1e-9)


@pytest.mark.parametrize("samples", [32_000, 32_001, 40_003, 100_000])
def test_frames_of_pieces_are_those_of_the_whole_but_at_borders(samples: int) -> None:
    """Of features that no mean over the piece is taken from: what a piece cannot see is one frame at each border."""
    clip = sound(samples)

    def raw(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return kaldi_fbank(x, subtract_mean=False)

    whole, pieces = Small(), Pieces()
    whole.features = pieces.features = raw
    expected, expected_times = whole.frames(clip)
    features, times = pieces.frames(clip)
    np.testing.assert_allclose(times, expected_times, atol=1e-9)
    apart = np.abs(features - expected).max(axis=1) > 1e-4
    assert features.shape == expected.shape
    assert apart.sum() <= 2 * (samples // 13_000)
    assert apart.any() == (samples > 32_000)


def test_times_of_other_front_ends() -> None:
    encoder = Small(first_centre=0.0, frame_seconds=0.02)
    _, times = encoder.frames(sound(16_000))
    np.testing.assert_allclose(times[:3], [0.0, 0.04, 0.08], atol=1e-9)


def test_frames_of_a_short_clip(encoder: Small) -> None:
    features, times = encoder.frames(sound(100))
    assert features.shape == (2, 6)
    assert times.shape == (2,)


# Weights


def test_batch_norms_are_folded(encoder: Small) -> None:
    assert isinstance(encoder.network.norm, torch.nn.Identity)
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())
    assert not encoder.network.training


def test_weights_that_are_not_finite_are_refused() -> None:
    network = Network()
    with torch.no_grad():
        network.linear.bias[1] = float("nan")
    with pytest.raises(WeightsError, match=r"^small: these weights give no finite embedding; give others$"):
        Small(network)


# Devices, precision, threads


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == pick_device().type == best
    assert Small(device="auto").device.type == best


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    expected = f"device is '{device}', which this machine or this torch has not; there is: cpu"
    with pytest.raises(ConfigError) as caught:
        Small(device=device)
    assert str(caught.value) == expected


def test_a_gpu_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"^device is 'cuda:2', which"):
        pick_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "", "cpu:1", "cuda:x", "meta"])
def test_no_device(device: str) -> None:
    with pytest.raises(ConfigError, match=r"^device is '.*(; give auto|; there is: cpu)") as caught:
        pick_device(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["float16", "", "bf16"])
def test_another_precision(precision: str) -> None:
    message = rf"^precision is '{precision}'; give one of: float32, bfloat16$"
    with pytest.raises(ConfigError, match=message):
        check_precision(precision)
    with pytest.raises(ConfigError, match=message):
        Small(precision=precision)


def test_bfloat16_is_close(encoder: Small) -> None:
    clips = [sound(n, n) for n in (8000, 16_000)]
    rough = Small(precision="bfloat16").embed(clips)
    assert rough.dtype == np.float32
    cosines = (rough * encoder.embed(clips)).sum(axis=1)
    assert (cosines > 0.99).all()
    assert (cosines < 1.0 - 1e-7).any()


def test_threads_are_those_asked_for_and_then_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, seen = Small(threads=2), []
    forward = encoder.network.forward
    monkeypatch.setattr(
        encoder.network, "forward", lambda x: (seen.append(torch.get_num_threads()), forward(x))[1]
    )
    with torch_threads(3):
        encoder.embed([sound(8000)])
        assert torch.get_num_threads() == 3
    assert seen == [2]


def test_no_threads() -> None:
    with pytest.raises(ConfigError, match=r"^threads is 0; give 1 or more"):
        Small(threads=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_is_the_same(encoder: Small, precision: str) -> None:
    clips = [sound(n, i) for i, n in enumerate((8000, 16_000, 16_000))]
    tolerance = {"float32": 1e-4, "bfloat16": 5e-2}[precision]
    before = torch.backends.cudnn.allow_tf32
    np.testing.assert_allclose(
        Small(device="cuda", precision=precision).embed(clips), encoder.embed(clips), atol=tolerance
    )
    assert torch.backends.cudnn.allow_tf32 == before


def test_samples_that_cannot_be_written_to(encoder: Small) -> None:
    """Of a front end that hands the samples on as they are."""
    clip = sound(8000)
    clip.samples.flags.writeable = False
    encoder.features = lambda samples: np.lib.stride_tricks.as_strided(
        samples, (98, 80), (320, 4), writeable=False
    )
    assert encoder.frames(clip)[0].shape == (49, 6)
    assert encoder.embed([clip]).shape == (1, 5)
