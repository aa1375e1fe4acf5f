"""How the multi-talker scorer is learned from mixtures of a cohort's people: in closed form, then a little further.

The closed form: tokens are whitened by A = chol(R^-1), where R = (1 - r) S + r tr(S)/d I and S is the covariance of
windows around the embedding of their speaker, mean over clean and noisy clips, each without its own mean (WCCN; Hatch
et al., Interspeech 2006).

Then the matrices, centres, weights and temperatures are moved along the gradient of the trials' cross entropy. Half of
the people, drawn anew for each batch, are the cohort whose largest scores are taken off, the other half the impostors,
so that no clip is scored against a cohort that it was made of. Two passes over the mixtures; more learn the cohort by
heart, and are worse with other people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from openkith.encoders.base import torch_threads
from openkith.neural_scoring.cohort_mixtures import Mixtures
from openkith.neural_scoring.several_voices import LENGTHS, SPREADS, SeveralVoices
from openkith.neural_scoring.talker_model import LOOKS, NEAREST, CohortTrials, TalkerModel
from openkith.scoring.base import FloatArray, normalise
from openkith.scoring.norm import to_half

__all__ = ["closed_form", "refine"]

SHRINKAGE = 0.7  # r
WHITENED = ("clean", "noisy")  # the scenarios whose covariance counts, alike
WEIGHTS = (0.2, 0.8, 0.8)
TEMPERATURES = (10.0, 10.0)
EPOCHS = 2
BATCH = 48
LEARNING_RATES = {"maps": 1.5e-4, "centres": 5e-5, "weights": 5e-3, "line": 2e-2}
START_LINE = (10.0, -0.7)


def closed_form(parts: Sequence[Mixtures], fingerprint: str, source: str) -> TalkerModel:
    """The model that needs no training, of mixtures of different people.

    Its lines are left at "score as it is", every clip is taken for one of one voice, and there are no trials.
    """
    centroids = [part.centroids() for part in parts]
    whiteners, centres = [], []
    for look in range(len(LOOKS)):
        covariances = []
        for scenario in WHITENED:
            windows = []
            for part, own in zip(parts, centroids, strict=True):
                rows = part.scenarios == scenario
                speakers = own[part.voices[part.own[rows]]][:, None]  # (n, 1, d)
                heard = part.states[rows, look, :, -1].astype(np.float64)  # (n, w, d)
                windows.append((heard - speakers).reshape(-1, heard.shape[-1]))
            covariances.append(np.cov(np.concatenate(windows), rowvar=False, bias=True))
        whiteners.append(_whitener(np.mean(covariances, axis=0)))
        clean = [part.states[part.scenarios == "clean", look, :, -1].astype(np.float64) for part in parts]
        centres.append(np.concatenate(clean).mean(axis=(0, 1)))
    maps = to_half(np.stack(whiteners).astype(np.float32))
    return TalkerModel(
        centre=to_half(np.concatenate([part.enrolments for part in parts]).mean(axis=0)),
        token_centres=to_half(np.stack(centres).astype(np.float32)),
        maps=maps,
        token_maps=maps,
        centroids=to_half(normalise(np.concatenate(centroids))),
        weights=to_half(np.array(WEIGHTS, np.float32)),
        temperatures=to_half(np.array(TEMPERATURES, np.float32)),
        line=(1.0, 0.0),
        window_line=(1.0, 0.0),
        several=SeveralVoices(
            np.zeros((len(LOOKS), maps.shape[-1]), np.float32),
            np.zeros((len(LENGTHS), len(LOOKS), SPREADS), np.float32),
            np.full(len(LENGTHS), -1.0, np.float32),
        ),
        trials=CohortTrials(np.zeros(0, np.float32), np.zeros((0, 0), np.float32)),
        fingerprint=fingerprint,
        source=source,
    )


def _whitener(within: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = np.trace(within) / len(within) * np.eye(len(within))
    whitener = np.linalg.cholesky(np.linalg.inv((1.0 - SHRINKAGE) * within + SHRINKAGE * spread))
    return np.asarray(whitener / np.diag(whitener).mean())


class _Learned(torch.nn.Module):
    """The parameters of a model, and s as `TalkerModel` computes it, for a batch of clips."""

    def __init__(self, model: TalkerModel) -> None:
        super().__init__()
        self.maps, self.token_maps, self.centre, self.token_centres, self.weights, log_temperatures = (
            torch.nn.Parameter(torch.from_numpy(np.array(array)))
            for array in (
                model.maps,
                model.token_maps,
                model.centre,
                model.token_centres,
                model.weights,
                np.log(model.temperatures),
            )
        )
        self.log_temperatures = log_temperatures
        self.line = torch.nn.Parameter(torch.tensor(START_LINE))

    def groups(self, rate: float) -> list[dict[str, object]]:
        """Parameters by learning rate."""
        named = {
            "maps": [self.maps, self.token_maps],
            "centres": [self.centre, self.token_centres],
            "weights": [self.weights, self.log_temperatures],
            "line": [self.line],
        }
        return [{"params": own, "lr": rate * LEARNING_RATES[name]} for name, own in named.items()]

    def forward(
        self, enrolments: torch.Tensor, windows: torch.Tensor, prefixes: torch.Tensor
    ) -> torch.Tensor:
        """Enrolments (m, d), and windows (b, V, w, d) and prefixes (b, V, t, d) of clips, to s (b, m)."""
        people = functional.normalize((enrolments - self.centre) @ self.maps, dim=-1)  # (V, m, d)
        windows, prefixes = self._move(windows), self._move(prefixes)
        means = functional.normalize(windows.mean(dim=2), dim=-1)
        pooled = [torch.einsum("bvd,vmd->bm", means, people) / len(people)]
        for tokens, temperature in zip((windows, prefixes), self.log_temperatures.exp(), strict=True):
            cosines = torch.einsum("bvtd,vmd->bmvt", tokens, people).flatten(2)
            pooled.append(((temperature * cosines).softmax(dim=-1) * cosines).sum(dim=-1))
        return torch.stack(pooled, dim=-1) @ self.weights

    def _move(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (b, V, t, d) to where they are compared."""
        return functional.normalize((tokens - self.token_centres[:, None]) @ self.token_maps, dim=-1)

    def model(self, like: TalkerModel) -> TalkerModel:
        """What was learned, in half precision."""

        def array(tensor: torch.Tensor) -> FloatArray:
            return to_half(tensor.detach().numpy())

        return replace(
            like,
            centre=array(self.centre),
            token_centres=array(self.token_centres),
            maps=array(self.maps),
            token_maps=array(self.token_maps),
            weights=array(self.weights),
            temperatures=array(self.log_temperatures.exp()),
        )


