"""Seeds of places, and states that come back."""

from __future__ import annotations

import random

import numpy as np
import torch

from openkith.training import seed_everything
from openkith.training.seeds import generator, get_states, seeded, seeded_on_cpu, set_states

CPU = torch.device("cpu")


def draw() -> list[float]:
    """From each global generator; the normal draws leave a second half behind."""
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.random(),
        np.random.standard_normal(),
        torch.rand(()).item(),
    ]


def test_the_same_place_gives_the_same() -> None:
    first = generator(3, 1, 2).random(4)
    np.testing.assert_array_equal(generator(3, 1, 2).random(4), first)
    for other in ((4, 1, 2), (3, 2, 1), (3, 1, 3), (3, 1)):
        assert not np.any(generator(*other).random(4) == first)


def test_seed_everything() -> None:
    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert not set(draw()) & set(first)


def test_states_come_back_in_the_middle_of_a_pair_of_normal_draws() -> None:
    seed_everything(5)
    draw()
    rows = {name: torch.stack([tensor, tensor]) for name, tensor in get_states(CPU).items()}
    states = {name: tensor[1] for name, tensor in rows.items()}  # as in the checkpoint of two processes
    expected = [draw(), draw()]
    seed_everything(8)
    set_states(states, CPU)
    assert [draw(), draw()] == expected


def test_a_block_leaves_nothing_behind() -> None:
    seed_everything(5)
    expected = [draw(), draw()]
    for block in (lambda: seeded(CPU, 1, 2), lambda: seeded_on_cpu(1, 2, restore=True)):
        seed_everything(5)
        first = draw()
        with block():
            inside = draw()
        assert [first, draw()] == expected
        with block():
            assert draw() == inside


def test_a_worker_is_only_seeded() -> None:
    with seeded_on_cpu(1, 2, restore=False):
        first = draw()
    following = draw()
    with seeded_on_cpu(1, 2, restore=False):
        assert draw() == first
    assert draw() == following
