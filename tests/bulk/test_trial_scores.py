"""Trial lists, score files, and metrics over them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from openkith.bulk.trial_scores import TrialScores, measure_scores, read_scores, read_trial_list
from openkith.data.trials import Trial, read_trials, write_trials
from openkith.errors import InputError, ManifestError
from openkith.metrics import actual_dcf, cllr, eer, min_cllr, min_dcf

LIST = "1 a/1.wav a/2.wav\n\n0 a/1.wav b/1.wav\r\n1  b/1.wav\tb/1.wav\n"


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    path = tmp_path / "trials.txt"
    path.write_bytes(LIST.encode())
    return path


def test_a_list_is_read_as_read_trials_does(trials: Path) -> None:
    listed, plain = read_trial_list(trials), read_trials(trials)
    assert len(listed) == len(plain) == 3
    assert listed.names == ("a/1.wav", "a/2.wav", "b/1.wav")
    for i, trial in enumerate(plain):
        found = Trial(
            bool(listed.targets[i]),
            listed.names[listed.enrol[i]],
            listed.names[listed.test[i]],
            int(listed.lines[i]),
        )
        assert found == trial
        assert found.line == trial.line
    assert [listed.line_of(name) for name in range(3)] == [1, 1, 3]


@pytest.mark.parametrize("text", ["1 a b\n2 a b\n", "1 a b\n1 a\n", "1 a b\n1 a b c\n", "", "\n"])
def test_lists_that_are_wrong_are_refused_in_the_same_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(ManifestError) as expected:
        read_trials(path)
    with pytest.raises(ManifestError) as found:
        read_trial_list(path)
    assert str(found.value) == str(expected.value)


def test_scores_there_and_back(tmp_path: Path, trials: Path) -> None:
    scored = TrialScores(read_trial_list(trials), np.array([0.123456789123, -2.5, np.inf]))
    path = tmp_path / "scores.tsv"
    scored.write(path)
    assert path.read_text().splitlines() == [
        "enrol\ttest\tscore\tlabel",
        "a/1.wav\ta/2.wav\t0.123456789\t1",
        "a/1.wav\tb/1.wav\t-2.5\t0",
        "b/1.wav\tb/1.wav\tinf\t1",
    ]
    stream = io.StringIO()
    scored.write(stream)
    assert stream.getvalue() == path.read_text()
    scores, targets = read_scores(path)
    np.testing.assert_allclose(scores, scored.scores, rtol=1e-8)
    assert targets.tolist() == [True, False, True]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    with pytest.raises(InputError, match="cannot write"):
        scored.write(tmp_path / "no" / "scores.tsv")


def test_many_scores_are_written_in_blocks(tmp_path: Path) -> None:
    write_trials(tmp_path / "t.txt", [Trial(i % 3 == 0, f"a{i % 7}", f"b{i % 5}") for i in range(70_000)])
    listed = read_trial_list(tmp_path / "t.txt")
    values = np.random.default_rng(0).standard_normal(len(listed)).astype(np.float32).astype(np.float64)
    TrialScores(listed, values).write(tmp_path / "s.tsv")
    scores, targets = read_scores(tmp_path / "s.tsv")
    np.testing.assert_array_equal(scores.astype(np.float32), values.astype(np.float32))
    np.testing.assert_array_equal(targets, listed.targets)


def test_score_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("a b 0.5 target\na c -1e-3 nontarget\n\na\twith space\t2\t1\n")
    scores, targets = read_scores(path)
    assert scores.tolist() == [0.5, -1e-3, 2.0]
    assert targets.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b 0.5\n", ":1: 3 fields, not 4"),
        ("a b 1 0\na b high 1\n", ":2: field 'score': 'high' is not a number"),
        ("a b 1 0\na b nan 1\n", ":2: field 'score': NaN"),
        ("a b 1 0\na b 1 yes\n", ":2: field 'label': 'yes'"),
        ("enrol\ttest\tscore\tlabel\n", "no scores"),
        ("enrol\ttest\tscore\tlabel\na\tb\t1\t1\nenrol\ttest\tscore\tlabel\n", ":3: field 'label'"),
    ],
)
def test_score_files_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.tsv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=said):
        read_scores(path)


def test_metrics_are_those_of_openkith() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random(2000) < 0.3
    scores = rng.standard_normal(2000) + 2.0 * targets
    yes, no = scores[targets], scores[~targets]
    measured = measure_scores(scores, targets, llr=True)
    assert (measured.n_targets, measured.n_nontargets, measured.n_trials) == (yes.size, no.size, 2000)
    assert measured.eer == eer(yes, no)
    assert measured.min_dcf == {p: min_dcf(yes, no, p) for p in (0.01, 0.1)}
    assert measured.act_dcf == {p: actual_dcf(yes, no, p) for p in (0.01, 0.1)}
    assert (measured.cllr, measured.min_cllr) == (cllr(yes, no), min_cllr(yes, no))
    plain = measure_scores(scores, targets, (0.05,))
    assert (plain.act_dcf, plain.cllr, list(plain.min_dcf)) == (None, None, [0.05])
    assert plain.to_dict()["n_trials"] == 2000


def test_metrics_that_cannot_be_told() -> None:
    scores = np.array([1.0, 2.0])
    for targets, kind in (([True, True], "nontarget"), ([False, False], "target")):
        with pytest.raises(InputError, match=f"s.tsv: no {kind} trials"):
            measure_scores(scores, np.array(targets), source="s.tsv")
    with pytest.raises(InputError, match=r"p_target: 1\.5"):
        measure_scores(scores, np.array([True, False]), (1.5,))