def refine(
    model: TalkerModel, parts: Sequence[Mixtures], *, epochs: int = EPOCHS, rate: float = 1.0, seed: int = 0
) -> tuple[TalkerModel, list[float]]:
    """Move a model along the gradient.

    Args:
        model: Where to begin.
        parts: Mixtures, each of other people.
        epochs: Passes over all of them.
        rate: Times `LEARNING_RATES`, from which it falls to zero along a line.
        seed: Of the order, and of who is the cohort.

    Returns:
        The model, with the lines of the one it began with; and the mean loss of each pass.
    """
    enrolments = torch.from_numpy(np.concatenate([part.enrolments for part in parts]))
    firsts = np.cumsum([0, *(len(part.enrolments) for part in parts)])[:-1]
    persons = np.concatenate([part.persons + 10_000 * i for i, part in enumerate(parts)])
    labels = []
    for part, first in zip(parts, firsts, strict=True):
        label = np.zeros((len(part), len(enrolments)), np.int8)
        label[:, first : first + len(part.enrolments)] = part.labels()
        labels.append(label)
    rows = np.array([(i, row) for i, part in enumerate(parts) for row in range(len(part))])
    rng = np.random.default_rng(seed)
    learned = _Learned(model)
    optimiser = torch.optim.Adam(learned.groups(rate))
    steps = epochs * max(len(rows) // BATCH, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(1.0 - step / steps, 0.0))
    losses = []
    with torch_threads(1):
        for _ in range(epochs):
            order = rng.permutation(len(rows))
            batches = [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]
            total = 0.0
            for batch in batches or [order]:
                chosen = rows[batch]
                states = np.stack([parts[i].states[row] for i, row in chosen]).astype(np.float32)
                n_prefixes = states.shape[3]
                some = rng.permutation(n_prefixes)[: max(n_prefixes // 2, 1)]
                prefixes = states[:, :, :, some].reshape(len(states), len(LOOKS), -1, states.shape[-1])
                trials = torch.from_numpy(np.stack([labels[i][row] for i, row in chosen]))
                cohort = rng.permutation(np.unique(persons))[::2]
                loss = _loss(
                    learned(
                        enrolments,
                        torch.from_numpy(np.ascontiguousarray(states[:, :, :, -1])),
                        torch.from_numpy(prefixes),
                    ),
                    trials,
                    torch.from_numpy(np.isin(persons, cohort)),
                    learned.line,
                )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                total += loss.item()
            losses.append(total / max(len(batches), 1))
    return learned.model(model), losses


def _loss(s: torch.Tensor, label: torch.Tensor, cohort: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
    """Cross entropy of s (b, m), targets and nontargets alike in weight; those in the cohort (m,) are no impostors."""
    impostor = label == 0
    compared = impostor & cohort
    k = max(min(NEAREST, int(compared.sum(dim=1).min())), 1)
    nearest = s.masked_fill(~compared, -torch.inf).topk(k).values
    z = (s - nearest.mean(dim=1, keepdim=True)) * line[0] + line[1]
    return functional.softplus(-z[label == 1]).mean() + functional.softplus(z[impostor & ~cohort]).mean()
