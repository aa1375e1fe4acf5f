"""Which rows are where, and batches that do not depend on who makes them."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from openkith.errors import AudioError, ConfigError
from openkith.training import TrainConfig
from openkith.training.batches import Batches, Orders, fingerprint, shuffled

ALONE = SimpleNamespace(world_size=1, global_rank=0)


class Drawn:
    """Samples that are a row and a random number of their own."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> Any:
        raise AssertionError("draw is there, and is to be called")

    def draw(self, row: int, rng: np.random.Generator) -> tuple[int, float]:
        return row, rng.random()


@pytest.mark.parametrize(
    ("rows", "size", "processes"), [(40, 4, 1), (41, 4, 1), (41, 4, 2), (43, 3, 4), (5, 8, 2)]
)
def test_each_row_once_an_epoch(rows: int, size: int, processes: int) -> None:
    config = TrainConfig(batch_size=size)
    orders = [shuffled(config, rows, 3, rank, processes) for rank in range(processes)]
    assert len({tuple(map(len, order)) for order in orders}) == 1  # as many batches, and of one size, in each
    seen = Counter(row for order in orders for batch in order for row in batch)
    assert set(seen.values()) == {1}
    assert rows - processes < len(seen) <= rows
    assert all(0 <= row < rows for row in seen)


def test_epochs_and_seeds_differ() -> None:
    config = TrainConfig(batch_size=4)
    first = shuffled(config, 40, 0, 0, 1)
    assert shuffled(config, 40, 0, 0, 1) == first
    assert shuffled(config, 40, 1, 0, 1) != first
    assert shuffled(TrainConfig(batch_size=4, seed=1), 40, 0, 0, 1) != first
    assert sorted(row for batch in first for row in batch) != [row for batch in first for row in batch]


def test_two_processes_share_out_one_larger_batch() -> None:
    whole = shuffled(TrainConfig(batch_size=8), 44, 2, 0, 1)
    halves = [shuffled(TrainConfig(batch_size=4), 44, 2, rank, 2) for rank in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_drop_last() -> None:
    assert [len(batch) for batch in shuffled(TrainConfig(batch_size=4), 10, 0, 0, 1)] == [4, 4, 2]
    config = TrainConfig(batch_size=4, drop_last=True)
    assert [len(batch) for batch in shuffled(config, 10, 0, 0, 1)] == [4, 4]
    assert [len(batch) for batch in shuffled(config, 15, 0, 1, 2)] == [4]  # 7 are no two batches of 4


def test_fingerprint_tells_orders_apart() -> None:
    orders = ([[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3]], [[3, 2], [1]], [[1, 2], [4]], [])
    assert len({fingerprint(order) for order in orders}) == len(orders)
    assert all(fingerprint(order) > 0 for order in orders)


def test_a_begun_epoch_must_have_the_same_batches() -> None:
    config = TrainConfig(batch_size=4)
    order, mark = Orders(config, 12, ALONE, None).of(1, 0)
    assert Orders(config, 12, ALONE, None).of(1, mark) == (order, mark)
    with pytest.raises(ConfigError, match="those of epoch 1 are not the ones it was begun with"):
        Orders(config, 12, ALONE, lambda *_: [[0, 1]]).of(1, mark)


@pytest.mark.parametrize("bad", [[[0, 12]], [[0], []], [[-1]]])
def test_unusable_batches(bad: list[list[int]]) -> None:
    with pytest.raises(ConfigError, match=r"batch \d of epoch 0 is empty or has rows outside 0 to 11"):
        Orders(TrainConfig(), 12, ALONE, lambda *_: bad).of(0, 0)


def test_no_batches() -> None:
    with pytest.raises(ConfigError, match="epoch 0 has none for 3 rows"):
        Orders(TrainConfig(batch_size=4, drop_last=True), 3, ALONE, None).of(0, 0)


def test_the_factory_is_told_epoch_rank_and_processes() -> None:
    asked = []

    def factory(*place: int) -> list[list[int]]:
        asked.append(place)
        return [[place[0]]]

    assert Orders(TrainConfig(), 12, ALONE, factory).of(5, 0)[0] == [[5]]
    assert asked == [(5, 0, 1)]


def made(dataset: Any, rank: int = 0, start: int = 0, **settings: Any) -> list[Any]:
    batches = Batches(dataset, TrainConfig(**settings), list, rank, False)
    return list(batches.of(1, [[0, 1], [2, 3], [4, 5]], start))


def test_a_sample_draws_the_same_wherever_the_epoch_is_begun() -> None:
    whole = made(Drawn())
    assert [[row for row, _ in batch] for batch in whole] == [[0, 1], [2, 3], [4, 5]]
    assert made(Drawn(), start=2) == whole[2:]
    assert len({value for batch in whole for _, value in batch}) == 6
    assert made(Drawn(), seed=1) != whole


def test_a_second_process_draws_what_the_end_of_a_larger_batch_would() -> None:
    batches = Batches(Drawn(), TrainConfig(), list, 0, False)
    whole = list(batches.of(1, [[7, 8, 0, 1], [7, 8, 2, 3], [7, 8, 4, 5]], 0))
    assert made(Drawn(), rank=1) == [batch[2:] for batch in whole]


def test_global_draws_are_seeded_and_leave_nothing_behind() -> None:
    class Global(Drawn):
        def draw(self, row: int, rng: np.random.Generator) -> tuple[int, float]:  # noqa: ARG002
            return row, torch.rand(()).item() + np.random.random()

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = made(Global())
    assert torch.equal(torch.rand(3), expected)
    assert made(Global()) == first
    assert len({value for batch in first for _, value in batch}) == 6


def test_many_rows_at_once() -> None:
    class Many(Drawn):
        draw = None  # type: ignore[assignment]

        def __getitems__(self, rows: list[int]) -> list[int]:
            return [10 * row for row in rows]

    assert made(Many()) == [[0, 10], [20, 30], [40, 50]]


def test_torch_collates_where_nothing_else_is_said() -> None:
    batches = Batches([(float(row), row) for row in range(12)], TrainConfig(), None, 0, False)
    [(values, rows)] = batches.of(0, [[3, 1]], 0)
    assert values.tolist() == rows.tolist() == [3, 1]


class Broken:
    """A sample that cannot be read."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> int:
        raise AudioError(f"row-{row}.wav: not audio; leave it out")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_user_s_mistake_is_one_line_whoever_makes_the_batch(workers: int) -> None:
    with pytest.raises(AudioError) as raised:
        made(Broken(), workers=workers)
    assert str(raised.value) == "row-0.wav: not audio; leave it out"
