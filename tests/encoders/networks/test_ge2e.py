"""GE2E: the network against an LSTM in numpy, windows, levels, short clips, and the published voices."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from openkith.audio import Audio, load, trim_silence
from openkith.audio.features import power_mel
from openkith.encoders import Encoder, load_encoder
from openkith.encoders.base import torch_threads
from openkith.encoders.clips.views import (
    ViewEncoder,
    compress,
    embed_views,
    subtract_floor,
    subtract_reverberation,
    view_names,
)
from openkith.encoders.networks import ge2e as module
from openkith.encoders.networks.ge2e import GE2E, VIEWS
from openkith.encoders.weights.published import state_digest
from openkith.errors import ConfigError, WeightsError

RATE = 16_000
WINDOW = 25_600  # samples of 1.6 s
STEP = 77 * 160


def sound(seconds: float, seed: int = 0, rms: float = 0.1) -> Audio:
    """Noise whose spectrum and level wander, so that no two windows are alike."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    tones = np.arange(n) / RATE * rng.uniform(100, 3000, (5, 1)) + np.cumsum(
        rng.normal(0, 1e-3, (5, n)), axis=1
    )
    x = (rng.uniform(0.2, 1, (5, 1)) * np.sin(2 * np.pi * tones)).sum(axis=0) + 0.3 * rng.standard_normal(n)
    x *= 1.0 + 0.8 * np.sin(2 * np.pi * np.arange(n) / RATE * rng.uniform(0.3, 1.0))
    return audio(x * rms / np.sqrt(np.mean(x**2)))


def audio(samples: NDArray[Any]) -> Audio:
    return Audio(np.asarray(samples, np.float32), "<array>")


