"""Tune a head on a few clips per person: embeddings and labels in, a `TunedHead` out."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.tuning.config import TuneConfig
from openkith.tuning.fusion import eigenvalue_variance, member_lines, select_members
from openkith.tuning.head import Diagnostics, TunedHead

if TYPE_CHECKING:
    import torch

    from openkith.tuning.loop import Batch, Progress
    from openkith.tuning.samples import Clips, Samples

__all__ = ["tune"]

_LINE_ROWS = 1000  # rows of known, and of unknown people that members' lines are learned on, evenly spaced

Weights = npt.NDArray[Any]


def tune(
    embeddings: Clips,
    labels: npt.NDArray[Any] | Sequence[Hashable],
    unknown: Clips | None = None,
    config: TuneConfig | None = None,
    *,
    initial: TunedHead | None = None,
    names: Sequence[Hashable] | None = None,
    weights: Weights | None = None,
    unknown_weights: Weights | None = None,
    progress: Progress | None = None,
) -> TunedHead:
    """Train adapters and points on clips of known people, with clips of others as unknown samples.

    With ``initial``, tuning goes on from an earlier head (continual tuning): the adapters start from its weights,
    people whom it knew keep their points, people whom it did not know get points that follow from their
    clips, and those no longer named are dropped. It takes 15 % of the steps (`TuneConfig.continued`), or the share of
    people that are new where that is more. As many members are trained as the earlier head holds; one with a single
    member, such as a released checkpoint, is repeated.

    Args:
        embeddings: (n, d). For an adapter on frames (n, T, f), or one array (T_i, f) for each clip.
        labels: Who each row is, (n,): texts, numbers, anything that can be told apart.
        unknown: Clips of other people, (u, d), or frames; without them the unknown-sample term is left out.
        config: How to tune; None: that of ``initial``, else the defaults.
        initial: An earlier head.
        names: The people in the order of the scores' columns; None: the labels, sorted where they can be, else in
            their order.
        weights: How often each row is drawn, (n,); None: every person alike, and every row of a person.
        unknown_weights: The same for ``unknown``; None: every row alike.
        progress: Called with what is being done, steps done, and steps in all.

    Raises:
        InputError: Arrays that do not fit together, values that are not finite, an earlier head of another shape.
        NotEnoughDataError: Fewer than two people: the losses tell people apart.
        ConfigError: Options that do not go together, or a learning rate under which the loss overflows.

    Example:
        >>> head = tune(embeddings, ["ann", "ann", "bob", "bob"], unknown=strangers)
        >>> head.names, head.score(probes)
    """
    import torch

    from openkith.tuning.continual import carry_over
    from openkith.tuning.loop import train
    from openkith.tuning.registry import takes_frames
    from openkith.tuning.samples import Samples

    config = config or (initial.config if initial else TuneConfig())
    frames = takes_frames(config.adapter)
    known = Samples.of(embeddings, "embeddings", frames)
    who, people = _people(labels, names, len(known))
    others = None
    if unknown is not None and len(unknown):
        others = Samples.of(unknown, "unknown", frames, known.dim)
    if config.epochs is not None and weights is not None:
        raise ConfigError(f"epochs is {config.epochs}, which takes each clip once; weights go with steps")
    row_weights = _checked(weights, len(known), "weights") if weights is not None else _balanced(who)
    generator = torch.Generator().manual_seed(config.seed)
    members = config.members
    if initial is not None and initial.members > 1:
        members = initial.members
    adapter = config.make_adapter(known.dim, members, generator)
    loss = config.make_loss(len(people), adapter.out, members, generator)
    diagnostics, share = Diagnostics(), 1.0
    if initial is not None:
        kept, added, dropped = carry_over(initial, adapter, loss, people, known, who, row_weights)
        diagnostics = Diagnostics(kept=kept, added=added, dropped=dropped)
        share = max(config.continued, added / len(people))

    steps = config.planned_steps(len(known), len(people), share)
    pool = known if others is None or not config.unknown_weight else known.joined(others)
    other_weights = None
    if len(pool) > len(known):
        assert others is not None
        other_weights = np.ones(len(others))
        if unknown_weights is not None:
            other_weights = _checked(unknown_weights, len(others), "unknown_weights")
    batches = _batches(config, row_weights, other_weights, members, steps, generator)
    index = torch.from_numpy(who)
    losses = train(adapter, loss, pool, index, batches, config, steps, progress)

    with torch.inference_mode():
        variances = eigenvalue_variance(loss.proxies().numpy())
    selected = np.arange(members)
    if initial is None:
        selected = select_members(config.selection, variances, config.keep)
    if len(selected) < members:
        rows = torch.from_numpy(selected)
        parts = adapter.state_dict(), loss.state_dict()
        adapter = config.make_adapter(known.dim, len(selected), generator)
        loss = config.make_loss(len(people), adapter.out, len(selected), generator)
        for module, state in zip((adapter, loss), parts, strict=True):
            module.load_state_dict(
                {key: value[rows] if value.ndim else value for key, value in state.items()}
            )
    diagnostics = replace(
        diagnostics,
        steps=steps,
        losses=losses,
        eigenvalue_variance=tuple(map(float, variances)),
        selected=tuple(map(int, selected)),
    )
    flat = np.ones(len(selected)), np.zeros(len(selected))
    head = TunedHead(people, config, adapter, loss, *flat, diagnostics)
    if config.fusion == "mean":
        return head
    lines = _lines(head, known, who, others)
    return TunedHead(people, config, adapter, loss, *lines, diagnostics)


def _people(
    labels: npt.NDArray[Any] | Sequence[Hashable], names: Sequence[Hashable] | None, n: int
) -> tuple[npt.NDArray[np.int64], list[Hashable]]:
    """The column of each row, and the people by column."""
    each = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if len(each) != n:
        raise InputError(f"labels are {len(each)} and embeddings {n}; give one label for each row")
    people = list(dict.fromkeys(each)) if names is None else list(names)
    if names is None:
        with contextlib.suppress(TypeError):
            people = sorted(people)  # type: ignore[type-var]
    column = {name: i for i, name in enumerate(people)}
    if len(column) < len(people):
        raise InputError("names has a name twice; give each person once")
    if len(people) < 2:
        raise NotEnoughDataError(
            f"tuning tells people apart, and there is {'one' if people else 'nobody'}; give clips of two or more"
        )
    for label in each:
        if label not in column:
            raise InputError(f"label {label!r} is not among the names; name everybody who has a clip")
    return np.array([column[label] for label in each], np.int64), people


def _checked(weights: Weights, n: int, what: str) -> npt.NDArray[np.float64]:
    values = np.asarray(weights, np.float64)
    if values.shape != (n,):
        raise InputError(f"{what} have shape {values.shape}; give one for each of the {n} rows")
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise InputError(f"{what} must be finite, not negative, and not all 0")
    return values


def _balanced(who: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Weights under which everybody is drawn alike."""
    return np.asarray(1.0 / np.bincount(who)[who], np.float64)


