"""How a head is tuned: one frozen dataclass, to and from YAML with `openkith.config`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from openkith.errors import ConfigError
from openkith.losses.registry import LOSSES, make_loss
from openkith.tuning.fusion import FUSIONS, SELECTIONS
from openkith.tuning.registry import ADAPTERS, make_adapter

if TYPE_CHECKING:
    import torch

    from openkith.losses.base import Loss
    from openkith.tuning.adapters import Adapter

__all__ = ["TuneConfig"]

_MIN_STEPS = 120
_STEPS_PER_PERSON = 3
_FAST_TAU = 0.5  # of LogitNorm in v2, with as few steps as the above
_OWN_FIELDS = ("variant", "weight", "temperature")  # options of a loss that are fields of the configuration
_SHARED_FIELDS = ("unknown_weight", "unknown_term")


@dataclass(frozen=True)
class TuneConfig:
    """How a head is tuned.

    The defaults are openkith's own recipe; `released` and `v2` are those of the papers.

    Attributes:
        loss: A key of `openkith.losses.LOSSES`.
        variant: Of SpeakerRPL, "openkith" or "released"; None: the loss's default.
        unknown_weight: beta of the unknown-sample term; 0 is SpeakerRPL v1, above 0 is SpeakerRPL+.
        unknown_term: "entropy", "background" or "energy-margin", see `openkith.losses.unknown`.
        weight: w of the radius and the pull term; None: the loss's default.
        temperature: T of the softmax over reciprocal points; None: the loss's default.
        loss_options: Further options of the loss by name, such as tau, alpha and anchor_pull of
            speaker-rpl-v2, or margin and scale of aam-softmax.
        adapter: A key of `openkith.tuning.registry.ADAPTERS`.
        norm: After each hidden layer of the adapter, "instance" or "batch".
        hidden: Widths of the adapter's hidden layers; None: the adapter's default.
        out: Length m of an adapted embedding; None: the adapter's default. 0: no last layer (mlp).
        members: Adapters with different seeds, trained side by side.
        selection: Which members are kept, a key of `openkith.tuning.fusion.SELECTIONS`.
        keep: How many members the selection keeps: a count from 1, or a share below 1.
        fusion: How members' scores become one, a key of `openkith.tuning.fusion.FUSIONS`.
        steps: Batches, drawn with replacement; None: 120, or 3 a person where that is more.
        epochs: In place of steps: passes over the clips, each clip once a pass.
        continued: Share of the steps that tuning from an earlier head takes, where fewer people than that are
            new; else the share of new people.
        batch: Known samples in a batch.
        unknown_batch: Unknown samples in a batch.
        learning_rate: Of SGD.
        momentum: Of SGD.
        weight_decay: Of SGD.
        drops: Shares of the run after which the learning rate is a tenth of what it was.
        original_share: Share of the batch that is clips as recorded; the rest is degraded copies. Of the back
            ends; `tune` itself is given weights.
        seed: Of the initial weights and the batches.
    """

    loss: str = "speaker-rpl"
    variant: str | None = None
    unknown_weight: float = 1.0
    unknown_term: str = "entropy"
    weight: float | None = None
    temperature: float | None = None
    loss_options: dict[str, int | float | bool] = field(default_factory=dict)
    adapter: str = "mlp"
    norm: str = "instance"
    hidden: tuple[int, ...] | None = None
    out: int | None = None
    members: int = 5
    selection: str = "all"
    keep: int | float = 1 / 3
    fusion: str = "mean"
    steps: int | None = None
    epochs: int | None = None
    continued: float = 0.15
    batch: int = 24
    unknown_batch: int = 24
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    drops: tuple[float, ...] = (0.5, 0.8)
    original_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, there_are in (
            ("loss", LOSSES),
            ("adapter", ADAPTERS),
            ("selection", SELECTIONS),
            ("fusion", FUSIONS),
        ):
            if getattr(self, name) not in there_are:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; there are: {', '.join(there_are)}")
        for name in ("members", "batch", "unknown_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("temperature", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; give a number above 0")
        for name in ("unknown_weight", "weight", "weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; give 0 or more")
        for name in ("original_share", "continued"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a share from 0 to 1")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum is {self.momentum}; give a number from 0 to below 1")
        for name in ("steps", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; give 1 or more, or leave it out")
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(f"steps is {self.steps} and epochs {self.epochs}; give one of the two")
        if self.out is not None and self.out < 0:
            raise ConfigError(f"out is {self.out}; give 1 or more, 0 for no last layer, or leave it out")
        if self.hidden is not None and any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden is {list(self.hidden)}; give widths of 1 or more")
        if not (self.keep >= 1 if isinstance(self.keep, int) else 0 < self.keep <= 1):
            raise ConfigError(f"keep is {self.keep}; give a count from 1, or a share above 0 up to 1.0")
        if any(not 0 < share < 1 for share in self.drops):
            raise ConfigError(f"drops is {list(self.drops)}; give shares of the run between 0 and 1")
        for option in self.loss_options:
            if option in (*_OWN_FIELDS, *_SHARED_FIELDS):
                raise ConfigError(f"loss_options has {option!r}, which is a key of its own; give it there")

    @classmethod
    def released(cls, **changes: Any) -> Self:
        """The recipe of the SpeakerRPL papers' code: one adapter, 100 epochs, batches of 16 + 48, beta 0.01.

        Args:
            changes: Fields that are to be different.
        """
        recipe: dict[str, Any] = {
            "variant": "released",
            "unknown_weight": 0.01,
            "weight": 5.0,
            "temperature": 1.0,
            "members": 1,
            "epochs": 100,
            "batch": 16,
            "unknown_batch": 48,
        }
        return cls(**_changed(recipe, changes))

    @classmethod
    def v2(cls, **changes: Any) -> Self:
        """SpeakerRPL v2 (arXiv 2604.13605): 30 members, of which the third with the evenest points is fused.

        But for tau, which is 0.5: with the paper's 0.04 (``loss_options={"tau": 0.04}``) the same error rates take
        five times the steps.

        Args:
            changes: Fields that are to be different.
        """
        recipe: dict[str, Any] = {
            "loss": "speaker-rpl-v2",
            "loss_options": {"tau": _FAST_TAU},
            "members": 30,
            "selection": "lowest-variance",
            "fusion": "calibrated",
        }
        return cls(**_changed(recipe, changes))

    def make_adapter(self, dim: int, members: int, generator: torch.Generator) -> Adapter:
        """Adapters side by side, for embeddings or frames of length ``dim``.

        Raises:
            ConfigError: They cannot be made with these options.
        """
        return make_adapter(
            self.adapter,
            dim,
            self.out,
            members=members,
            hidden=self.hidden,
            norm=self.norm,
            generator=generator,
        )

    def make_loss(self, n_people: int, out: int, members: int, generator: torch.Generator) -> Loss:
        """Losses side by side, for ``n_people`` and adapted embeddings of length ``out``.

        Raises:
            ConfigError: The loss does not have an option, or it is out of its range.
        """
        own = {name: getattr(self, name) for name in _OWN_FIELDS if getattr(self, name) is not None}
        shared = {name: getattr(self, name) for name in _SHARED_FIELDS}
        options = {**shared, **own, **self.loss_options}
        return make_loss(self.loss, n_people, out, members=members, generator=generator, **options)

    def planned_steps(self, n_clips: int, n_people: int, share: float = 1.0) -> int:
        """How many batches a run takes.

        Args:
            n_clips: Rows of known people.
            n_people: C.
            share: Of the run, below 1 where an earlier head is continued.
        """
        if self.epochs is not None:
            return max(1, round(self.epochs * share)) * -(-n_clips // self.batch)
        steps = self.steps or max(_MIN_STEPS, _STEPS_PER_PERSON * n_people)
        return max(1, round(steps * share))


def _changed(recipe: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The recipe with changes; steps in place of its epochs, where these are asked for."""
    if changes.get("steps") is not None:
        recipe.pop("epochs", None)
    return {**recipe, **changes}