def normalised(x: NDArray[Any]) -> NDArray[Any]:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def lstm_by_definition(state: dict[str, torch.Tensor], mel: NDArray[Any]) -> NDArray[np.float64]:
    """Hidden states (frames, 256) of the last of three layers: gates in the order i, f, g, o."""
    x = np.asarray(mel, np.float64)
    for layer in range(3):
        w_in, w_hid, b_in, b_hid = (
            state[f"lstm.{name}_l{layer}"].double().numpy()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden, cell, out = np.zeros(256), np.zeros(256), []
        for row in x:
            i, f, g, o = np.split(w_in @ row + b_in + w_hid @ hidden + b_hid, 4)
            cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            hidden = np.tanh(cell) / (1 + np.exp(-o))
            out.append(hidden)
        x = np.array(out)
    return x


def embed_by_definition(state: dict[str, torch.Tensor], mel: NDArray[Any]) -> NDArray[np.float64]:
    last = lstm_by_definition(state, mel)[-1]
    raw = state["linear.weight"].double().numpy() @ last + state["linear.bias"].double().numpy()
    return np.asarray(normalised(np.maximum(raw, 0.0)))


@pytest.fixture(scope="module")
def state(checkpoint: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["model_state"]
    return tensors


def window_mel(samples: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """Mel powers of the window from that sample on, which is followed by silence where the clip ends."""
    return power_mel(np.pad(samples, (0, WINDOW)))[start // 160 : start // 160 + 160]


# The network and its windows, with random weights


def test_it_is_an_encoder(small: GE2E) -> None:
    assert isinstance(small, Encoder)
    assert (small.name, small.dim, small.sample_rate) == ("ge2e", 256, RATE)


def test_one_window_by_definition(small: GE2E, state: dict[str, torch.Tensor]) -> None:
    clip = sound(1.6)
    np.testing.assert_allclose(
        small.embed([clip])[0], embed_by_definition(state, window_mel(clip.samples, 0)), atol=2e-5
    )


def test_windows_and_their_mean_by_definition(small: GE2E, state: dict[str, torch.Tensor]) -> None:
    clip = sound(3.0, 1)  # windows from 0, 0.77 and 1.54 s; the last is covered to 1.46 / 1.6
    expected = [embed_by_definition(state, window_mel(clip.samples, start)) for start in (0, STEP, 2 * STEP)]
    times, windows = small.embed_windows(clip)
    np.testing.assert_allclose(windows, expected, atol=2e-5)
    np.testing.assert_allclose(times, [[0.0, 1.6], [0.77, 2.37], [1.54, 3.0]], atol=1e-9)
    np.testing.assert_allclose(small.embed([clip])[0], normalised(np.sum(expected, axis=0)), atol=2e-5)


@pytest.mark.parametrize(
    ("samples", "count"),
    [
        (WINDOW, 1),
        (STEP + 19_199, 1),  # a second window would be covered to just under 3/4
        (STEP + 19_200, 2),
        (STEP + WINDOW, 2),
        (2 * STEP + 19_199, 2),
        (2 * STEP + 19_200, 3),
        (10 * RATE, 12),
    ],
)
def test_the_last_window_must_be_three_quarters_full(small: GE2E, samples: int, count: int) -> None:
    times, windows = small.embed_windows(sound(samples / RATE))
    assert windows.shape == (count, 256)
    assert times.shape == (count, 2)
    np.testing.assert_allclose(times[:, 0], 0.77 * np.arange(count), atol=1e-9)
    np.testing.assert_allclose(times[:-1, 1], times[:-1, 0] + 1.6, atol=1e-9)
    assert times[-1, 1] <= samples / RATE + 1e-9
    assert (times[:, 1] > times[:, 0]).all()


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 1.5999])
def test_a_short_clip_is_padded_and_repeated(
    checkpoint: Path, state: dict[str, torch.Tensor], seconds: float
) -> None:
    encoder, clip = GE2E(checkpoint, threads=1, repeat_short=True), sound(seconds, 2)
    n = len(clip.samples)
    padded = np.concatenate([clip.samples, np.zeros(WINDOW - n, np.float32)])
    repeated = np.tile(clip.samples, WINDOW // n + 1)[:WINDOW]
    expected = [embed_by_definition(state, power_mel(x)[:160]) for x in (padded, repeated)]
    times, windows = encoder.embed_windows(clip)
    np.testing.assert_allclose(times, [[0.0, n / RATE]] * 2)
    np.testing.assert_allclose(windows, expected, atol=2e-5)
    np.testing.assert_allclose(encoder.embed([clip])[0], normalised(np.sum(expected, axis=0)), atol=2e-5)


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_a_short_clip_as_published_is_followed_by_silence(
    small: GE2E, state: dict[str, torch.Tensor], seconds: float
) -> None:
    encoder, clip = small, sound(seconds, 2)
    times, windows = encoder.embed_windows(clip)
    expected = embed_by_definition(state, window_mel(clip.samples, 0))
    np.testing.assert_allclose(times, [[0.0, seconds]])
    np.testing.assert_allclose(windows, [expected], atol=2e-5)
    np.testing.assert_allclose(encoder.embed([clip]), [expected], atol=2e-5)


def test_frames_by_definition(small: GE2E, state: dict[str, torch.Tensor]) -> None:
    clip = sound(2.0, 3)
    states, times = small.frames(clip)
    assert states.shape == (201, 256)
    assert states.dtype == np.float32
    np.testing.assert_allclose(times, np.arange(201) * 0.01, atol=1e-9)
    mel = power_mel(clip.samples)
    np.testing.assert_allclose(states[:160], lstm_by_definition(state, mel[:160]), atol=2e-5)
    np.testing.assert_allclose(states[160:], lstm_by_definition(state, mel[160:]), atol=2e-5)


@pytest.mark.parametrize("seconds", [0.1, 1.59, 1.6, 3.21])
def test_frames_cover_the_clip(small: GE2E, seconds: float) -> None:
    states, times = small.frames(sound(seconds))
    assert len(states) == len(times) == 1 + round(seconds * RATE) // 160
    assert abs(times[-1] - seconds) <= 0.01


def test_no_clips(small: GE2E) -> None:
    assert small.embed([]).shape == (0, 256)
    assert small.embed([]).dtype == np.float32


def test_batching_changes_nothing(small: GE2E, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [sound(seconds, seed) for seed, seconds in enumerate((1.2, 4.0, 1.4, 1.6, 9.0, 2.5))]
    together = small.embed(clips)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    one_by_one = np.concatenate([small.embed([clip]) for clip in clips])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    assert np.abs(together[:, None] - together[None])[~np.eye(6, dtype=bool)].max(axis=-1).min() > 1e-3
    order = np.random.default_rng(0).permutation(len(clips))
    np.testing.assert_allclose(small.embed([clips[i] for i in order]), together[order], atol=1e-5)
    monkeypatch.setattr(module, "BATCH_WINDOWS", 5)
    np.testing.assert_allclose(small.embed(clips), together, atol=1e-5)
    np.testing.assert_array_equal(small.embed(clips), small.embed(clips))


def test_hidden_states_are_not_kept(small: GE2E, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are 160 times the size of the embeddings: 0.8 GB for an hour of audio."""
    forward, hidden, alive = small._network.forward, [], []

    def watched(mels: torch.Tensor, *frames: Any) -> tuple[torch.Tensor, torch.Tensor]:
        embedding, states = forward(mels, *frames)
        hidden.append(weakref.ref(states))
        alive.append(sum(ref() is not None for ref in hidden))
        return embedding, states

    monkeypatch.setattr(small._network, "forward", watched)
    monkeypatch.setattr(module, "BATCH_WINDOWS", 1)
    small.embed([sound(8.0)])
    assert len(alive) == 9
    assert max(alive) <= 2


# Views


def averaged_by_definition(state: dict[str, torch.Tensor], mel: NDArray[Any]) -> NDArray[np.float64]:
    """The mean over the embeddings of five hidden states, from the middle of the window on."""
    states = lstm_by_definition(state, mel)[[79, 99, 119, 139, 159]]
    raw = states @ state["linear.weight"].double().numpy().T + state["linear.bias"].double().numpy()
    return np.asarray(normalised(normalised(np.maximum(raw, 0.0)).sum(axis=0)))


def test_it_is_a_view_encoder(small: GE2E) -> None:
    assert isinstance(small, ViewEncoder)
    assert small.views == ("plain", *VIEWS)
    assert len(small.views) == 9
    assert view_names(small) == small.views


@pytest.mark.parametrize("seconds", [0.1, 1.6, 3.0, 12.0])
def test_the_plain_view_is_what_embed_gives(small: GE2E, seconds: float) -> None:
    clips = [sound(seconds, 1), sound(2.0, 2)]
    views = small.embed_views(clips)
    assert views.shape == (2, 9, 256)
    assert views.dtype == np.float32
    np.testing.assert_array_equal(views[:, 0], small.embed(clips))
    np.testing.assert_allclose(np.linalg.norm(views, axis=-1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(embed_views(small, clips), views)


def test_views_of_one_window_by_definition(small: GE2E, state: dict[str, torch.Tensor]) -> None:
    clip = sound(1.6, 3, rms=10 ** (-20 / 20))  # 10 dB above the level
    raised = power_mel(clip.samples)[:160].astype(float)
    levelled = raised * 10 ** (-10 / 10)
    faster, slower = (
        power_mel(soxr.resample(clip.samples, speed * RATE, RATE))[: -(-round(WINDOW / speed) // 160)]
        * 10 ** (-10 / 10)
        for speed in (1.12, 0.89)
    )
    [views] = small.embed_views([clip])
    mels = {
        "averaged": raised,
        "levelled": levelled,
        "denoised": subtract_floor(levelled),
        "dereverberated": subtract_reverberation(subtract_floor(levelled)),
        "slower": slower[:160],  # of 1.8 s: a second window would be covered to less than 3/4
        "reversed": levelled[::-1],
        "compressed": compress(levelled),
    }
    for name, mel in mels.items():
        expected = averaged_by_definition(state, mel)
        np.testing.assert_allclose(views[small.views.index(name)], expected, atol=5e-5, err_msg=name)
    short = [np.pad(faster, ((0, 160 - len(faster)), (0, 0))), np.resize(faster, (160, 40))]
    expected = normalised(np.sum([averaged_by_definition(state, mel) for mel in short], axis=0))
    np.testing.assert_allclose(views[small.views.index("faster")], expected, atol=5e-5)


def test_views_of_a_long_clip_are_means_over_windows(small: GE2E, state: dict[str, torch.Tensor]) -> None:
    clip = sound(3.0, 1)
    mel = np.pad(power_mel(clip.samples)[:300], ((0, 14), (0, 0)))
    expected = normalised(
        np.sum([averaged_by_definition(state, mel[i : i + 160]) for i in (0, 77, 154)], axis=0)
    )
    np.testing.assert_allclose(small.embed_views([clip])[0, 1], expected, atol=5e-5)


def test_views_of_each_clip_alone(small: GE2E) -> None:
    clips = [sound(seconds, seed) for seed, seconds in enumerate((0.1, 4.0, 1.4, 9.0))]
    together = small.embed_views(clips)
    np.testing.assert_allclose(
        together, np.concatenate([small.embed_views([clip]) for clip in clips]), atol=1e-5
    )
    np.testing.assert_allclose(small.embed_views(clips[::-1]), together[::-1], atol=1e-5)
    apart = np.abs(together[1, :, None] - together[1, None]).max(axis=-1)
    assert apart[~np.eye(9, dtype=bool)].min() > 2e-5  # no two views are the same


def test_no_clips_have_views(small: GE2E) -> None:
    assert small.embed_views([]).shape == (0, 9, 256)
    assert small.embed_views([]).dtype == np.float32


@pytest.mark.parametrize("samples", [1, 159, 160, 161, WINDOW - 1, WINDOW + 1])
def test_views_of_odd_lengths(small: GE2E, samples: int) -> None:
    views = small.embed_views([audio(sound(2.0, 4).samples[:samples])])
    assert np.isfinite(views).all()
    np.testing.assert_allclose(np.linalg.norm(views, axis=-1), 1.0, atol=1e-5)


def test_silence_has_views(small: GE2E) -> None:
    assert np.isfinite(small.embed_views([audio(np.zeros(RATE))])).all()


def test_only_the_first_two_views_hear_how_loud_a_clip_is(small: GE2E) -> None:
    clip = sound(2.0, 5, rms=0.05)
    louder = audio(4 * clip.samples)
    change = np.abs(small.embed_views([clip]) - small.embed_views([louder])).max(axis=(0, 2))
    assert (change[:2] > 1e-3).all()
    assert (change[2:] < 1e-5).all()


# Level


@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_quiet_clips_are_raised(small: GE2E, seconds: float) -> None:
    clip = sound(seconds, 4, rms=10 ** (-30 / 20))
    for db in (-3, -20, -60):
        quieter = audio(clip.samples * 10 ** (db / 20))
        np.testing.assert_allclose(small.embed([quieter]), small.embed([clip]), atol=1e-5)
        np.testing.assert_allclose(small.frames(quieter)[0], small.frames(clip)[0], atol=1e-4)


def test_loud_clips_are_left_as_they_are(small: GE2E, state: dict[str, torch.Tensor]) -> None:
    clip = sound(1.6, 5, rms=10 ** (-20 / 20))
    np.testing.assert_allclose(
        small.embed([clip])[0], embed_by_definition(state, window_mel(clip.samples, 0)), atol=2e-5
    )
    reference = audio(clip.samples * np.float32(10 ** (-10 / 20)))
    assert np.abs(small.embed([clip]) - small.embed([reference])).max() > 1e-3


def test_a_fixed_level_lowers_too(checkpoint: Path, small: GE2E) -> None:
    fixed = GE2E(checkpoint, threads=1, lower=True)
    reference = sound(1.6, 5, rms=10 ** (-30 / 20))
    for db in (-30, 10, 25):
        clip = audio(reference.samples * np.float32(10 ** (db / 20)))
        np.testing.assert_allclose(fixed.embed([clip]), small.embed([reference]), atol=1e-5)


def test_the_level_can_be_chosen(checkpoint: Path, state: dict[str, torch.Tensor]) -> None:
    encoder = GE2E(checkpoint, threads=1, level_dbfs=-40.0)
    clip = sound(1.6, 6, rms=1e-3)
    expected = embed_by_definition(state, window_mel(clip.samples * np.float32(10.0), 0))
    np.testing.assert_allclose(encoder.embed([clip])[0], expected, atol=2e-5)


def test_silence_has_an_embedding(small: GE2E) -> None:
    embedding = small.embed([audio(np.zeros(RATE))])
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize("level", [30.0, 0.1, -101.0, float("nan"), float("-inf")])
def test_a_level_out_of_range_is_refused(checkpoint: Path, level: float) -> None:
    with pytest.raises(ConfigError, match=r"^level_dbfs is .*; give a level from -100 to 0 dBFS$"):
        GE2E(checkpoint, level_dbfs=level)


# Threads and fingerprint


@pytest.mark.parametrize(
    ("threads", "windows", "expected"),
    [
        (1, 1, [1]),
        (1, 33, [17, 16]),  # even, and none above 32
        (2, 1, [1]),
        (2, 7, [7]),
        (2, 8, [4, 4]),
        (2, 64, [32, 32]),
        (2, 65, [17, 16, 16, 16]),  # as many for each thread
        (8, 20, [4, 4, 4, 4, 4]),
    ],
)
def test_batches(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, threads: int, windows: int, expected: list[int]
) -> None:
    encoder, seen = GE2E(checkpoint, threads=threads), []

    def forward(mels: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((len(mels), torch.get_num_threads()))
        return torch.ones(len(mels), 256), torch.ones(1)

    monkeypatch.setattr(encoder._network, "forward", forward)
    with torch_threads(3):
        encoder.embed([audio(np.full(STEP * (windows - 1) + WINDOW, 0.1))])
        assert torch.get_num_threads() == 3
    assert sorted((size for size, _ in seen), reverse=True) == expected
    assert {used for _, used in seen} == {1}


def test_any_number_of_threads_gives_the_same(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_WINDOWS", 3)
    clips = [sound(seconds, seed) for seed, seconds in enumerate((1.2, 4.0, 0.4, 6.0, 2.5))]
    one, three = (GE2E(checkpoint, threads=threads) for threads in (1, 3))
    np.testing.assert_allclose(three.embed(clips), one.embed(clips), atol=1e-6)
    np.testing.assert_allclose(three.embed_views(clips), one.embed_views(clips), atol=1e-6)
    np.testing.assert_allclose(three.frames(clips[3])[0], one.frames(clips[3])[0], atol=1e-6)


def test_batches_go_to_threads_of_which_each_has_one(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's own threads wait for one another at every frame, and do worse the busier the machine is."""
    monkeypatch.setattr(module, "BATCH_WINDOWS", 2)
    encoder, seen, gate = GE2E(checkpoint, threads=3), [], threading.Barrier(3)
    forward = encoder._network.forward

    def watched(*arguments: Any) -> Any:
        gate.wait(timeout=10)  # until three are at work
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return forward(*arguments)

    monkeypatch.setattr(encoder._network, "forward", watched)
    before = torch.get_num_threads()
    encoder.embed([sound(5.2)])  # six windows
    assert len({thread for thread, _ in seen}) == 3
    assert {threads for _, threads in seen} == {1}
    assert torch.get_num_threads() == before
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [before]  # what a new thread takes over is restored as well


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"precision": "float16"}, "precision is 'float16'; give one of: float32, bfloat16"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_choices_that_are_not_there(checkpoint: Path, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        GE2E(checkpoint, **choice)


# bfloat16


def test_bfloat16_is_near_and_has_the_same_fingerprint(checkpoint: Path, small: GE2E) -> None:
    shortened = GE2E(checkpoint, threads=1, precision="bfloat16", device="cpu")
    assert shortened.fingerprint == small.fingerprint
    clips = [sound(seconds, seed) for seed, seconds in enumerate((0.5, 2.0, 5.0))]
    embeddings, expected = shortened.embed(clips), small.embed(clips)
    assert embeddings.dtype == np.float32
    assert (embeddings * expected).sum(axis=1).min() > 0.998
    assert np.abs(embeddings - expected).max() > 1e-6
    assert shortened.frames(clips[0])[0].dtype == np.float32
    assert (shortened.embed_views(clips) * small.embed_views(clips)).sum(axis=2).min() > 0.99


def test_bfloat16_in_a_batch_is_the_same_as_alone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shortened = GE2E(checkpoint, threads=1, precision="bfloat16")
    clips = [
        sound(seconds, seed) for seed, seconds in enumerate((0.5, 1.2, 2.5, 4.0))
    ]  # 1, 1, 2 and 4 windows
    alone = np.concatenate([shortened.embed([clip]) for clip in clips])
    np.testing.assert_allclose(shortened.embed(clips), alone, atol=1e-5)
    monkeypatch.setattr(module, "BATCH_WINDOWS", 1)
    np.testing.assert_allclose(shortened.embed(clips), alone, atol=1e-5)


def test_published_weights_in_bfloat16(ge2e: GE2E, speech: Path) -> None:
    shortened = load_encoder("ge2e", precision="bfloat16", threads=1)
    clips = [trim_silence(load(path)) for path in sorted(speech.glob("home/*/*.flac"))[::20]]
    assert (shortened.embed(clips) * ge2e.embed(clips)).sum(axis=1).min() > 0.998


def test_a_part_can_have_the_gain_of_the_whole(small: GE2E) -> None:
    clip = sound(4.0, 1, rms=1e-3)
    whole = small.embed_windows(clip)[1]
    gain = small.gain(float(np.mean(np.square(clip.samples, dtype=np.float64))))
    assert gain == pytest.approx(10 ** (-30 / 20) / 1e-3, rel=1e-4)
    part = audio(clip.samples[: STEP + WINDOW + 400])
    np.testing.assert_allclose(small.embed_windows(part, gain=gain)[1][:2], whole[:2], atol=1e-6)
    assert small.gain(1.0) == 1.0


def test_the_fingerprint_has_front_end_and_weights(checkpoint: Path, state: dict[str, torch.Tensor]) -> None:
    used = {name: tensor for name, tensor in state.items() if not name.startswith("similarity_")}
    assert GE2E(checkpoint).fingerprint == f"ge2e/-30dB/9-views/{state_digest(used)[:32]}"
    options: list[dict[str, Any]] = [
        {"level_dbfs": level, "lower": lower, "repeat_short": repeat}
        for level, lower, repeat in itertools.product((-30.0, -27.0), (False, True), (False, True))
    ]
    prints = {GE2E(checkpoint, **option).fingerprint for option in options}
    assert len(prints) == len(options)


def test_the_fingerprint_changes_with_one_weight(
    tmp_path: Path, small: GE2E, state: dict[str, torch.Tensor]
) -> None:
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["lstm.bias_hh_l1"][7] += 1e-6
    torch.save(changed, tmp_path / "changed.pt")
    assert GE2E(tmp_path / "changed.pt").fingerprint != small.fingerprint


def test_the_fingerprint_knows_neither_file_nor_threads_nor_training(
    tmp_path: Path, small: GE2E, state: dict[str, torch.Tensor]
) -> None:
    save_file(state, tmp_path / "a.safetensors")
    torch.save({**state, "similarity_weight": torch.zeros(1)}, tmp_path / "b.pt")
    torch.save({name: tensor.double() for name, tensor in state.items()}, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        other = load_encoder("ge2e", weights=tmp_path / name, threads=2)
        assert other.fingerprint == small.fingerprint
        np.testing.assert_allclose(other.embed([sound(2.0)]), small.embed([sound(2.0)]), atol=1e-5)


# Files that are not its weights


def without(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("linear.bias"), 'Missing key(s) in state_dict: "linear.bias"'),
        (lambda state: {**state, "extra": torch.ones(1)}, 'Unexpected key(s) in state_dict: "extra"'),
        (lambda state: {**state, "linear.weight": torch.ones(192, 256)}, "size mismatch for linear.weight"),
        (lambda _: {"resnet.conv1.weight": torch.ones(3, 3)}, "Missing key(s)"),
    ],
    ids=["missing", "unexpected", "shape", "another network"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_weights_are_refused(
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    reason: str,
    suffix: str,
) -> None:
    file = tmp_path / f"other{suffix}"
    (torch.save if suffix == ".pt" else save_file)(change(state), file)
    with pytest.raises(WeightsError) as caught:
        load_encoder("ge2e", weights=file)
    message = str(caught.value)
    assert message.startswith(f"{file}: not GE2E weights (")
    assert reason in message
    assert "\n" not in message


# The published weights


def test_the_package_is_not_imported(ge2e: GE2E) -> None:
    assert ge2e.fingerprint.startswith("ge2e/-30dB/")
    assert "resemblyzer" not in sys.modules
    assert importlib.util.find_spec("resemblyzer") is None


def test_the_published_weights_once_more(ge2e: GE2E) -> None:
    """A fingerprint that moves makes every gallery in use a stranger to its encoder."""
    assert ge2e.fingerprint == "ge2e/-30dB/9-views/8a18c89b46ea3d83f3f3cd3617fbd657"


def test_published_weights_are_deterministic(ge2e: GE2E) -> None:
    clips = [sound(3.0, 1), sound(0.1, 2)]
    embeddings = ge2e.embed(clips)
    assert embeddings.shape == (2, 256)
    assert np.isfinite(embeddings).all()
    assert (embeddings >= 0).all()  # means of what left a ReLU
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(ge2e.embed(clips), embeddings)


def test_it_tells_people_apart(ge2e: GE2E, speech: Path) -> None:
    people = sorted((speech / "home").iterdir())[:6]
    clips = [trim_silence(load(file)) for person in people for file in sorted(person.iterdir())[:4]]
    embeddings, owner = ge2e.embed(clips), np.repeat(np.arange(6), 4)
    for i, embedding in enumerate(embeddings):
        others = np.arange(len(clips)) != i
        means = [embeddings[others & (owner == person)].mean(axis=0) for person in range(6)]
        scores = normalised(np.array(means)) @ embedding
        assert scores.argmax() == owner[i]
        assert scores[owner[i]] > 0.7
    same = owner[:, None] == owner[None]
    cosines = embeddings @ embeddings.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.2


def test_a_word_is_nearer_to_its_speaker(ge2e: GE2E, speech: Path) -> None:
    """0.5 s out of another clip of two people: on average the right one is nearer, in every view."""
    first, second = sorted((speech / "home").iterdir())[:2]
    means, words = [], []
    for person in (first, second):
        files = sorted(person.iterdir())
        means.append(
            normalised(ge2e.embed_views([trim_silence(load(file)) for file in files[:3]]).mean(axis=0))
        )
        clips = [trim_silence(load(file)).samples for file in files[3:8]]
        words.append(ge2e.embed_views([audio(clip[i : i + 8000]) for clip in clips for i in (8000, 24_000)]))
    for own, other, spoken in ((means[0], means[1], words[0]), (means[1], means[0], words[1])):
        nearer = (spoken * (own - other)).sum(axis=-1).mean(axis=0)  # of each view
        assert nearer[0] > 0.01
        assert (nearer[1:] > 0.05).all()  # which see a short clip repeated too


def test_a_part_of_a_real_clip_keeps_its_level(ge2e: GE2E, speech: Path) -> None:
    clip = trim_silence(load(next(iter(sorted((speech / "home").rglob("*.flac"))))))
    quiet, quieter = (audio(clip.samples * np.float32(10 ** (db / 20))) for db in (-30, -50))
    assert float((ge2e.embed([quiet]) @ ge2e.embed([quieter]).T).item()) > 0.99999
