"""GE2E as an ONNX graph, from the samples of a clip to its embedding in the plain view.

Written down operator by operator: torch's exporter takes half a minute over three LSTM layers. The spectrum of a frame
is a convolution with windowed sines and cosines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openkith.audio import SAMPLE_RATE
from openkith.audio.features import mel_filterbank
from openkith.encoders.networks.ge2e import (
    GE2E,
    HIDDEN,
    HOP_SECONDS,
    LAST_WINDOW_COVERAGE,
    LAYERS,
    N_MELS,
    WINDOW_FRAMES,
    WINDOW_STEP_FRAMES,
)
from openkith.errors import ConfigError, require

__all__ = ["ge2e_proto"]

N_FFT = 400  # samples in a frame
HOP = round(HOP_SECONDS * SAMPLE_RATE)
NEEDED = WINDOW_FRAMES * HOP  # samples of a window
LEAST = round(LAST_WINDOW_COVERAGE * NEEDED)  # samples of a last window
OPSET = 17

_HEAD = f"""
<ir_version: 8, opset_import: ["" : {OPSET}]>
ge2e (float[batch, samples] waveform) => (float[batch, {HIDDEN}] embs)
{{
    power = Mul(waveform, waveform)
    mean_power = ReduceMean<axes = [1]>(power)
    rms = Sqrt(mean_power)
    heard_rms = Max(rms, softest)
    needed_gain = Div(level, heard_rms)
    gain = Max(needed_gain, least_gain)
    levelled = Mul(waveform, gain)

    padded = Pad(levelled, padding)
    channel = Unsqueeze(padded, one)
    waves = Conv<strides = [{HOP}]>(channel, sinusoids)
    squares = Mul(waves, waves)
    bands_first = Conv(squares, filters)
    mel = Transpose<perm = [0, 2, 1]>(bands_first)

    samples_1 = Shape<start = 1, end = 2>(waveform)
    n = Squeeze(samples_1)
    beyond = Sub(n, least)
    beyond_first = Max(beyond, zero)
    further = Div(beyond_first, step)
    count = Add(further, unit)
    numbers = Range(zero, count, unit)
    starts = Mul(numbers, step_frames)
    columns = Unsqueeze(starts, one)
    indices = Add(columns, frames)
    windows = Gather<axis = 1>(mel, indices)
    flat = Reshape(windows, flat_shape)
    layer_0 = Transpose<perm = [1, 0, 2]>(flat)
"""
_LAYER = f"""
    states_{{0}}, last_{{0}} = LSTM<hidden_size = {HIDDEN}>(layer_{{0}}, w_{{0}}, r_{{0}}, b_{{0}})
    layer_{{1}} = Squeeze(states_{{0}}, one)
"""
_TAIL = f"""
    hidden = Squeeze(last_{LAYERS - 1}, first)
    linear = Gemm<transB = 1>(hidden, weight, bias)
    embedded = Relu(linear)
    norms = ReduceL2<axes = [1]>(embedded)
    safe_norms = Max(norms, tiny)
    unit_rows = Div(embedded, safe_norms)
    batch_1 = Shape<start = 0, end = 1>(waveform)
    by_clip = Concat<axis = 0>(batch_1, row_shape)
    of_clips = Reshape(unit_rows, by_clip)
    mean = ReduceMean<axes = [1], keepdims = 0>(of_clips)
    norm = ReduceL2<axes = [1]>(mean)
    safe_norm = Max(norm, tiny)
    embs = Div(mean, safe_norm)
}}
"""


def ge2e_proto(encoder: GE2E) -> Any:
    """The ONNX model of an encoder: samples (batch, n) to L2-normalised embeddings (batch, 256).

    Raises:
        ConfigError: ``repeat_short``, which the graph has not.
        MissingDependencyError: The package onnx is not installed.
    """
    onnx = require("onnx", "export", "exporting to ONNX")
    parser, numpy_helper = require("onnx.parser", "export", ""), require("onnx.numpy_helper", "export", "")
    if encoder.repeat_short:
        raise ConfigError("repeat_short has no export to ONNX; load GE2E without it")
    layers = "".join(_LAYER.format(layer, layer + 1) for layer in range(LAYERS))
    proto = parser.parse_model(_HEAD + layers + _TAIL)
    for name, value in {**_constants(encoder), **_weights(encoder)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    onnx.checker.check_model(proto)
    return proto


def _constants(encoder: GE2E) -> dict[str, NDArray[Any]]:
    phase = 2.0 * np.pi * np.outer(np.arange(N_FFT // 2 + 1), np.arange(N_FFT)) / N_FFT
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
    filters = mel_filterbank(N_MELS, N_FFT, SAMPLE_RATE)
    floats = {
        "softest": 1e-9,
        "level": 10.0 ** (encoder.level_dbfs / 20.0),
        "least_gain": 0.0 if encoder.lower else 1.0,
        "tiny": 1e-12,
        "sinusoids": (np.concatenate([np.cos(phase), np.sin(phase)]) * hann)[:, None],
        "filters": np.concatenate([filters, filters], axis=1)[:, :, None],  # for the squares of both
    }
    integers = {
        "padding": [0, N_FFT // 2, 0, NEEDED + N_FFT // 2],
        "first": [0],
        "one": [1],
        "zero": 0,
        "unit": 1,
        "least": LEAST,
        "step": WINDOW_STEP_FRAMES * HOP,
        "step_frames": WINDOW_STEP_FRAMES,
        "frames": np.arange(WINDOW_FRAMES),
        "flat_shape": [-1, WINDOW_FRAMES, N_MELS],
        "row_shape": [-1, HIDDEN],
    }
    return {
        **{name: np.asarray(value, np.float32) for name, value in floats.items()},
        **{name: np.asarray(value, np.int64) for name, value in integers.items()},
    }


def _weights(encoder: GE2E) -> dict[str, NDArray[np.float32]]:
    """Under the names of the graph, with the gates in ONNX's order: i, o, f, g instead of i, f, g, o."""
    state: dict[str, torch.Tensor] = encoder._network.state_dict()
    found = {name: tensor.detach().cpu().float().numpy() for name, tensor in state.items()}

    def gates(name: str) -> NDArray[np.float32]:
        i, f, g, o = np.split(found[name], 4)
        return np.concatenate([i, o, f, g])

    weights = {"weight": found["linear.weight"], "bias": found["linear.bias"]}
    for layer in range(LAYERS):
        weights[f"w_{layer}"] = gates(f"lstm.weight_ih_l{layer}")[None]
        weights[f"r_{layer}"] = gates(f"lstm.weight_hh_l{layer}")[None]
        biases = [gates(f"lstm.bias_{kind}_l{layer}") for kind in ("ih", "hh")]
        weights[f"b_{layer}"] = np.concatenate(biases)[None]
    return weights
