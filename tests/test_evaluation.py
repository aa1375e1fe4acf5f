"""Manifests in, metrics out: on invented voices, and the published table on real speech."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openkith.evaluation
from openkith.data import Manifest, Row, read_manifest, write_manifest
from openkith.encoders.clips.copies import COPY_CONDITIONS
from openkith.errors import AudioError, ConfigError, InputError, ManifestError, NotEnoughDataError
from openkith.evaluation import ClipStore, Result, evaluate
from openkith.metrics import open_set_report
from openkith.openset.model import METHODS
from openkith.scoring import EmbeddingSet, WhitenedCosine

sys.path.insert(0, str(Path(__file__).parent))
from voices import FakeEncoder, fake_cohort, write_voice

ISSUE_KEYS = [
    *(
        "manifest",
        "method",
        "seed",
        "eer",
        "detection_eer",
        "min_dcf",
        "act_dcf",
        "cllr",
        "oscr",
        "auroc",
        "tnr95",
    ),
    *("accuracy", "fnir_at_fpir_1", "n_speakers", "n_known", "n_unknown", "tune_seconds", "score_seconds"),
    "draw",
]


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.evaluation, "find_cohort", fake_cohort)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("voices")


def rows(folder: Path, role: str, who: Sequence[str], takes: range, seconds: float = 1.7) -> list[Row]:
    return [
        Row(write_voice(folder / f"{seconds:g}s", name, take, seconds), name, role)
        for name in who
        for take in takes
    ]


PEOPLE, GUESTS, OTHERS = ("ann", "bob", "cat"), ("guest 1", "guest 2"), ("other 1", "other 2", "other 3")


@pytest.fixture(scope="module")
def manifest(files: Path) -> Path:
    """Three people, clips each 3 to enrol and 3 to test; two strangers; three negatives."""
    path = files / "home.tsv"
    write_manifest(
        path,
        [
            *rows(files, "enroll", PEOPLE, range(3)),
            *rows(files, "test", (*PEOPLE, *GUESTS), range(10, 13)),
            *rows(files, "negative", OTHERS, range(2)),
        ],
    )
    return path


def one(manifest: Path | Manifest, method: str = "as-norm", **options: Any) -> Result:
    [result] = evaluate(manifest, [method], **{"encoder": FakeEncoder(), **options})
    return result


def test_what_a_result_holds(manifest: Path) -> None:
    result = one(manifest)
    assert result.manifest == "home"
    assert (result.method, result.chosen, result.seed, result.far) == ("as-norm", "as-norm", 0, 0.01)
    assert result.names == PEOPLE
    who = [name for name in (*PEOPLE, *GUESTS) for _ in range(3)]
    assert result.truth == tuple(who)
    assert result.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1, -1, -1, -1, -1]
    assert result.probes[0] == "1.7s/ann-10.wav"
    assert result.scores.shape == (15, 3)
    assert result.probabilities.shape == (15, 4)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1.0)
    assert result.scores[:9].argmax(axis=1).tolist() == result.labels[:9].tolist()
    assert result.embeddings.shape == (15, 32)
    assert result.enrolment_embeddings.shape == (9, 32)
    assert result.enrolment_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert result.seconds.tolist() == pytest.approx([1.68] * 15, abs=0.15)
    assert result.metrics == open_set_report(result.scores, result.labels)
    assert (result.metrics.n_speakers, result.metrics.n_known, result.metrics.n_unknown) == (3, 9, 6)
    assert len(result.decisions) == len(result.statuses) == len(result.decided) == len(result.reasons) == 15
    for i, decision in enumerate(result.decisions):
        assert decision.threshold == result.threshold
        assert list(decision.probabilities.values()) == pytest.approx(result.probabilities[i].tolist())
        assert (result.statuses[i], result.reasons[i]) == (decision.status, decision.reason)
        assert result.decided[i] == (decision.name if decision.status == "known" else None)


def test_json_has_the_keys_of_the_command_line(manifest: Path) -> None:
    result = one(manifest)
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert set(values) == {*ISSUE_KEYS, "chosen"}
    for key in ISSUE_KEYS[3:13]:
        assert values[key] == pytest.approx(getattr(result.metrics, key))
    assert (values["n_speakers"], values["n_known"], values["n_unknown"]) == (3, 9, 6)
    assert values["tune_seconds"] > 0 < values["score_seconds"]


def test_methods_and_seeds_in_order(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def method(people: int, seed: int, members: int | None) -> WhitenedCosine:  # noqa: ARG001
        seeds.append(seed)
        return WhitenedCosine()

    monkeypatch.setitem(METHODS, "whitened", method)
    results = evaluate(manifest, ["cosine", "whitened"], encoder=FakeEncoder(), seeds=2)
    assert [(result.method, result.seed) for result in results] == [
        *(("cosine", 0), ("cosine", 1), ("whitened", 0), ("whitened", 1))
    ]
    assert seeds == sorted(seeds)
    assert set(seeds) == {0, 1}
    np.testing.assert_array_equal(results[0].scores, results[1].scores)


def test_auto_says_what_it_chose(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "fusion", METHODS["cosine"])
    monkeypatch.setitem(METHODS, "as-norm", METHODS["whitened"])
    result = one(manifest, "auto")
    assert result.method == "auto"
    assert result.chosen in ("as-norm", "fusion")
    assert {decision.method for decision in result.decisions} == {result.chosen}


# what is learned from


def test_test_rows_are_never_learned_from(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[EmbeddingSet, EmbeddingSet, EmbeddingSet]] = []
    fit = openkith.evaluation.fit_open_set

    def record(method: str, enrolment: EmbeddingSet, cohort: EmbeddingSet, **options: Any) -> object:
        learned.append((enrolment, cohort, options["halves"]))
        return fit(method, enrolment, cohort, **options)

    monkeypatch.setattr(openkith.evaluation, "fit_open_set", record)
    result = one(manifest)
    [(enrolment, cohort, halves)] = learned
    assert enrolment.n_clips == 9
    assert cohort.n_clips == 80 + 6  # what ships, and the negative rows
    for items in (enrolment, cohort, halves):
        for probe in result.embeddings:
            assert np.abs(items.view(0).embeddings - probe).max(axis=1).min() > 1e-3
    np.testing.assert_array_equal(enrolment.originals().view(0).embeddings, result.enrolment_embeddings)


def test_negative_rows_are_learned_from(manifest: Path) -> None:
    read = read_manifest(manifest)
    without = Manifest("home", tuple(row for row in read.rows if row.role != "negative"), read.source)
    assert np.abs(one(read).scores - one(without).scores).max() > 0.01
    assert one(without, "cosine").metrics.eer == one(read, "cosine").metrics.eer


@pytest.mark.parametrize("method", ["cosine", "as-norm", "whitened"])
def test_each_probe_is_scored_alone(manifest: Path, method: str) -> None:
    read = read_manifest(manifest)
    full = one(read, method)
    fewer = [row for row in read.rows if row.role != "test"] + list(reversed(read.test))[::4]
    part = one(Manifest("part", tuple(fewer), read.source), method)
    assert len(part.scores) == 4
    assert part.threshold == full.threshold
    np.testing.assert_allclose(part.scores, full.scores[::-1][::4], atol=1e-4)
    assert part.statuses == full.statuses[::-1][::4]


def test_no_row_is_dropped_however_short(files: Path) -> None:
    path = files / "short.tsv"
    tests = [
        *rows(files, "test", ("ann", "guest 1"), range(20, 22), 0.12),
        *rows(files, "test", ("bob",), range(30, 31)),
    ]
    write_manifest(path, [*rows(files, "enroll", PEOPLE, range(3)), *tests])
    result = one(path)
    assert result.truth == ("ann", "ann", "guest 1", "guest 1", "bob")
    assert result.seconds[:4].tolist() == pytest.approx([0.12] * 4)
    assert np.isfinite(result.scores).all()


def test_parts_of_one_file(files: Path) -> None:
    long = write_voice(files, "ann", 99, seconds=5.0)
    path = files / "parts.tsv"
    parts = [Row(long, "ann", "test", 0.0, 1.5), Row(long, "ann", "test", 2.0, None)]
    write_manifest(path, [*rows(files, "enroll", PEOPLE, range(3)), *parts])
    result = one(path)
    assert result.probes == ("ann-99.wav [0-1.5 s]", "ann-99.wav [2- s]")
    assert result.seconds.tolist() == pytest.approx([1.5, 3.0], abs=0.15)


# manifests with something missing


def test_without_unknown_probes(files: Path) -> None:
    path = files / "known.tsv"
    write_manifest(
        path, [*rows(files, "enroll", PEOPLE, range(3)), *rows(files, "test", PEOPLE, range(10, 12))]
    )
    result = one(path)
    values = result.to_dict()
    assert values["n_unknown"] == 0
    assert values["detection_eer"] is values["oscr"] is values["auroc"] is values["tnr95"] is None
    assert values["eer"] is not None
    assert values["accuracy"] == 1.0
    json.dumps(values, allow_nan=False)


def test_one_person(files: Path) -> None:
    path = files / "one.tsv"
    write_manifest(
        path,
        [*rows(files, "enroll", ("ann",), range(3)), *rows(files, "test", ("ann", "bob"), range(10, 14))],
    )
    result = one(path)
    assert result.scores.shape == (8, 1)
    assert result.metrics.eer == result.metrics.detection_eer == 0.0
    assert one(path, "cosine").metrics.eer == 0.0


def test_neither_negatives_nor_a_cohort(files: Path) -> None:
    path = files / "plain.tsv"
    write_manifest(
        path,
        [*rows(files, "enroll", PEOPLE, range(3)), *rows(files, "test", (*PEOPLE, *GUESTS), range(10, 12))],
    )
    for method in ("cosine", "auto"):
        result = one(path, method, encoder=FakeEncoder("fake/2"))
        assert result.chosen == "cosine"
        assert result.metrics.accuracy == 1.0
    with pytest.raises(NotEnoughDataError, match="as-norm needs clips of other people"):
        one(path, encoder=FakeEncoder("fake/2"))


# errors


def test_wrong_settings_are_refused_before_anything_is_embedded(manifest: Path) -> None:
    encoder = FakeEncoder()
    with pytest.raises(ConfigError, match="seeds is 0"):
        evaluate(manifest, seeds=0, encoder=encoder)
    with pytest.raises(ConfigError, match="no method is named 'magic'; there are: auto, cosine"):
        evaluate(manifest, ["cosine", "magic"], encoder=encoder)
    assert encoder.embedded == 0


def test_errors_name_manifest_and_row(files: Path) -> None:
    path = files / "broken.tsv"
    good = rows(files, "enroll", PEOPLE, range(3))
    (files / "bad.wav").write_text("not audio")
    write_manifest(path, [*good, Row(files / "bad.wav", "ann", "test")])
    with pytest.raises(AudioError, match=r"broken\.tsv:11: .*bad\.wav: ") as error:
        one(path)
    assert "\n" not in str(error.value)
    path.write_text(path.read_text().replace("bad.wav", "gone.wav"))
    with pytest.raises(ManifestError, match=r"broken\.tsv:11: field 'path': no file .*gone\.wav"):
        one(path)
    write_manifest(path, good)
    with pytest.raises(ManifestError, match=r"broken\.tsv: field 'role': no row is 'test'"):
        one(path)
    made = Manifest("made", (*good, Row(files / "bad.wav", "ann", "test")), Path("made"))
    with pytest.raises(AudioError, match=r"^\S*bad\.wav: "):  # rows that no file has
        one(made)


def test_scores_that_are_not_finite_are_an_error(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Diverged(WhitenedCosine):
        def score(self, embeddings: np.ndarray) -> np.ndarray:
            scores = super().score(embeddings)
            return scores * np.nan if len(embeddings) == 15 else scores  # the test rows

    monkeypatch.setitem(METHODS, "whitened", lambda people, seed, members: Diverged())  # noqa: ARG005
    with pytest.raises(InputError, match=r"home\.tsv: method 'whitened' gave scores that are not finite"):
        one(manifest, "whitened")


# the store


def test_a_store_embeds_each_clip_once(manifest: Path, files: Path) -> None:
    encoder = FakeEncoder()
    store = ClipStore(encoder)
    first = one(manifest, store=store, encoder=None)
    count = encoder.embedded
    assert (
        count == 9 * (1 + len(COPY_CONDITIONS) + 2) + 15 + 6
    )  # clips with copies and halves, and plain ones
    again = evaluate(manifest, ["as-norm", "cosine"], store=store)
    assert encoder.embedded == count
    np.testing.assert_array_equal(again[0].scores, first.scores)
    other = files / "other.tsv"
    write_manifest(
        other,
        [*rows(files, "enroll", PEOPLE, range(3)), *rows(files, "test", (*PEOPLE, "new"), range(10, 11))],
    )
    evaluate(other, ["cosine"], store=store)
    assert encoder.embedded == count + 1
    fresh = one(other, "cosine")
    np.testing.assert_allclose(fresh.scores, evaluate(other, ["cosine"], store=store)[0].scores, atol=1e-5)


def test_a_store_tells_parts_of_a_file_apart(files: Path) -> None:
    long = write_voice(files, "ann", 98, seconds=4.0)
    store = ClipStore(FakeEncoder())
    whole, part = store.get([Row(long, "ann", "test"), Row(long, "ann", "test", 0.0, 1.0)], copies=False)
    assert whole.speech_seconds > part.speech_seconds
    [full] = store.get([Row(long, "ann", "test")], copies=True)
    assert (len(whole.copies), len(full.copies)) == (0, len(COPY_CONDITIONS))


def test_progress_tells_what_is_done(manifest: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    evaluate(
        manifest, ["cosine", "as-norm"], encoder=FakeEncoder(), progress=lambda *step: steps.append(step)
    )
    assert steps == [
        ("home: embedding enrolment clips", 8, 9),
        ("home: embedding enrolment clips", 9, 9),
        ("home: embedding negative clips", 6, 6),
        ("home: embedding test clips", 8, 15),
        ("home: embedding test clips", 15, 15),
        ("home: cosine, seed 0", 0, 2),
        ("home: as-norm, seed 0", 1, 2),
    ]


# real speech

MANIFESTS = ("home-clean", "home-short", "home-noisy", "crowd-40", "digits-0", "digits-1", "digits-2")
# Cosine may be so much above the EER of Resemblyzer in the table. On digits-0 (words by telephone) the table has one
# speaker told apart by the DC offset of his recordings, which is taken off here.
ALLOWED = dict.fromkeys(MANIFESTS, 0.01) | {"digits-0": 0.021}
NO_WORSE = 0.002  # auto against cosine, in EER


def published(speech: Path, name: str) -> float:
    """EER of cosine in the table of the folder's README."""
    table = re.findall(
        r"^\| ([\w-]+)[^|]*\|[^|]*\|[^|]*\| ([\d.]+) \|", (speech / "README.md").read_text(), re.M
    )
    return float(dict(table)[name])


