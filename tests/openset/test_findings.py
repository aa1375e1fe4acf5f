"""People too alike, clips that disagree, and what is said of a calibration: scores made by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from openkith.openset.findings import TuneReport, confusions, find_problems, limits, why
from openkith.openset.model import HeldOutErrors, OpenSetModel
from openkith.scoring import Calibration, Cosine, HeldOutScores
from openkith.scoring.calibration import ErrorEstimate

NAMES = ("ann", "bob", "cat")
NONE = ErrorEstimate(0.0, 0.0, 0.0, 1)
LINE = Calibration(1.0, 0.0, 0.5, 0.01, 0.01, 2.0, 1.0, NONE, NONE, 80, False, ("clips",) * 3)
IDS = (11, 12, 13, 21, 22, 23, 31, 32, 33)
GOOD = [*[[6.0, -3.0, -3.0]] * 3, *[[-3.0, 6.0, -3.0]] * 3, *[[-3.0, -3.0, 6.0]] * 3]


def held_out(known: list[list[float]], basis: tuple[str, ...] = ("clips",) * 3) -> HeldOutScores:
    n = len(known)
    unknown = np.linspace(-6.0, 1.0, 3000).reshape(-1, 3)
    return HeldOutScores(
        known=np.array(known),
        labels=np.arange(n) // 3,
        clips=np.arange(n),
        copies=np.zeros(n, np.bool_),
        known_weights=np.ones(n),
        unknown=unknown,
        unknown_clips=np.arange(len(unknown)),
        unknown_weights=np.ones(len(unknown)),
        pseudo=np.zeros(0),
        basis=basis,
    )


def found(
    known: list[list[float]], basis: tuple[str, ...] = ("clips",) * 3
) -> list[tuple[str, tuple[str, ...]]]:
    problems = find_problems(held_out(known, basis), LINE, NAMES, IDS)
    return [(problem.kind, problem.names) for problem in problems]


def test_good_people_have_no_findings() -> None:
    assert found(GOOD) == []


def test_two_people_too_alike_are_one_finding() -> None:
    known = [*GOOD[:3], *GOOD[3:]]
    known[0], known[1], known[4] = [4.0, 4.5, -3.0], [4.0, 4.5, -3.0], [5.0, 4.0, -3.0]
    [problem] = find_problems(held_out(known), LINE, NAMES, IDS)
    assert (problem.kind, problem.names, problem.clip) == ("alike", ("ann", "bob"), None)
    assert problem.text == (
        "ann and bob sound too alike to be told apart surely: 50% of their clips could pass for the other one's"
    )


def test_too_close_to_call_is_where_a_decision_says_so() -> None:
    known = list(GOOD)
    for gap, expected in ((0.7, []), (0.69, [("alike", ("ann", "bob"))])):  # ln 2 is 0.693
        known[0] = known[1] = [4.0, 4.0 - gap, -3.0]
        assert found(known) == expected


def test_a_clip_of_a_stranger_is_odd_and_nobody_is_alike() -> None:
    known = list(GOOD)
    known[5] = [-3.0, -4.0, -2.0]  # unlike bob, a little less unlike the others
    [problem] = find_problems(held_out(known), LINE, NAMES, IDS)
    assert (problem.kind, problem.names, problem.clip) == ("odd-clip", ("bob",), 23)
    assert problem.text == (
        "clip 23 of bob does not sound like the others: listen to it, and if it is not bob: kith drop-clip bob 23"
    )


def test_two_clips_of_a_stranger_make_nobody_alike() -> None:
    known = list(GOOD)
    known[4] = known[5] = [-3.0, -4.0, -2.0]
    assert found(known) == [("odd-clip", ("bob",))] * 2


def test_a_clip_like_ones_twin_is_not_odd() -> None:
    known = list(GOOD)
    known[0], known[3], known[4] = [5.0, 5.0, -3.0], [5.0, 5.0, -3.0], [9.0, 5.0, -3.0]
    assert found(known) == [("alike", ("ann", "bob"))]


@pytest.mark.parametrize("own", [-2.0, 1.0])  # also where it is a little like the person
def test_a_clip_of_another_person_is_said_to_be_theirs(own: float) -> None:
    known = list(GOOD)
    known[8] = [-3.0, 5.0, own]
    [problem] = find_problems(held_out(known), LINE, NAMES, IDS)
    assert (problem.kind, problem.clip) == ("odd-clip", 33)
    assert "does not sound like the others but like bob:" in problem.text


def test_somewhat_more_like_another_is_not_odd() -> None:
    known = list(GOOD)
    known[8] = [-3.0, 5.0, 3.0]
    assert found(known) == []


def test_copies_are_not_judged() -> None:
    known = held_out([*GOOD[:8], [9.0, 9.0, -9.0]])
    copies = np.zeros(9, np.bool_)
    copies[8] = True
    assert find_problems(replace(known, copies=copies), LINE, NAMES, IDS) == ()


def test_ratios_not_raw_scores_are_judged() -> None:
    raw = [[score / 10 + 7 for score in row] for row in GOOD]  # all of them above 0
    line = replace(LINE, slope=10.0, intercept=-70.0)
    assert find_problems(held_out(raw), line, NAMES, IDS) == ()
    raw[5] = [6.7, 6.6, 6.8]
    [problem] = find_problems(held_out(raw), line, NAMES, IDS)
    assert problem.clip == 23


def test_only_clips_are_compared_with_the_cohort() -> None:
    # Halves of an only clip are always most like each other; bob's are also more like ann than any stranger is.
    known = list(GOOD)
    known[3] = known[4] = [1.1, 6.0, -3.0]
    assert found(known) == []
    assert found(known, ("clips", "crops", "clips")) == [("alike", ("ann", "bob"))]
    known[3] = known[4] = [0.9, 6.0, -3.0]
    assert found(known, ("clips", "crops", "clips")) == []


def test_an_only_clip_is_never_odd() -> None:
    known = list(GOOD)
    known[3] = known[4] = known[5] = [-3.0, -1.0, -3.0]
    assert found(known, ("clips", "crops", "clips")) == []


def test_people_without_held_out_clips() -> None:
    nobody = replace(
        held_out(GOOD),
        known=np.zeros((0, 3)),
        labels=np.zeros(0, np.int64),
        clips=np.zeros(0, np.int64),
        copies=np.zeros(0, np.bool_),
        basis=("cohort",) * 3,
    )
    assert find_problems(nobody, LINE, NAMES, IDS[:3]) == ()


def test_limits_names_what_is_extrapolated_and_who_has_one_clip() -> None:
    assert limits(LINE, NAMES) == []
    line = replace(LINE, extrapolated=True, far=0.01, verify_far=0.001, basis=("crops", "cohort", "crops"))
    rate, crops, cohort = limits(line, NAMES)
    assert rate.startswith(
        "80 clips of other people cannot show a rate of 0.10%: the threshold is extrapolated"
    )
    assert crops.startswith("ann, cat: calibrated from two halves of the only clip")
    assert cohort.startswith("bob: one short clip: calibrated from how other people's clips vary")
    [guess] = limits(replace(LINE, basis=("none", "clips", "clips")), NAMES)
    assert guess.startswith("ann: one short clip, and nothing to calibrate it from")


def model(asked: str, method: str, **errors: float) -> OpenSetModel:
    rates = {name.replace("_", "-"): HeldOutErrors(rate, rate) for name, rate in errors.items()}
    return OpenSetModel(asked, method, Cosine(), held_out(GOOD), LINE, rates, (32,))


def test_why_the_method_is_in_use() -> None:
    tried = {"cosine": 0.1, "as_norm": 0.05}
    wins = why(model("auto", "fusion", **tried, fusion=0.02))
    assert wins == "the tuned head wins on held-out clips (cosine 10.0%, as-norm 5.0%, fusion 2.0%)"
    stays = why(model("auto", "as-norm", **tried, fusion=0.07))
    assert stays.startswith(
        "cosine with AS-norm stays: the tuned head was clearly worse on held-out clips (cosine 10.0%"
    )
    within_chance = why(model("auto", "fusion", **tried, fusion=0.07))
    assert within_chance.startswith(
        "the tuned head stays: it was not clearly worse on held-out clips (cosine"
    )
    assert "without a cohort" in why(model("auto", "cosine", cosine=0.1))
    assert (
        why(model("whitened", "whitened", whitened=0.1))
        == "whitened, as asked; held-out errors: whitened 10.0%"
    )


def test_a_rate_that_is_not_defined_is_none_in_json() -> None:
    errors = {"cosine": HeldOutErrors(0.1, math.nan)}
    report = TuneReport("cosine", None, "auto", errors, "because", LINE, ())
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["errors"] == {"cosine": {"eer": 0.1, "detection_eer": None}}
    assert values["calibration"]["basis"] == ["clips"] * 3


def test_confusions_count_what_passes_for_another() -> None:
    """Two clips of each of two people: one of the first is more like the second."""
    known = np.array([[3.0, -3.0], [-1.0, 4.0], [-3.0, 3.0], [-3.0, 0.5]])
    labels = np.array([0, 0, 1, 1])
    held_out = HeldOutScores(
        known=known,
        labels=labels,
        clips=np.arange(4),
        copies=np.zeros(4, np.bool_),
        known_weights=np.ones(4),
        unknown=np.zeros((0, 2)),
        unknown_clips=np.zeros(0, np.int64),
        unknown_weights=np.zeros(0),
        pseudo=np.zeros(0),
        basis=("clips", "clips"),
    )
    calibration = replace(Calibration.fit(held_out), slope=1.0, intercept=0.0, threshold=1.0)
    np.testing.assert_allclose(confusions(held_out, calibration), [[0.5, 0.25], [0.25, 0.5]])
