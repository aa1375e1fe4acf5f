from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from openkith import metrics
from openkith.errors import InputError
from openkith.metrics import OpenSetMetrics, open_set_report

RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, 4, 400)
SCORES = RNG.normal(size=(400, 4)).round(2)
SCORES[LABELS >= 0, LABELS[LABELS >= 0]] += 2.0


def test_each_field_is_the_metric_of_its_name():
    report = open_set_report(SCORES, LABELS, p_target=0.05, c_miss=2.0, c_fa=3.0)
    trials = metrics.trial_scores(SCORES, LABELS)
    detection = metrics.detection_scores(SCORES, LABELS)
    assert dataclasses.asdict(report) == {
        "eer": metrics.eer(*trials),
        "detection_eer": metrics.eer(*detection),
        "min_dcf": metrics.min_dcf(*trials, 0.05, 2.0, 3.0),
        "act_dcf": metrics.actual_dcf(*trials, 0.05, 2.0, 3.0),
        "cllr": metrics.cllr(*trials),
        "min_cllr": metrics.min_cllr(*trials),
        "oscr": metrics.oscr(SCORES, LABELS),
        "auroc": metrics.auroc(*detection),
        "tnr95": metrics.tnr_at_tpr(*detection, 0.95),
        "detection_accuracy": metrics.detection_accuracy(*detection),
        "auin": metrics.auin(*detection),
        "auout": metrics.auout(*detection),
        "accuracy": metrics.closed_set_accuracy(SCORES, LABELS),
        "fnir_at_fpir_1": metrics.fnir_at_fpir(SCORES, LABELS, 0.01),
        "fnir_at_fpir_10": metrics.fnir_at_fpir(SCORES, LABELS, 0.10),
        "n_speakers": 4,
        "n_known": int(np.sum(LABELS >= 0)),
        "n_unknown": int(np.sum(LABELS < 0)),
    }


def test_defaults_are_those_of_the_metrics():
    trials = metrics.trial_scores(SCORES, LABELS)
    report = open_set_report(SCORES, LABELS)
    assert report.min_dcf == metrics.min_dcf(*trials)
    assert report.act_dcf == metrics.actual_dcf(*trials)


def test_likelihood_ratios_apart_from_scores():
    llrs = 3.0 * SCORES - 4.0
    report, plain = open_set_report(SCORES, LABELS, llrs), open_set_report(SCORES, LABELS)
    trials = metrics.trial_scores(llrs, LABELS)
    assert report.cllr == metrics.cllr(*trials) != plain.cllr
    assert report.act_dcf == metrics.actual_dcf(*trials) != plain.act_dcf
    changed = {"cllr": plain.cllr, "act_dcf": plain.act_dcf}
    assert dataclasses.replace(report, **changed) == plain


def undefined(report: OpenSetMetrics) -> set[str]:
    return {name for name, value in dataclasses.asdict(report).items() if math.isnan(value)}


DETECTION = {"detection_eer", "auroc", "tnr95", "detection_accuracy", "auin", "auout"}
IDENTIFICATION = {"oscr", "fnir_at_fpir_1", "fnir_at_fpir_10"}
TRIALS = {"eer", "min_dcf", "act_dcf", "cllr", "min_cllr"}


def test_without_unknown_probes():
    report = open_set_report([[2.0, 1.0], [0.0, 3.0]], [0, 1])
    assert undefined(report) == DETECTION | IDENTIFICATION
    assert (report.eer, report.accuracy, report.n_known, report.n_unknown) == (0.0, 1.0, 2, 0)


def test_without_known_probes():
    report = open_set_report([[2.0, 1.0], [0.0, 3.0]], [-1, -1])
    assert undefined(report) == DETECTION | IDENTIFICATION | TRIALS | {"accuracy"}
    assert (report.n_speakers, report.n_known, report.n_unknown) == (2, 0, 2)


def test_one_speaker_alone_has_no_nontarget_trial():
    report = open_set_report([[2.0], [1.0]], [0, 0])
    assert undefined(report) == DETECTION | IDENTIFICATION | TRIALS
    assert report.accuracy == 1.0


def test_nobody_named_rightly():
    report = open_set_report([[0.0, 1.0], [0.0, 0.5]], [0, -1])
    assert (report.oscr, report.accuracy, report.fnir_at_fpir_10, report.auroc) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[math.nan]], [0]), r"^scores: NaN at index \[0, 0\]"),
        (([[1.0]], [1]), "^labels: 1 at probe 0"),
        (([[1.0, 2.0]], [0], [[1.0]]), r"^llrs: shape \(1, 1\); scores have \(1, 2\)"),
        (([[1.0]], [0], [[math.nan]]), r"^llrs: NaN at index \[0, 0\]"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        open_set_report(*arguments)


def test_bad_prior_is_refused_even_where_it_is_not_needed():
    with pytest.raises(InputError, match=r"p_target: 1\.5"):
        open_set_report([[1.0]], [-1], p_target=1.5)