@pytest.fixture(scope="module")
def store(ge2e: Any) -> ClipStore:
    return ClipStore(ge2e)


@pytest.fixture
def real_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    from openkith.scoring import shipped_cohort

    monkeypatch.setattr(openkith.evaluation, "find_cohort", shipped_cohort)


@pytest.mark.slow
@pytest.mark.usefixtures("real_cohort")
@pytest.mark.parametrize("name", MANIFESTS)
def test_real_speech(speech: Path, store: ClipStore, name: str) -> None:
    cosine, auto = evaluate(speech / f"{name}.tsv", ["cosine", "auto"], store=store)
    read = read_manifest(speech / f"{name}.tsv")
    assert len(auto.scores) == len(read.test)
    assert cosine.metrics.eer <= published(speech, name) + ALLOWED[name]
    assert auto.metrics.eer <= cosine.metrics.eer + NO_WORSE


@pytest.mark.slow
@pytest.mark.usefixtures("real_cohort")
def test_cosine_on_a_part_of_real_speech(speech: Path, store: ClipStore) -> None:
    read = read_manifest(speech / "home-clean.tsv")
    kept = set(read.speakers[:3]) | set(read.unknown_speakers[:6])
    part = Manifest("part", tuple(row for row in read.rows if row.speaker in kept), read.source)
    [result] = evaluate(part, ["cosine"], store=store)
    assert (result.metrics.n_speakers, result.metrics.n_unknown) == (3, 6)
    assert result.metrics.accuracy == 1.0
    assert result.metrics.eer <= 0.03
