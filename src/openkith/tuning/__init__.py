"""Few-shot tuning of a small head on frozen embeddings. Importing this package does not load torch."""

from openkith.tuning.checkpoints import load_released
from openkith.tuning.config import TuneConfig
from openkith.tuning.fusion import eigenvalue_variance
from openkith.tuning.head import Diagnostics, TunedHead
from openkith.tuning.scorers import SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2
from openkith.tuning.tuner import tune

__all__ = [
    "Diagnostics",
    "SpeakerRPL",
    "SpeakerRPLPlus",
    "SpeakerRPLV2",
    "TuneConfig",
    "TunedHead",
    "eigenvalue_variance",
    "load_released",
    "tune",
]
