"""Draws of the enrolment clips, and clips that are embedded once in whatever role."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import openkith.evaluation
from openkith.data import Manifest, Row
from openkith.data.draws import redraw_enrolment
from openkith.encoders.clips.clip_cache import ClipCache
from openkith.encoders.clips.copies import COPY_CONDITIONS
from openkith.errors import ConfigError, ManifestError
from openkith.evaluation import ClipStore, evaluate

sys.path.insert(0, str(Path(__file__).parent))
from voices import FakeEncoder, fake_cohort, write_voice

PEOPLE, GUESTS = ("ann", "bob"), ("guest 1", "guest 2")
EVERY_COPY = len(COPY_CONDITIONS) + 2  # and the halves


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.evaluation, "find_cohort", fake_cohort)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Two people, two clips each to enrol and three to test; two strangers."""
    folder = tmp_path_factory.mktemp("voices")

    def rows(role: str, who: Sequence[str], takes: range) -> list[Row]:
        return [Row(write_voice(folder, name, take, 1.9), name, role) for name in who for take in takes]

    found = [
        *rows("enroll", PEOPLE, range(2)),
        *rows("test", PEOPLE, range(2, 5)),
        *rows("test", GUESTS, range(2)),
    ]
    return Manifest("home", tuple(found), folder / "home.tsv")


def test_one_result_per_draw_method_and_seed(manifest: Manifest) -> None:
    results = evaluate(manifest, ["cosine", "whitened"], encoder=FakeEncoder(), seeds=2, draws=3)
    assert [(result.draw, result.method, result.seed) for result in results] == [
        (draw, method, seed) for draw in range(3) for method in ("cosine", "whitened") for seed in range(2)
    ]
    assert [result.to_dict()["draw"] for result in results] == [result.draw for result in results]
    assert {result.manifest for result in results} == {"home"}
    probes = {result.draw: result.probes for result in results}
    assert probes[0] == tuple(row.path.name for row in manifest.test)
    assert len(set(probes.values())) == 3
    for draw, names in probes.items():
        assert names == tuple(row.path.name for row in redraw_enrolment(manifest, draw).test)


def test_the_first_draw_is_the_manifest(manifest: Manifest) -> None:
    first, second = evaluate(manifest, ["cosine"], encoder=FakeEncoder(), draws=2)
    [alone] = evaluate(manifest, ["cosine"], encoder=FakeEncoder())
    np.testing.assert_allclose(first.scores, alone.scores, atol=1e-5)
    drawn = redraw_enrolment(manifest, 1)
    [expected] = evaluate(drawn, ["cosine"], encoder=FakeEncoder())
    np.testing.assert_allclose(second.scores, expected.scores, atol=1e-5)
    assert second.truth == expected.truth


def test_every_clip_is_embedded_once_over_all_draws(manifest: Manifest) -> None:
    encoder = FakeEncoder()
    evaluate(manifest, ["cosine"], encoder=encoder, draws=4)
    enrolled = {row.path for draw in range(4) for row in redraw_enrolment(manifest, draw).enroll}
    assert len(enrolled) > 4
    assert encoder.embedded == len(manifest.rows) + EVERY_COPY * len(enrolled)


def test_a_clip_that_was_enrolled_has_no_copies_where_it_is_tested(manifest: Manifest) -> None:
    store = ClipStore(FakeEncoder())
    [full] = store.get(manifest.rows[:1], copies=True)
    [plain] = store.get(manifest.rows[:1], copies=False)
    assert (len(full.copies), len(plain.copies), len(plain.halves)) == (len(COPY_CONDITIONS), 0, 0)
    np.testing.assert_array_equal(plain.views, full.views)
    assert store.encoder.embedded == 1 + EVERY_COPY


def test_another_run_reads_the_cache(manifest: Manifest, tmp_path: Path) -> None:
    fresh = FakeEncoder()
    results = []
    for _ in range(2):
        fresh.embedded = 0
        results += evaluate(manifest, ["cosine"], store=ClipStore(fresh, ClipCache(tmp_path)), draws=2)
    assert fresh.embedded == 0
    for a, b in zip(results[:2], results[2:], strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)


def test_evaluate_keeps_clips_where_the_variable_says(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_CLIP_CACHE", str(tmp_path))
    evaluate(manifest, ["cosine"], encoder=FakeEncoder())
    assert len(list(tmp_path.glob("*.clip"))) == len(manifest.rows)


def test_progress_counts_draws(manifest: Manifest) -> None:
    steps: list[tuple[str, int, int]] = []
    evaluate(manifest, ["cosine"], encoder=FakeEncoder(), draws=2, progress=lambda *step: steps.append(step))
    assert [step for step in steps if "cosine" in step[0]] == [
        ("home: cosine, draw 0, seed 0", 0, 2),
        ("home: cosine, draw 1, seed 0", 1, 2),
    ]


def test_wrong_draws(manifest: Manifest) -> None:
    encoder = FakeEncoder()
    with pytest.raises(ConfigError, match="draws is 0; give 1 or more"):
        evaluate(manifest, ["cosine"], encoder=encoder, draws=0)
    assert encoder.embedded == 0


def test_a_draw_that_leaves_nothing_to_test_is_refused(manifest: Manifest) -> None:
    """Where clips overlap, all that is not drawn may share a stretch with what is."""
    pairs = [(row.path, role) for row, role in zip(manifest.rows, ("enroll", "test"), strict=False)]
    rows = [Row(path, "ann", role, *cut) for path, role in pairs for cut in ((0.0, 1.0), (0.5, 1.5))]
    small = Manifest("small", tuple(rows), manifest.source)
    tests = [len(redraw_enrolment(small, draw).test) for draw in range(1, 9)]
    assert set(tests) == {0, 2}
    with pytest.raises(ManifestError, match="no row is 'test'"):
        evaluate(small, ["cosine"], encoder=FakeEncoder(), draws=9)
