from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openkith.errors import InputError
from openkith.report.runs import Outcome, group, guesses, margins, outcomes


@pytest.fixture
def run(make_run):
    """Seven probes of two people and strangers, one for each outcome."""
    return make_run(
        names=("ann", "bob"),
        people=2,
        known=4,
        unknown=3,
        labels=np.array([0, 0, 1, 1, -1, -1, -1]),
        statuses=("known", "known", "unknown", "unsure", "known", "unknown", "unsure"),
        decided=("ann", "bob", None, "ann", "bob", None, None),
        scores=np.array([[3, 1], [0, 2.5], [-4, -1], [1, 1], [-1, 2], [-np.inf, -np.inf], [0, 1]]),
        probabilities=np.array(
            [
                [0.9, 0.05, 0.05],
                [0.1, 0.8, 0.1],
                [0, 0.3, 0.7],
                [0.4, 0.4, 0.2],
                [0, 0.9, 0.1],
                [0, 0, 1],
                [0.2, 0.5, 0.3],
            ]
        ),
    )


def test_outcomes(run):
    assert outcomes(run) == (
        Outcome.RIGHT_NAME,
        Outcome.WRONG_NAME,
        Outcome.MISSED,
        Outcome.UNSURE,
        Outcome.NAMED_STRANGER,
        Outcome.REFUSED,
        Outcome.UNSURE_STRANGER,
    )
    assert "".join(outcome.mark for outcome in outcomes(run)) == "✓✗✗?✗✓?"


def test_guesses_are_the_name_given_else_the_likeliest_else_nobody(run):
    assert guesses(run).tolist() == [0, 1, 2, 0, 1, 2, 1]


def test_margins(run):
    np.testing.assert_array_equal(margins(run), [2, 2.5, 3, 0, 3, np.nan, 1])
    assert np.isnan(margins(replace(run, scores=run.scores[:, :1]))).all()


def test_groups_keep_the_order_of_manifests_put_the_baseline_first_and_sort_seeds(make_run):
    runs = [
        make_run(manifest="b", method="auto", chosen="plda"),
        make_run(manifest="a", method="plda"),
        make_run(manifest="b", method="cosine", seed=3),
        make_run(manifest="b", method="cosine", seed=1),
        make_run(manifest="b", method="plda"),
    ]
    first, second = group(runs)
    assert (first.manifest, second.manifest) == ("b", "a")
    assert [m.method for m in first.methods] == ["cosine", "auto", "plda"]
    assert [m.label for m in first.methods] == ["cosine", "auto (plda)", "plda"]
    assert [r.seed for r in first.methods[0].runs] == [1, 3]
    assert first.focus.method == "auto"
    assert second.focus.method == "plda"
    assert (first.n_seeds, second.n_seeds) == (2, 1)


def test_what_auto_chose_with_several_seeds(make_run):
    runs = [
        make_run(method="auto", chosen=chosen, seed=seed) for seed, chosen in enumerate(("plda", "as-norm"))
    ]
    assert group(runs)[0].methods[0].label == "auto (as-norm, plda)"


def test_means_over_seeds(make_run):
    runs = [make_run(seed=seed, tune_seconds=float(seed)) for seed in (1, 2, 6)]
    method = group(runs)[0].methods[0]
    assert method.mean("tune_seconds") == 3.0
    assert method.mean("eer") == pytest.approx(np.mean([run.metrics.eer for run in runs]))
    broken = [replace(runs[0], metrics=replace(runs[0].metrics, eer=np.nan)), runs[1]]
    assert np.isnan(group(broken)[0].methods[0].mean("eer"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(6, dtype=int)}, r"field 'labels' has shape \(6,\); give \(7,\)"),
        ({"scores": np.zeros((7, 3))}, r"field 'scores' has shape \(7, 3\)"),
        ({"probabilities": np.zeros((7, 2))}, "field 'probabilities'"),
        ({"reasons": ("",)}, "field 'reasons'"),
        ({"enrolment_embeddings": np.zeros((6, 3))}, "field 'enrolment_embeddings'"),
        ({"probes": ()}, "0 probes of 2 people"),
        ({"names": ()}, "7 probes of 0 people"),
        ({"scores": np.full((7, 2), np.nan)}, "field 'scores' has NaN"),
        ({"embeddings": np.full((7, 48), np.inf)}, "field 'embeddings' has NaN or infinities"),
        ({"statuses": ("maybe",) * 7}, "status 'maybe'"),
        ({"decided": ("zoe",) * 7}, "decided for 'zoe', who is not enrolled"),
        ({"labels": np.array([0, 0, 1, 1, 2, -1, -1])}, "field 'labels' holds 2"),
        ({"labels": np.array([0, 0, 1, 1, -2, -1, -1])}, "field 'labels' holds -2"),
        ({"enrolment_labels": np.array([0, 0, 0, 1, 1, 5])}, "field 'enrolment_labels' holds 5"),
        ({"enrolment_labels": np.array([0, 0, 0, 1, 1, -1])}, "field 'enrolment_labels' holds -1"),
    ],
)
def test_a_run_that_does_not_fit_together_is_refused(run, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        group([replace(run, **changes)])
    assert "run 'cosine' on 'home'" in str(caught.value)
