"""Trains scoring on a network without batch norms: `trial_training.py CORPUS FOLDER BATCH`. Also run by torchrun.

Without batch norms, which see the batch of their process only, two processes give what one with twice the batch does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from openkith.neural_scoring import NetworkConfig, ScoringNetwork
from openkith.neural_scoring.mixtures import TrialSamples
from openkith.neural_scoring.recordings import Recordings, stack
from openkith.neural_scoring.trainer import ScorerConfig, TrialLoss, trial_batches
from openkith.training import TrainConfig, seed_everything, train

BANDS = 80


class Small(ScoringNetwork):
    """As `WholeNetwork`, with one frozen linear layer for enrolments, and one that is learned for frames."""

    def __init__(self) -> None:
        super().__init__(
            NetworkConfig(enrolment_dim=16, frame_dim=24, width=16, feed_forward=32, dropout=0.0)
        )
        self.enrol = nn.Linear(2 * BANDS, 16).requires_grad_(False)
        self.hear = nn.Linear(BANDS, 24)

    @torch.no_grad()
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        shifted = (features[:, 1:] * features[:, :-1]).mean(dim=1)
        embedding: torch.Tensor = self.enrol(torch.cat([shifted, features.abs().mean(dim=1)], dim=-1))
        return embedding

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        heard: torch.Tensor = self.hear(features[:, ::4])
        return heard


def run(corpus: Path, folder: Path, batch_size: int, enrolments: int = 5) -> None:
    options = TrainConfig(epochs=2, batch_size=batch_size, learning_rate=3e-3, accelerator="cpu")
    config = ScorerConfig(enrolments=enrolments, turns=4, group=2, train=options)
    recordings = Recordings.of(corpus)
    neighbours = {name: list(recordings.speakers[::-1]) for name in recordings.speakers}
    seed_everything(0)
    train(
        Small(),
        TrialLoss(config.enrolments, config.match_weight),  # type: ignore[arg-type]
        TrialSamples(recordings, 4800, 4800, config.mixture, neighbours=neighbours),
        options,
        folder,
        collate=stack,
        batches=trial_batches(recordings, neighbours, config),
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
