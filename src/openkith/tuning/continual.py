"""Going on from an earlier head: what is carried over, and where the points of new people start."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openkith.errors import InputError
from openkith.tuning.samples import Samples

if TYPE_CHECKING:
    from openkith.losses.base import Loss
    from openkith.tuning.adapters import Adapter
    from openkith.tuning.head import TunedHead

__all__ = ["carry_over"]

_ROWS_PER_PERSON = 6  # of which a person's adapted mean is taken, those of the largest weight
_LEAST_KEPT = 2  # people, from whose points those of new ones follow


def carry_over(
    initial: TunedHead,
    adapter: Adapter,
    loss: Loss,
    people: Sequence[Hashable],
    known: Samples,
    who: npt.NDArray[np.int64],
    weights: npt.NDArray[Any],
) -> tuple[int, int, int]:
    """Fill a fresh adapter and loss from an earlier head.

    The adapter and what belongs to no speaker (radius, background) are copied. A person kept keeps every point. The
    points of a person added lie from the mean point of those kept in the direction in which that person's adapted
    clips lie from theirs (against it for reciprocal points, as the points kept tell), as far as theirs do on average:
    shorter ones, as least squares would have them, leave a new person's scores below everybody else's. Other
    values of a person (a radius, an anchor) are the mean of those kept. Where fewer than two people are kept,
    they stay as they are made.

    Args:
        initial: The earlier head.
        adapter, loss: Of the new one, changed in place; S members, or one in ``initial`` for all of them.
        people: Of the new head, by column.
        known: Their clips.
        who: (n,) column of each row.
        weights: (n,) how often each row is drawn.

    Returns:
        How many people were kept, added, and dropped.

    Raises:
        InputError: The earlier head is of another shape.
    """
    with torch.no_grad():
        _copy(adapter.state_dict(), initial.adapter.state_dict(), initial, "adapter")
        column = {name: i for i, name in enumerate(initial.names)}
        kept = [i for i, name in enumerate(people) if name in column]
        before = [column[people[i]] for i in kept]
        added = [i for i, name in enumerate(people) if name not in column]
        means = _adapted_means(adapter, known, who, weights, len(people)) if added and kept else None
        ours, theirs = loss.state_dict(), initial.loss.state_dict()
        if ours.keys() != theirs.keys():
            raise InputError("the earlier head was tuned with another loss; tune from nothing")
        for name, dimensions in _speaker_dimensions(initial, adapter.out).items():
            target, source = ours[name], theirs[name]
            if not dimensions:
                _copy({name: target}, {name: source}, initial, "loss")
                continue
            _fill(target, source, dimensions, (kept, before, added), (len(people), len(column)), means)
    return len(kept), len(added), len(column) - len(kept)


def _copy(ours: dict[str, Tensor], theirs: dict[str, Tensor], initial: TunedHead, what: str) -> None:
    """Every tensor of the earlier head into the new one's, repeated over members where it has one."""
    if ours.keys() != theirs.keys() or any(
        not _of_one_shape(tensor, theirs[name]) for name, tensor in ours.items()
    ):
        raise InputError(
            f"the earlier head has another {what} (it takes length {initial.dim}, adapter "
            f"{initial.config.adapter!r}, loss {initial.config.loss!r}); use its configuration, or tune from nothing"
        )
    for name, tensor in ours.items():
        tensor.copy_(theirs[name].expand_as(tensor))


def _of_one_shape(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors differ at most in that the second has one member; a count has no members at all."""
    return ours.shape[1:] == theirs.shape[1:] and (
        ours.shape == theirs.shape or (theirs.ndim > 0 and len(theirs) == 1)
    )


def _speaker_dimensions(initial: TunedHead, out: int) -> dict[str, list[int]]:
    """For each tensor of a loss, the dimensions that grow with the number of speakers.

    Found by making the loss for two and for three speakers, so that no loss has to say.
    """
    two, three = (initial.config.make_loss(n, out, 1, torch.Generator()).state_dict() for n in (2, 3))
    return {
        name: [i for i in range(tensor.ndim) if tensor.shape[i] != three[name].shape[i]]
        for name, tensor in two.items()
    }


def _fill(
    target: Tensor,
    source: Tensor,
    dimensions: list[int],
    rows: tuple[list[int], list[int], list[int]],
    people: tuple[int, int],
    means: Tensor | None,
) -> None:
    """Carry one tensor with speaker dimensions over.

    Args:
        target, source: Of the new and of the earlier head.
        dimensions: Which of theirs are speakers'.
        rows: New columns of people kept, their earlier columns, new columns of people added.
        people: How many the new and the earlier head have.
        means: (S, C, m) adapted mean of each person, where somebody is kept and somebody added.
    """
    kept, before, added = rows
    members = len(target)
    each = target.shape[dimensions[0]] // people[0]  # a speaker's own points are next to each other
    if not kept:
        return
    if len(dimensions) == 2:  # (S, C, C), as anchors are
        old = source.expand(members, *source.shape[1:])
        new_rows, old_rows = torch.tensor(kept), torch.tensor(before)
        between = old[:, old_rows[:, None], old_rows]  # (S, k, k)
        own = between.diagonal(dim1=1, dim2=2)  # (S, k)
        if added:
            n = len(kept)
            off = (between.sum((1, 2)) - own.sum(1)) / max(n * (n - 1), 1)
            if n >= _LEAST_KEPT:
                target.copy_(off[:, None, None].expand_as(target))
            target[:, added, added] = own.mean(1, keepdim=True)
        target[:, new_rows[:, None], new_rows] = between
        return
    # (S, C K, ...) as (S, C, K, ...)
    new = target.view(members, people[0], each, *target.shape[2:])
    old = source.expand(members, *source.shape[1:]).reshape(members, people[1], each, *source.shape[2:])
    points = old[:, before]  # (S, k, K, ...)
    new[:, kept] = points
    if not added or len(kept) < _LEAST_KEPT:
        return
    centre = points.mean(1, keepdim=True)  # (S, 1, K, ...)
    if means is None or points.ndim != 4 or points.shape[-1] != means.shape[-1]:
        new[:, added] = centre.expand(-1, len(added), *centre.shape[2:])
        return
    of_kept = means[:, kept].unsqueeze(2)  # (S, k, 1, m)
    middle = of_kept.mean(1, keepdim=True)
    slope = ((of_kept - middle) * (points - centre)).sum((1, 3), keepdim=True).sign()  # (S, 1, K, 1)
    way = slope * (means[:, added].unsqueeze(2) - middle)  # (S, a, K, m)
    length = torch.linalg.vector_norm(points - centre, dim=-1, keepdim=True).mean(1, keepdim=True)
    new[:, added] = centre + length * torch.nn.functional.normalize(way, dim=-1)


def _adapted_means(
    adapter: Adapter, known: Samples, who: npt.NDArray[np.int64], weights: npt.NDArray[Any], n_people: int
) -> Tensor:
    """Mean of each person's adapted clips, of a few that weigh most: (S, C, m)."""
    order = np.lexsort((np.arange(len(who)), -np.asarray(weights), who))
    rank = np.arange(len(who)) - np.searchsorted(who[order], who[order])
    rows = torch.from_numpy(order[rank < _ROWS_PER_PERSON])
    adapter.eval()
    adapted = adapter(*known.take(rows))  # (S, r, m)
    label = torch.from_numpy(who)[rows]
    total = adapted.new_zeros(len(adapted), n_people, adapted.shape[-1]).index_add_(1, label, adapted)
    mean: Tensor = total / torch.bincount(label, minlength=n_people).clamp_min(1)[:, None]
    return mean
