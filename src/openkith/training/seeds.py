"""Random numbers that are the same in every run: a seed for each thing that draws, and states that can be kept."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["generator", "get_states", "seed_everything", "seeded", "set_states"]

# What a seed is for; the numbers are part of what a seed means, so none is ever changed.
ORDER, SAMPLE, BATCH, WEIGHTS, HELD_OUT = range(5)


def generator(seed: int, *place: int) -> np.random.Generator:
    """Random numbers of one place, such as (SAMPLE, epoch, batch, sample): independent of those of every other."""
    return np.random.default_rng([seed, *place])


def seed_everything(seed: int, *place: int) -> None:
    """Seed Python's, NumPy's and torch's own random numbers, on every device.

    To be called before a model is made, so that its first weights are the same in every run.
    """
    torch.manual_seed(_seed_numpy_and_python(seed, *place))


def get_states(device: torch.device) -> dict[str, Tensor]:
    """The states of Python's, NumPy's and torch's own random numbers, the device's too, as tensors."""
    version, words, gauss = random.getstate()
    keys: Any = np.random.get_state(legacy=False)
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(keys["state"]["key"].astype(np.int64)),
        "numpy_place": torch.tensor([keys["state"]["pos"], keys["has_gauss"]]),
        "numpy_gauss": torch.tensor([keys["gauss"]], dtype=torch.float64),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor([np.nan if gauss is None else gauss], dtype=torch.float64),
    }
    if device.type != "cpu":
        states["device"] = getattr(torch, device.type).get_rng_state()
    return states


def set_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """What `get_states` gave, set again; a device's state is left alone where there is none."""
    torch.set_rng_state(states["torch"].clone())  # it takes no part of a larger tensor
    place, has_gauss = states["numpy_place"].tolist()
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": states["numpy"].numpy().astype(np.uint32), "pos": place},
            "has_gauss": has_gauss,
            "gauss": states["numpy_gauss"].item(),
        }
    )
    version, *words = states["python"].tolist()
    gauss = states["python_gauss"].item()
    random.setstate((version, tuple(words), None if np.isnan(gauss) else gauss))
    if device.type != "cpu" and "device" in states:
        getattr(torch, device.type).set_rng_state(states["device"].clone())


@contextmanager
def seeded(device: torch.device, seed: int, *place: int) -> Iterator[None]:
    """Python's, NumPy's and torch's random numbers are those of a place in the block, and go on as before after it."""
    module = None if device.type == "cpu" else getattr(torch, device.type)
    on_device = module.get_rng_state() if module else None
    with _kept():
        seed_everything(seed, *place)
        try:
            yield
        finally:
            if module:
                module.set_rng_state(on_device)


@contextmanager
def seeded_on_cpu(seed: int, *place: int, restore: bool) -> Iterator[None]:
    """As `seeded`, without touching any device, which a worker process must not; ``restore``: go on as before."""
    with _kept() if restore else nullcontext():
        torch.default_generator.manual_seed(_seed_numpy_and_python(seed, *place))
        yield


@contextmanager
def _kept() -> Iterator[None]:
    """Random numbers on the CPU go on after the block as if it had drawn none."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_numpy_and_python(seed: int, *place: int) -> int:
    """Seed both; a seed for torch, of 63 bits."""
    words = np.random.SeedSequence([seed, *place]).generate_state(4, np.uint64)
    np.random.seed(words[:1].view(np.uint32))
    random.seed(int(words[1]))
    return int(words[2] >> np.uint64(1))
