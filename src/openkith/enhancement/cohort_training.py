"""How the enhancer that ships is learned from crops of a cohort's people.

1. Crops lose the mean of the clean ones and are multiplied by R^(-1/2), R = (1 - r) S + r tr(S)/d I, where S is the
   covariance of crops around the embedding of all of their voice's speech, the mean of that of clean and that of
   degraded crops, each without its own mean (within-class covariance normalisation: Hatch et al., Interspeech 2006).
2. A residual network, at first the identity, learns by the supervised contrastive loss with an anchor
   (`openkith.losses.contrastive`). A batch has crops of one voice of each person: two speeds of one person never meet,
   who are neither the same voice nor strangers.
3. The mean of several such networks is one network: the linear maps averaged, the branches side by side.

The anchor is strong, at four times the weight of the contrast. With a weak one, degraded crops gain no more, and clean
ones lose what they had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openkith.audio import Audio
from openkith.encoders.base import Encoder, FloatArray, torch_threads
from openkith.enhancement.cohort_crops import Crops, Progress, make_crops
from openkith.enhancement.enhancer import Enhancer, NetSpec
from openkith.losses.contrastive import ContrastiveLoss
from openkith.losses.enhancement import EnhancementBatch
from openkith.scoring.base import normalise
from openkith.scoring.norm import to_half

__all__ = ["Recipe", "fit_enhancer", "learn", "whitener"]


@dataclass(frozen=True)
class Recipe:
    """Settings, chosen on people of the cohort who were left out (three parts of it, in turn).

    Attributes:
        shrinkage: r.
        hidden: Width of a network's branch.
        dropout: In the branch.
        temperature, anchor: Of the contrastive loss.
        steps: Of each network.
        per_person: Crops of each person in a batch.
        rate: Learning rate at first; it falls to zero along a cosine.
        decay: Weight decay (AdamW: Loshchilov and Hutter, ICLR 2019).
        networks: How many are averaged, of other seeds.
    """

    shrinkage: float = 0.8
    hidden: int = 512
    dropout: float = 0.2
    temperature: float = 0.06
    anchor: float = 4.0
    steps: int = 500
    per_person: int = 4
    rate: float = 1e-3
    decay: float = 1e-4
    networks: int = 3


def fit_enhancer(
    encoder: Encoder,
    people: Sequence[Sequence[Audio]],
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    source: str = "",
    progress: Progress | None = None,
) -> Enhancer:
    """Learn an enhancer from a cohort: people who are nobody's family.

    Args:
        encoder: Whose embeddings are enhanced.
        people: Clips of each person, alone and without noise.
        recipe: Default: what the enhancer that ships was made with.
        seed: Of everything random.
        source: Where the voices are from, and under which licence.
        progress: Called with what is being done, steps done and steps in all.

    Raises:
        NotEnoughDataError: Fewer than 12 people say enough.
    """
    crops = make_crops(encoder, people, seed=seed, progress=progress)
    return learn(
        crops, recipe, encoder=encoder.fingerprint, seed=seed, info={"source": source}, progress=progress
    )


def learn(
    crops: Crops,
    recipe: Recipe | None = None,
    *,
    encoder: str = "",
    seed: int = 0,
    info: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Enhancer:
    """Learn an enhancer from crops; arguments as of `fit_enhancer`. All of its values are in half precision."""
    recipe = recipe or Recipe()
    mean = to_half(crops.embeddings[~crops.degraded].mean(axis=0))
    matrix = to_half(whitener(crops, recipe.shrinkage))
    inputs = torch.from_numpy(normalise((crops.embeddings - mean) @ matrix))
    networks = []
    with torch_threads(1), torch.random.fork_rng(devices=[]):
        for number in range(recipe.networks):
            if progress:
                progress("networks", number, recipe.networks)
            networks.append(_train(inputs, crops, recipe, seed + number))
    weights = _average(networks, inputs)
    spec = NetSpec("residual", inputs.shape[1], "relu", {"hidden": recipe.hidden * recipe.networks})
    return Enhancer(
        {name: to_half(array) for name, array in weights.items()},
        spec,
        input_mean=mean,
        input_map=matrix,
        encoder=encoder,
        info={
            **(info or {}),
            "people": len(np.unique(crops.persons)),
            "voices": len(crops.persons),
            "crops": len(crops),
            "seed": seed,
            "recipe": asdict(recipe),
        },
    )


def whitener(crops: Crops, shrinkage: float) -> FloatArray:
    """R^(-1/2), (d, d), symmetric, scaled to a mean diagonal of 1."""
    around = (crops.embeddings - crops.wholes[crops.voices]).astype(np.float64)
    within = np.mean(
        [np.cov(around[crops.degraded == kind], rowvar=False, bias=True) for kind in (False, True)], axis=0
    )
    spread = np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh((1.0 - shrinkage) * within + shrinkage * spread)
    matrix = (vectors / np.sqrt(values)) @ vectors.T
    return np.asarray(matrix / np.diag(matrix).mean(), np.float32)


def _train(inputs: torch.Tensor, crops: Crops, recipe: Recipe, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    dim = inputs.shape[1]
    net = NetSpec("residual", dim, "relu", {"hidden": recipe.hidden, "dropout": recipe.dropout}).build()
    loss = ContrastiveLoss(temperature=recipe.temperature, anchor=recipe.anchor)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    rows = [np.flatnonzero(crops.voices == voice) for voice in range(len(crops.persons))]
    voices = [np.flatnonzero(crops.persons == person) for person in np.unique(crops.persons)]
    net.train()
    for _ in range(recipe.steps):
        chosen = [rows[rng.choice(own)] for own in voices]
        batch = np.concatenate([rng.choice(own, recipe.per_person, replace=False) for own in chosen])
        x = inputs[torch.from_numpy(batch)]
        labels = torch.from_numpy(crops.voices[batch])
        value = loss(EnhancementBatch(outputs=net(x), inputs=x, labels=labels))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def _average(networks: Sequence[torch.nn.Module], inputs: torch.Tensor) -> dict[str, NDArray[Any]]:
    """The network that gives the mean of these, each scaled to a mean length of 1."""
    states = []
    with torch.inference_mode():
        for net in networks:
            share = 1.0 / (len(networks) * float(net(inputs).norm(dim=1).mean()))
            state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
            states.append({name: a if name.startswith("hidden") else share * a for name, a in state.items()})
    return {
        "linear.weight": np.sum([state["linear.weight"] for state in states], axis=0),
        "linear.bias": np.sum([state["linear.bias"] for state in states], axis=0),
        "hidden.weight": np.concatenate([state["hidden.weight"] for state in states]),
        "hidden.bias": np.concatenate([state["hidden.bias"] for state in states]),
        "last.weight": np.concatenate([state["last.weight"] for state in states], axis=1),
        "last.bias": np.sum([state["last.bias"] for state in states], axis=0),
    }
