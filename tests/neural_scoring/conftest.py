"""The scoring network recomputed in float64 NumPy, straight from a state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Definition = Callable[..., Array]


def linear(s: Mapping[str, Array], name: str, x: Array) -> Array:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def layer_norm(s: Mapping[str, Array], name: str, x: Array) -> Array:
    rows = []
    for row in x:
        centred = row - row.mean()
        rows.append(centred / np.sqrt((centred**2).mean() + 1e-6) * s[f"{name}.weight"] + s[f"{name}.bias"])
    return np.array(rows)


def positions(count: int, width: int) -> Array:
    table = np.zeros((count, width))
    for place in range(count):
        for i in range(width):
            angle = place / 10000 ** (2 * (i // 2) / width)
            table[place, i] = np.sin(angle) if i % 2 == 0 else np.cos(angle)
    return table


def attention(s: Mapping[str, Array], at: str, x: Array, sees: NDArray[np.bool_], heads: int) -> Array:
    """One head and one token after the other."""
    q, k, v = (linear(s, f"{at}.{name}", x) for name in ("WQ", "WK", "WV"))
    size = x.shape[1] // heads
    taken = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for token in range(len(x)):
            others = np.flatnonzero(sees[token])
            scores = np.array([q[token, part] @ k[other, part] for other in others]) / np.sqrt(size)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            taken[token, part] = sum(
                weight * v[other, part] for weight, other in zip(weights, others, strict=True)
            )
    return linear(s, f"{at}.linear", taken)


def log_odds(state: Mapping[str, torch.Tensor], enrolments: Any, frames: Any, heads: int = 4) -> Array:
    """Log odds (e,) of enrolments (e, d) and frames (T, f)."""
    s = {name: value.double().numpy() for name, value in state.items() if value.is_floating_point()}
    e, t = len(enrolments), len(frames)
    width = s["scoring_linear1.weight"].shape[0]
    asked = linear(s, "scoring_linear2", np.asarray(enrolments, np.float64))
    heard = linear(s, "scoring_linear1", np.asarray(frames, np.float64))
    x = np.concatenate(
        [
            asked + s["transformer_model.etype_emb"],
            heard + s["transformer_model.ttype_emb"] + positions(t, width),
        ]
    )
    sees = np.zeros((e + t, e + t), bool)
    sees[:, e:] = True
    sees[np.arange(e), np.arange(e)] = True
    layer = 0
    while f"transformer_model.layers.{layer}.mha.WQ.weight" in s:
        at = f"transformer_model.layers.{layer}"
        x = layer_norm(s, f"{at}.layernorm1", x + attention(s, f"{at}.mha", x, sees, heads))
        hidden = np.maximum(linear(s, f"{at}.ffn.linear1", x), 0)
        x = layer_norm(s, f"{at}.layernorm2", x + linear(s, f"{at}.ffn.linear2", hidden))
        layer += 1
    for name in ("mlp.0", "mlp.2"):
        x = np.maximum(linear(s, name, x), 0)
    return linear(s, "mlp.4", x)[:e, 0]


@pytest.fixture(scope="session")
def definition() -> Definition:
    return log_odds
