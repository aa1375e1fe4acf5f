"""Back ends: scores from embeddings, and probabilities from scores."""

from openkith.scoring.base import EmbeddingSet, Scorer
from openkith.scoring.calibration import Calibration, HeldOutScores
from openkith.scoring.cohort import find_cohort, load_cohort, save_cohort, shipped_cohort
from openkith.scoring.cosine import Cosine
from openkith.scoring.holdout import hold_out
from openkith.scoring.norm import AsNorm, SNorm
from openkith.scoring.plda import PLDA
from openkith.scoring.quality import QualityCalibration
from openkith.scoring.two_covariance import TwoCovariance
from openkith.scoring.views import ViewFusion
from openkith.scoring.whitening import SpeakerSpace, WhitenedCosine

__all__ = [
    "PLDA",
    "AsNorm",
    "Calibration",
    "Cosine",
    "EmbeddingSet",
    "HeldOutScores",
    "QualityCalibration",
    "SNorm",
    "Scorer",
    "SpeakerSpace",
    "TwoCovariance",
    "ViewFusion",
    "WhitenedCosine",
    "find_cohort",
    "hold_out",
    "load_cohort",
    "save_cohort",
    "shipped_cohort",
]
