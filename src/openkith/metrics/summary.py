"""All metrics of an open-set identification experiment at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from openkith.errors import InputError
from openkith.metrics.detection import TPR
from openkith.metrics.identification import Identification
from openkith.metrics.sweep import Costs, Sweep, as_floats
from openkith.metrics.verification import C_FA, C_MISS, P_TARGET


@dataclass(frozen=True, kw_only=True)
class OpenSetMetrics:
    """The metrics of one experiment: fractions, but for the two Cllr, in bits. NaN where not defined.

    Attributes:
        eer: Equal error rate over all speaker-by-probe trials.
        detection_eer: Equal error rate of each probe's largest score, known against unknown.
        min_dcf: Smallest normalised detection cost over all trials.
        act_dcf: Normalised detection cost at the Bayes threshold over all trials.
        cllr: Cost of the log-likelihood ratio over all trials.
        min_cllr: The same after the best monotone calibration.
        oscr: Area under correct classification against false positives.
        auroc: Area under the ROC of the largest score, known against unknown.
        tnr95: Share of unknown probes refused when 95 % of the known ones are accepted.
        detection_accuracy: Best mean of the shares of known accepted and unknown refused.
        auin: Average precision with the known probes as positives.
        auout: Average precision with the unknown probes as positives.
        accuracy: Closed-set accuracy of the known probes.
        fnir_at_fpir_1: Share of known probes without their name when at most 1 % of unknown get one.
        fnir_at_fpir_10: The same at 10 %.
        n_speakers: Enrolled speakers.
        n_known: Probes of enrolled speakers.
        n_unknown: Probes of others.
    """

    eer: float = math.nan
    detection_eer: float = math.nan
    min_dcf: float = math.nan
    act_dcf: float = math.nan
    cllr: float = math.nan
    min_cllr: float = math.nan
    oscr: float = math.nan
    auroc: float = math.nan
    tnr95: float = math.nan
    detection_accuracy: float = math.nan
    auin: float = math.nan
    auout: float = math.nan
    accuracy: float = math.nan
    fnir_at_fpir_1: float = math.nan
    fnir_at_fpir_10: float = math.nan
    n_speakers: int
    n_known: int
    n_unknown: int


def open_set_report(
    scores: ArrayLike,
    labels: ArrayLike,
    llrs: ArrayLike | None = None,
    *,
    p_target: float = P_TARGET,
    c_miss: float = C_MISS,
    c_fa: float = C_FA,
) -> OpenSetMetrics:
    """Compute every metric of open-set identification, sorting each set of scores once.

    Without unknown probes the metrics of detection and OSCR are NaN; without known ones all but the counts.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1 for an unknown one.
        llrs: (probes, speakers) natural-log likelihood ratios of the same trials, of which `act_dcf` and
            `cllr` are computed; without them the scores are taken to be such ratios.
        p_target: Prior probability of a target trial in the detection costs.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.

    Raises:
        InputError: Shapes do not fit, a label has no column, NaN, or a prior or cost out of range.
    """
    costs = Costs(p_target, c_miss, c_fa)
    probes = Identification.of(scores, labels)
    ratios = probes.scores if llrs is None else as_floats(llrs, "llrs", ndim=2)
    if ratios.shape != probes.scores.shape:
        raise InputError(f"llrs: shape {ratios.shape}; scores have {probes.scores.shape}, give the same")
    values: dict[str, float] = {}

    targets, nontargets = probes.trials(probes.scores)
    if targets.size and nontargets.size:
        trials = Sweep.of(targets, nontargets)
        calibrated = trials if llrs is None else Sweep.of(*probes.trials(ratios))
        values |= {
            "eer": trials.eer(),
            "min_dcf": trials.min_dcf(costs),
            "act_dcf": calibrated.actual_dcf(costs),
            "cllr": calibrated.cllr(),
            "min_cllr": trials.min_cllr(),
        }
    if probes.n_known:
        values["accuracy"] = probes.accuracy()
    if probes.n_known and probes.n_unknown:
        naming = probes.naming()
        detection = Sweep.of(probes.top[probes.known], probes.top[~probes.known])
        values |= {
            "detection_eer": detection.eer(),
            "oscr": probes.oscr(naming),
            "auroc": detection.auroc(),
            "tnr95": detection.tnr_at_tpr(TPR),
            "detection_accuracy": detection.detection_accuracy(),
            "auin": detection.auin(),
            "auout": detection.auout(),
            "fnir_at_fpir_1": probes.fnir_at_fpir(naming, 0.01),
            "fnir_at_fpir_10": probes.fnir_at_fpir(naming, 0.10),
        }
    return OpenSetMetrics(
        **values, n_speakers=probes.scores.shape[1], n_known=probes.n_known, n_unknown=probes.n_unknown
    )
