"""Metrics of verification and of open-set identification: numpy arrays in, numbers out.

Two shapes of input:

- **Verification and detection**: ``targets (n,)`` and ``nontargets (m,)``, the scores of trials that should
  be accepted and of trials that should not. For known-against-unknown detection they are the largest
  scores of known and of unknown probes (:func:`detection_scores`).
- **Open-set identification**: ``scores (probes, speakers)`` and ``labels (probes,)``, the column of each
  probe's own speaker, or -1 for a speaker who is not enrolled.

A larger score means "more likely this speaker", and a score is accepted at threshold t if it is >= t. Every
rate and area is a fraction. Infinite scores are allowed (-inf = rejected outright), NaN is not. Equal scores
are always swept together, so that the order of the input never changes a result, not in the last bit.
"""

from __future__ import annotations

from openkith.metrics.bootstrap import bootstrap_interval
from openkith.metrics.detection import auin, auout, auroc, detection_accuracy, tnr_at_tpr
from openkith.metrics.identification import (
    OscrCurve,
    closed_set_accuracy,
    detection_scores,
    fnir_at_fpir,
    oscr,
    oscr_curve,
    trial_scores,
)
from openkith.metrics.summary import OpenSetMetrics, open_set_report
from openkith.metrics.verification import (
    DetPoints,
    RocPoints,
    actual_dcf,
    cllr,
    det_points,
    eer,
    min_cllr,
    min_dcf,
    roc_points,
)

__all__ = [
    "DetPoints",
    "OpenSetMetrics",
    "OscrCurve",
    "RocPoints",
    "actual_dcf",
    "auin",
    "auout",
    "auroc",
    "bootstrap_interval",
    "cllr",
    "closed_set_accuracy",
    "det_points",
    "detection_accuracy",
    "detection_scores",
    "eer",
    "fnir_at_fpir",
    "min_cllr",
    "min_dcf",
    "open_set_report",
    "oscr",
    "oscr_curve",
    "roc_points",
    "tnr_at_tpr",
    "trial_scores",
]
