"""Back ends: scores from embeddings, and probabilities from scores."""

from openkith.scoring.base import EmbeddingSet, Scorer
from openkith.scoring.calibration import Calibration, HeldOutScores
from openkith.scoring.cohort import load_cohort, save_cohort, shipped_cohort
from openkith.scoring.cosine import Cosine
from openkith.scoring.fusion import Fusion
from openkith.scoring.holdout import hold_out
from openkith.scoring.norm import AsNorm
from openkith.scoring.whitening import SpeakerSpace, WhitenedCosine

__all__ = [
    "AsNorm",
    "Calibration",
    "Cosine",
    "EmbeddingSet",
    "Fusion",
    "HeldOutScores",
    "Scorer",
    "SpeakerSpace",
    "WhitenedCosine",
    "hold_out",
    "load_cohort",
    "save_cohort",
    "shipped_cohort",
]
