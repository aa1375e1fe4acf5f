"""A tuned head: adapters and points that turn embeddings into a score per known person, and its folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from openkith.artefact import CONFIG_FILE, write_artefact
from openkith.config import from_dict, to_dict
from openkith.errors import InputError, KithError
from openkith.scoring.base import Arrays, FloatArray
from openkith.tuning.config import TuneConfig

if TYPE_CHECKING:
    import torch

    from openkith.losses.base import Loss
    from openkith.tuning.adapters import Adapter
    from openkith.tuning.samples import Clips

__all__ = ["Diagnostics", "TunedHead"]

FORMAT = 1
ARRAYS_FILE = "head.safetensors"
_ADAPTER, _LOSS = "adapter.", "loss."
_MOST_ROWS = 1024  # probes scored at once
_MOST_VALUES = 4_000_000  # of an intermediate result


@dataclass(frozen=True)
class Diagnostics:
    """What tuning found out about itself.

    Attributes:
        steps: Batches.
        losses: Pairs of step and loss, the mean over members, from some twenty points of the run.
        eigenvalue_variance: Of each member trained, see `openkith.tuning.fusion.eigenvalue_variance`.
        selected: The members kept, as indices into these.
        kept, added, dropped: People that an earlier head knew too, did not know, and knew in vain.
        notes: What a user should know, in words.
    """

    steps: int = 0
    losses: tuple[tuple[int, float], ...] = ()
    eigenvalue_variance: tuple[float, ...] = ()
    selected: tuple[int, ...] = ()
    kept: int = 0
    added: int = 0
    dropped: int = 0
    notes: tuple[str, ...] = ()


class TunedHead:
    """A tuned head. Each probe is scored alone.

    Args:
        names: The people, in the order of the scores' columns.
        config: How it was tuned.
        adapter: Its members side by side.
        loss: Their losses, which own the points and give the scores.
        slopes, intercepts: Each member's line, after which scores are averaged, shape (S,).
        diagnostics: What tuning found out.
    """

    def __init__(
        self,
        names: Sequence[Hashable],
        config: TuneConfig,
        adapter: Adapter,
        loss: Loss,
        slopes: npt.NDArray[Any],
        intercepts: npt.NDArray[Any],
        diagnostics: Diagnostics,
    ) -> None:
        self.names = tuple(names)
        self.config = config
        self.diagnostics = diagnostics
        self.adapter = adapter.eval().requires_grad_(False)
        self.loss = loss.eval().requires_grad_(False)
        self.slopes = np.asarray(slopes, np.float32)
        self.intercepts = np.asarray(intercepts, np.float32)
        self._precise: tuple[Adapter, Loss, int] | None = None

    @property
    def dim(self) -> int:
        """Length d of an embedding, or f of a frame."""
        return self.adapter.dim

    @property
    def members(self) -> int:
        """How many members the head holds."""
        return len(self.slopes)

    def score(self, embeddings: Clips) -> FloatArray:
        """Scores, larger is more likely: (p, d), or frames as for `openkith.tuning.tune`, to (p, C).

        The mean over members of each one's line of its loss's scores. Computed in double precision, in which rounding
        does not show how many probes were scored together.

        Raises:
            InputError: Another shape, or a value is not finite.
        """
        scores = self.member_scores(embeddings)
        lines = self.slopes.astype(np.float64), self.intercepts.astype(np.float64)
        return np.asarray(
            np.einsum("s,spk->pk", lines[0], scores) / self.members + lines[1].mean(), np.float32
        )

    def member_scores(self, embeddings: Clips) -> npt.NDArray[np.float64]:
        """The scores of each member's loss, (p, d) to (S, p, C).

        Raises:
            InputError: As `score`.
        """
        import torch

        from openkith.tuning.samples import Samples

        samples = Samples.of(embeddings, "probes", self.adapter.takes_frames, self.dim)
        if self._precise is None:
            adapter, loss = copy.deepcopy(self.adapter).double(), copy.deepcopy(self.loss).double()
            widest = max(parameter.shape[-1] for parameter in (*adapter.parameters(), *loss.parameters()))
            self._precise = adapter, loss, widest
        adapter, loss, widest = self._precise
        frames = samples.values.shape[1] if adapter.takes_frames else 1
        block = max(1, min(_MOST_ROWS, _MOST_VALUES // (self.members * widest * max(frames, 1))))
        scores = [np.zeros((self.members, 0, len(self.names)))]
        with torch.inference_mode():
            for first in range(0, len(samples), block):
                values, *lengths = samples.take(slice(first, first + block))
                scores.append(loss.scores(adapter(values.double(), *lengths)).numpy())
        return np.concatenate(scores, axis=1)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Configuration (JSON) and arrays, from which `restore` makes the same head.

        Raises:
            InputError: A name that JSON cannot hold.
        """
        for name in self.names:
            if not isinstance(name, str | int):
                raise InputError(f"the name {name!r} cannot be saved; use texts or whole numbers as labels")
        config = {
            "format": FORMAT,
            "dim": self.dim,
            "names": list(self.names),
            "config": to_dict(self.config),
            "diagnostics": to_dict(self.diagnostics),
        }
        arrays: Arrays = {"slopes": self.slopes, "intercepts": self.intercepts}
        for prefix, module in ((_ADAPTER, self.adapter), (_LOSS, self.loss)):
            arrays.update({f"{prefix}{key}": value.numpy() for key, value in module.state_dict().items()})
        return config, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """The head that `state` was taken of.

        Raises:
            InputError: Another version wrote it.
            KeyError, RuntimeError: Configuration and arrays do not belong together.
        """
        import torch

        if config["format"] != FORMAT:
            raise InputError(f"format {config['format']}, this version reads {FORMAT}")
        options = from_dict(TuneConfig, config["config"])
        names, generator = config["names"], torch.Generator()
        members = len(arrays["slopes"])
        adapter = options.make_adapter(config["dim"], members, generator)
        loss = options.make_loss(len(names), adapter.out, members, generator)
        for prefix, module in ((_ADAPTER, adapter), (_LOSS, loss)):
            module.load_state_dict(_tensors(arrays, prefix))
        return cls(
            names,
            options,
            adapter,
            loss,
            arrays["slopes"],
            arrays["intercepts"],
            from_dict(Diagnostics, config["diagnostics"]),
        )

    def save(self, folder: str | Path) -> None:
        """Write the head as a folder; an earlier head there is replaced, and nothing is left half-written.

        Raises:
            InputError: A name cannot be saved, something else is there, or the place cannot be written.
        """
        from safetensors.numpy import save_file

        config, arrays = self.state()
        arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        write_artefact(folder, config, ARRAYS_FILE, lambda path: save_file(arrays, path))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The head that `save` wrote: the same scores, bit by bit.

        Raises:
            InputError: There is no head, it is damaged, or another version wrote it.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        for name in (CONFIG_FILE, ARRAYS_FILE):
            if not (folder / name).is_file():
                raise InputError(f"{folder}: no {name} there; give the folder of a tuned head")
        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            return cls.restore(config, load_file(folder / ARRAYS_FILE))
        except (
            *(KithError, SafetensorError, OSError, RuntimeError),
            *(KeyError, TypeError, ValueError, AttributeError, IndexError),
        ) as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            raise InputError(
                f"{folder}: a damaged head, or of another version ({reason}); tune again"
            ) from error


def _tensors(arrays: Arrays, prefix: str) -> dict[str, torch.Tensor]:
    """The arrays of one module, as copies of its own."""
    import torch

    return {
        key.removeprefix(prefix): torch.from_numpy(np.array(value))
        for key, value in arrays.items()
        if key.startswith(prefix)
    }
