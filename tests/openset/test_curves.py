"""Histogram, detection error trade-off and thresholds of a model, against counting by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.encoders.clips.copies import embed_with_copies
from openkith.openset.curves import RATES, ErrorCurves, trace_curves
from openkith.openset.model import OpenSetModel, fit_open_set
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring.calibration import Calibration

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice


def model_of(people: int, takes: int = 3, seconds: float = 1.7) -> OpenSetModel:
    heard = [voice(f"p{i}", take, seconds) for i in range(people) for take in range(takes)]
    clips = embed_with_copies(FakeEncoder(), heard, copies=False)
    enrolment, halves = embedding_set(
        [clip.arrays() for clip in clips], [i // takes for i in range(len(heard))]
    )
    return fit_open_set("as-norm", enrolment, fake_cohort(), halves=halves)


@pytest.fixture(scope="module")
def model() -> OpenSetModel:
    return model_of(4)


def test_thresholds_are_those_of_calibrating(model: OpenSetModel) -> None:
    curves = trace_curves(model)
    assert tuple(step.far for step in curves.thresholds) == RATES
    for step in curves.thresholds:
        fitted = Calibration.fit(model.held_out, far=step.far)
        assert step.threshold == pytest.approx(fitted.threshold)
        assert step.miss == pytest.approx(fitted.miss.rate)
        assert (step.miss_low, step.miss_high) == pytest.approx((fitted.miss.low, fitted.miss.high))
    thresholds = [step.threshold for step in curves.thresholds]
    assert thresholds == sorted(thresholds, reverse=True)


def test_trade_off_is_counted(model: OpenSetModel) -> None:
    curves = trace_curves(model)
    held_out = model.held_out
    far, frr = np.array(curves.det).T
    assert (far[0], frr[0], far[-1]) == (0.0, 1.0, pytest.approx(1.0))
    assert (np.diff(far) >= 0).all()
    assert (np.diff(frr) <= 1e-12).all()
    wrong = held_out.known.argmax(axis=1) != held_out.labels
    assert frr[-1] == pytest.approx(np.average(wrong, weights=held_out.known_weights), abs=1e-9)
    # At one threshold, by hand.
    line = model.calibration.llr
    others = line(held_out.unknown).max(axis=1)
    at = float(np.quantile(others, 0.7))
    own = line(held_out.known)[held_out.own()]
    expected_far = np.average(others >= at, weights=held_out.unknown_weights)
    expected_frr = np.average(~((own >= at) & ~wrong), weights=held_out.known_weights)
    nearest = int(np.abs(far - expected_far).argmin())
    assert far[nearest] == pytest.approx(expected_far, abs=0.02)
    assert frr[nearest] == pytest.approx(expected_frr, abs=0.05)


def test_histogram(model: OpenSetModel) -> None:
    curves = trace_curves(model)
    assert len(curves.edges) == len(curves.people) + 1 == len(curves.strangers) + 1
    assert sum(curves.people) == pytest.approx(1.0)
    assert sum(curves.strangers) == pytest.approx(1.0)
    middle = (np.array(curves.edges[1:]) + np.array(curves.edges[:-1])) / 2
    assert middle @ np.array(curves.people) > middle @ np.array(curves.strangers)


def test_without_strangers_the_people_are_strangers_to_one_another(model: OpenSetModel) -> None:
    empty = {key: value[:0] for key, value in model.held_out.arrays().items() if key.startswith("unknown")}
    held_out = replace(model.held_out, **empty)
    curves = trace_curves(replace(model, held_out=held_out, calibration=Calibration.fit(held_out)))
    assert sum(curves.strangers) == pytest.approx(1.0)


def test_one_person_with_one_clip() -> None:
    curves = trace_curves(model_of(1, 1))
    assert sum(curves.people) == pytest.approx(1.0)


def test_plain_values(model: OpenSetModel) -> None:
    curves = trace_curves(model)
    plain = ErrorCurves(None, curves, 0.01).to_dict()
    assert plain["before"] is None
    assert plain["after"]["det"][0] == {"far": 0.0, "frr": 1.0}
    assert plain["after"]["thresholds"][3]["far"] == 0.01
