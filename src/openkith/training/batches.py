"""Which samples each batch of an epoch has, and the batches themselves, the same whoever makes them and when."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, default_collate, get_worker_info

from openkith.errors import ConfigError, KithError
from openkith.training.config import TrainConfig
from openkith.training.processes import gather
from openkith.training.seeds import BATCH, ORDER, SAMPLE, generator, seeded_on_cpu

__all__ = ["BatchFactory", "Batches", "Collate", "Dataset", "Order", "Orders", "fingerprint", "shuffled"]

Collate = Callable[[list[Any]], Any]
BatchFactory = Callable[[int, int, int], Iterable[Sequence[int]]]  # epoch, rank, processes
Order = list[list[int]]  # for each batch of an epoch, the rows of the dataset in it

_Key = tuple[int, int, int, list[int]]  # epoch, rank, batch, rows


class Dataset(Protocol):
    """Samples by number, from 0.

    It has one of these methods besides; of several, the first of this list is called:

    - ``draw(row, rng)``, for samples with something random in them (mixing, augmentation). ``rng`` is a NumPy
      generator of that sample's own: what is drawn depends on seed, epoch and place in the batch, and neither on
      the number of workers, nor on what was made before, nor on whether one process or two share out the batch.
    - ``__getitems__(rows)``, for many samples at once.
    - ``__getitem__(row)``.
    """

    def __len__(self) -> int: ...


def shuffled(config: TrainConfig, rows: int, epoch: int, rank: int, processes: int) -> Order:
    """The batches of one process: each row once an epoch, in an order of the epoch's own.

    The processes share out each step's rows: two processes see in a step what one process with twice the batch
    size sees. Rows that cannot be shared out evenly, fewer than there are processes, are left out of that epoch.
    """
    permutation = generator(config.seed, ORDER, epoch).permutation(rows)
    size = config.batch_size * processes
    batches = []
    for start in range(0, rows, size):
        share, short = divmod(len(permutation[start : start + size]), processes)
        if share and not (config.drop_last and (short or share < config.batch_size)):
            first = start + rank * share
            batches.append(permutation[first : first + share].tolist())
    return batches


class Orders:
    """Which rows the batches of this process have, epoch by epoch.

    Args:
        config: Of `shuffled`.
        rows: How many the dataset has.
        fabric: Of Lightning, started.
        factory: Of the caller's own batches; None: `shuffled`.
    """

    def __init__(self, config: TrainConfig, rows: int, fabric: Any, factory: BatchFactory | None) -> None:
        self.rows = rows
        self.processes: int = fabric.world_size
        self._config = config
        self._fabric = fabric
        self._factory = factory

    def of(self, epoch: int, begun: int) -> tuple[Order, int]:
        """The batches of an epoch.

        Args:
            epoch: From 0.
            begun: Fingerprint of the batches of the first process where the epoch has been begun; else 0.

        Returns:
            The batches, and the fingerprint.

        Raises:
            ConfigError: There are none, other processes have more or fewer, or they are not those begun.
        """
        rank: int = self._fabric.global_rank
        order = self._made(epoch, rank)
        counts = gather(self._fabric, torch.tensor(len(order))).tolist()
        if len(set(counts)) > 1:
            raise ConfigError(f"batches: the processes have {counts} in epoch {epoch}; give each as many")
        if not order:
            raise ConfigError(
                f"batches: epoch {epoch} has none for {self.rows} rows; give more rows, or a smaller batch_size"
            )
        found = fingerprint(order if rank == 0 else self._made(epoch, 0))
        if begun and begun != found:
            raise ConfigError(
                f"batches: those of epoch {epoch} are not the ones it was begun with; give the same to go on"
            )
        return order, found

    def _made(self, epoch: int, rank: int) -> Order:
        if self._factory is None:
            return shuffled(self._config, self.rows, epoch, rank, self.processes)
        order = [[int(row) for row in batch] for batch in self._factory(epoch, rank, self.processes)]
        for number, batch in enumerate(order):
            if not batch or not 0 <= min(batch) <= max(batch) < self.rows:
                raise ConfigError(
                    f"batches: batch {number} of epoch {epoch} is empty or has rows outside 0 to "
                    f"{self.rows - 1}; give lists of rows of the dataset"
                )
        return order


def fingerprint(order: Order) -> int:
    """A number above 0 that tells one order from another."""
    check = 0
    for batch in order:
        check = zlib.crc32(np.asarray([len(batch), *batch], np.int64).tobytes(), check)
    return check + 1


class Batches:
    """Makes the batches, in this process or in workers.

    Args:
        dataset: The samples.
        config: Its seed and workers.
        collate: Samples of a batch to the batch; None: torch's own.
        rank: Of this process.
        pin: Whether batches are put where a GPU copies from fast.
    """

    def __init__(
        self, dataset: Dataset, config: TrainConfig, collate: Collate | None, rank: int, pin: bool
    ) -> None:
        self._rank = rank
        self._keys = _Keys()
        self._loader: DataLoader[Any] = DataLoader(
            _Made(dataset, config.seed, collate or default_collate),  # type: ignore[arg-type]
            batch_size=None,  # a key is a whole batch
            sampler=self._keys,
            collate_fn=_as_it_is,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=pin,
            generator=torch.Generator(),  # so that starting workers draws nothing from torch's own
        )

    def of(self, epoch: int, order: Order, start: int) -> Iterator[Any]:
        """The batches of an epoch from the one of number ``start`` on."""
        self._keys.now = [(epoch, self._rank, number, order[number]) for number in range(start, len(order))]
        for batch in self._loader:
            if isinstance(batch, KithError):
                raise batch
            yield batch


class _Keys(Sampler[_Key]):
    """Keys of the batches to make next."""

    def __init__(self) -> None:
        self.now: list[_Key] = []

    def __iter__(self) -> Iterator[_Key]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class _Made:
    """A key to its batch."""

    def __init__(self, dataset: Dataset, seed: int, collate: Collate) -> None:
        self._dataset = dataset
        self._seed = seed
        self._collate = collate

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: _Key) -> Any:
        epoch, rank, batch, rows = key
        alone = get_worker_info() is None  # then dropout must not see that a batch was made
        with seeded_on_cpu(self._seed, BATCH, epoch, batch, rank, restore=alone):
            try:
                return self._collate(self._samples(epoch, rank, batch, rows))
            except KithError as error:  # the loader would wrap what a worker raises into a traceback
                return error

    def _samples(self, epoch: int, rank: int, batch: int, rows: list[int]) -> list[Any]:
        draw: Any = getattr(self._dataset, "draw", None)
        if draw is not None:
            first = rank * len(rows)  # so that processes draw what one with a larger batch would
            return [
                draw(row, generator(self._seed, SAMPLE, epoch, batch, first + place))
                for place, row in enumerate(rows)
            ]
        many: Any = getattr(self._dataset, "__getitems__", None)
        data: Any = self._dataset
        samples: list[Any] = many(rows) if many is not None else [data[row] for row in rows]
        return samples


def _as_it_is(batch: Any) -> Any:
    return batch