def _batches(
    config: TuneConfig,
    weights: Weights,
    other_weights: Weights | None,
    members: int,
    steps: int,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """Rows of each step; those of unknown samples come after all known ones."""
    import torch

    from openkith.tuning.samples import epoch_batches, weighted_batches

    def drawn(of: Weights, size: int) -> Iterator[torch.Tensor]:
        return weighted_batches(torch.from_numpy(of).float(), members, size, steps, generator)

    n = len(weights)
    if config.epochs is None:
        known = drawn(weights, config.batch)
    else:
        known = epoch_batches(n, members, config.batch, steps, generator)
    if other_weights is None:
        for rows in known:
            yield rows, None
        return
    for rows, others in zip(known, drawn(other_weights, config.unknown_batch), strict=True):
        yield rows, others + n


def _lines(
    head: TunedHead, known: Samples, who: npt.NDArray[np.int64], others: Samples | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Members' lines, from their scores of the clips they learned from."""
    rows = _spaced(len(known))
    scores = head.member_scores(_plain(known, rows))
    own = np.zeros(scores.shape[1:], np.bool_)
    own[np.arange(len(rows)), who[rows]] = True
    against = [scores[:, ~own]]
    if others is not None:
        strangers = head.member_scores(_plain(others, _spaced(len(others))))
        against.append(strangers.reshape(len(strangers), -1))
    return member_lines(head.config.fusion, scores[:, own], np.concatenate(against, axis=1))


def _spaced(n: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, n - 1, min(n, _LINE_ROWS)).round().astype(np.int64)


def _plain(samples: Samples, rows: npt.NDArray[np.int64]) -> Clips:
    """Rows as the user gave them."""
    if samples.lengths is None:
        values: npt.NDArray[Any] = samples.values[rows].numpy()
        return values
    return [samples.values[row, : int(samples.lengths[row])].numpy() for row in rows]
