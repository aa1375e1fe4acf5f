"""The loss of large-scale trials (LtE2E) of neural scoring (Lin et al., arXiv 2410.16428)."""

from __future__ import annotations

import torch
from torch import nn

from openkith.errors import ConfigError, InputError

__all__ = ["LtE2ELoss"]


class LtE2ELoss(nn.Module):
    """Weighted binary cross entropy, for batches in which matches are few.

    The mean of -a y ln p - (1 - a)(1 - y) ln(1 - p), where y is 1 for a match and p the probability given to it. The
    weights add up to 1, other than with torch's ``pos_weight``. p is kept within [1e-7, 1 - 1e-7], so a trial that is
    further out adds no gradient. Weighted like this, p is no posterior probability but a score to be calibrated.

    Args:
        match_weight: a, of trials in which the enrolled person talks.
        floor: The least p, and the least 1 - p.

    Raises:
        ConfigError: An argument is out of its range.

    Example:
        >>> loss = LtE2ELoss()
        >>> float(loss(torch.zeros(1, 2), torch.tensor([[True, False]])))  # (0.95 ln 2 + 0.05 ln 2) / 2
        0.34657...
    """

    def __init__(self, match_weight: float = 0.95, floor: float = 1e-7) -> None:
        super().__init__()
        if not 0 < match_weight < 1:
            raise ConfigError(f"match_weight is {match_weight}; give a number between 0 and 1")
        if not 0 < floor < 0.5:
            raise ConfigError(f"floor is {floor}; give a number between 0 and 0.5")
        self.match_weight = match_weight
        self.floor = floor

    def forward(self, logits: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
        """The mean over all trials.

        Args:
            logits: Log odds, of any shape; computed in float32 whatever their precision.
            matches: y of each trial, of the same shape: bool, or numbers from 0 to 1.

        Returns:
            A scalar.

        Raises:
            InputError: The shapes differ, or there are no trials.
        """
        if logits.shape != matches.shape or not logits.numel():
            raise InputError(
                f"matches have shape {tuple(matches.shape)} and logits {tuple(logits.shape)}; give one per trial"
            )
        logits = logits if logits.dtype == torch.float64 else logits.float()
        y = matches.to(logits.dtype)
        match = self._log(torch.sigmoid(logits))
        other = self._log(torch.sigmoid(-logits))
        return -(self.match_weight * y * match + (1 - self.match_weight) * (1 - y) * other).mean()

    def _log(self, p: torch.Tensor) -> torch.Tensor:
        return p.clamp(self.floor, 1 - self.floor).log()
