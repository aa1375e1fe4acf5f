"""Neural scoring: is this person talking in here, with no embedding of the test side (Lin et al., arXiv 2410.16428).

Importing this package does not load torch; the first name that needs it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openkith.neural_scoring.mining import (
    Draw,
    HardSpeakerSampler,
    hard_speakers,
    load_hard_speakers,
    mean_embeddings,
    save_hard_speakers,
)
from openkith.neural_scoring.trials import BatchTrials, batch_trials, extra_talkers

if TYPE_CHECKING:
    from openkith.neural_scoring.checkpoints import read_model, start_from_enrolment_model
    from openkith.neural_scoring.losses import LtE2ELoss
    from openkith.neural_scoring.multi_talker import Heard, MultiTalker, shipped_multi_talker
    from openkith.neural_scoring.network import NetworkConfig, ScoringNetwork, WholeNetwork
    from openkith.neural_scoring.scorer import NeuralScorer, load_scorer

_HOMES = {
    "Heard": "openkith.neural_scoring.multi_talker",
    "MultiTalker": "openkith.neural_scoring.multi_talker",
    "shipped_multi_talker": "openkith.neural_scoring.multi_talker",
    "LtE2ELoss": "openkith.neural_scoring.losses",
    "NetworkConfig": "openkith.neural_scoring.network",
    "NeuralScorer": "openkith.neural_scoring.scorer",
    "ScoringNetwork": "openkith.neural_scoring.network",
    "WholeNetwork": "openkith.neural_scoring.network",
    "load_scorer": "openkith.neural_scoring.scorer",
    "read_model": "openkith.neural_scoring.checkpoints",
    "start_from_enrolment_model": "openkith.neural_scoring.checkpoints",
}

__all__ = [
    "BatchTrials",
    "Draw",
    "HardSpeakerSampler",
    "Heard",
    "LtE2ELoss",
    "MultiTalker",
    "NetworkConfig",
    "NeuralScorer",
    "ScoringNetwork",
    "WholeNetwork",
    "batch_trials",
    "extra_talkers",
    "hard_speakers",
    "load_hard_speakers",
    "load_scorer",
    "mean_embeddings",
    "read_model",
    "save_hard_speakers",
    "shipped_multi_talker",
    "start_from_enrolment_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openkith.neural_scoring' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
