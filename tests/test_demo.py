"""The demonstration on recordings; with synthetic voices where that extra is, marked slow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith import demo
from openkith.demo import DemoPerson, run_demo
from openkith.errors import ConfigError, ManifestError, MissingDependencyError, NotEnoughDataError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path]) -> Path:
    """Five people with five clips, one with two."""
    root = tmp_path_factory.mktemp("demo") / "friends"
    for person in range(6):
        for take in range(5 if person < 5 else 2):
            record(person, take, root / f"p{person}" / f"{take}.wav")
    return root


def test_recordings(corpus: Path, bands: Any) -> None:
    steps: list[tuple[str, int, int]] = []
    outcome = run_demo(corpus, progress=lambda *step: steps.append(step), encoder=bands)
    assert not outcome.synthetic
    assert outcome.television == 0
    cosine, auto = outcome.results
    assert (cosine.method, auto.method, cosine.manifest) == ("cosine", "auto", "friends")
    assert outcome.tuned is auto
    assert len(outcome.people) == len(outcome.strangers) == 3
    assert "p5" in outcome.strangers  # too few clips to enrol with
    names = {person.name for person in outcome.people}
    assert names == set(cosine.names)
    assert not names & set(outcome.strangers)
    assert set(cosine.truth) == names | set(outcome.strangers)
    for person in outcome.people:
        assert person.clips == demo.ENROL_CLIPS
        assert 5.0 < person.seconds <= 6.0
    # Two clips are left of each person, four of each stranger but the one with two.
    assert (cosine.metrics.n_known, cosine.metrics.n_unknown) == (3 * 2, 2 * 4 + 2)
    assert outcome.setting.startswith(
        "3 people of friends, enrolled from 3 clips each; heard again in other clips,"
    )
    assert outcome.setting.endswith("among clips of 3 strangers")
    assert steps
    assert all(0 <= done <= total for _, done, total in steps)
    assert all(probe.startswith("friends/p") for probe in auto.probes)


def test_both_methods_hear_the_same_clips(corpus: Path, bands: Any) -> None:
    cosine, auto = run_demo(corpus, encoder=bands).results
    assert cosine.probes == auto.probes
    np.testing.assert_array_equal(cosine.embeddings, auto.embeddings)


def test_the_seed_decides(corpus: Path, bands: Any) -> None:
    def told(seed: int) -> dict[str, Any]:
        found = run_demo(corpus, seed, encoder=bands).to_dict()
        del found["seconds"]
        for result in found["results"]:
            del result["tune_seconds"], result["score_seconds"]
        return found

    assert told(1) == told(1)
    chosen = {frozenset(person["name"] for person in told(seed)["people"]) for seed in range(4)}
    assert len(chosen) > 1


def test_to_dict(corpus: Path, bands: Any) -> None:
    outcome = run_demo(corpus, encoder=bands)
    values = outcome.to_dict()
    assert values["people"][0] == {
        "name": outcome.people[0].name,
        "clips": 3,
        "seconds": outcome.people[0].seconds,
    }
    assert len(values["decisions"]) == len(outcome.tuned.probes)
    first = values["decisions"][0]
    assert (first["clip"], first["speaker"]) == (outcome.tuned.probes[0], outcome.tuned.truth[0])
    assert first["status"] in ("known", "unsure", "unknown")
    assert [result["method"] for result in values["results"]] == ["cosine", "auto"]


def test_many_people_are_too_many(tmp_path: Path, record: Callable[..., Path]) -> None:
    for person in range(2 * demo.MAX_PEOPLE + 3):
        for take in range(4):
            path = tmp_path / f"p{person}" / f"{take}.wav"
            record(person, 0, path, seconds=0.1)
    manifest = demo._choose(tmp_path, 0)
    assert len(manifest.speakers) == len(manifest.unknown_speakers) == demo.MAX_PEOPLE
    assert {row.speaker for row in manifest.enroll} == set(manifest.speakers)
    assert len(manifest.enroll) == demo.MAX_PEOPLE * demo.ENROL_CLIPS


@pytest.mark.parametrize(
    ("clips", "people", "strangers"), [((5, 5, 5), 2, 1), ((4,), 1, 0), ((4, 1, 1, 1), 1, 1)]
)
def test_few_people(
    tmp_path: Path, record: Callable[..., Path], clips: tuple[int, ...], people: int, strangers: int
) -> None:
    for person, n in enumerate(clips):
        for take in range(n):
            record(person, take, tmp_path / f"p{person}" / f"{take}.wav", seconds=0.1)
    manifest = demo._choose(tmp_path, 0)
    assert (len(manifest.speakers), len(manifest.unknown_speakers)) == (people, strangers)


def test_nobody_has_enough_clips(tmp_path: Path, record: Callable[..., Path], bands: Any) -> None:
    for take in range(3):
        record(0, take, tmp_path / "p0" / f"{take}.wav", seconds=0.2)
    with pytest.raises(NotEnoughDataError, match="nobody in it has 4 clips"):
        run_demo(tmp_path, encoder=bands)


def test_no_such_folder(tmp_path: Path, bands: Any) -> None:
    with pytest.raises(ManifestError, match="no such folder"):
        run_demo(tmp_path / "nope", encoder=bands)


def test_seeds_begin_at_zero(bands: Any) -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        run_demo(seed=-1, encoder=bands)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, bands: Any) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[synthesis\]'"):
        run_demo(encoder=bands)


def test_television(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Strangers beyond the fifth teach; who enrols and who is heard does not change."""
    pytest.importorskip("parselmouth", reason="pip install 'openkith[synthesis]'")
    monkeypatch.setattr(demo, "ENROL_CLIPS", 1)
    monkeypatch.setattr(demo, "LATER_CLIPS", 1)
    manifest = demo._synthesize(tmp_path, 0, None)
    assert len(manifest.speakers) == 5
    assert manifest.unknown_speakers == tuple(f"stranger-{i}" for i in range(1, 6))
    assert {row.speaker for row in manifest.negative} == {f"stranger-{i}" for i in range(6, 12)}
    assert len(manifest.enroll) == len(manifest.test) / 2 == 5


@pytest.mark.slow
def test_synthetic_household(ge2e: Any) -> None:
    pytest.importorskip("parselmouth", reason="pip install 'openkith[synthesis]'")
    outcome = run_demo(encoder=ge2e)
    assert outcome.synthetic
    assert (len(outcome.people), len(outcome.strangers), outcome.television) == (5, 5, 6)
    assert all(isinstance(person, DemoPerson) and person.clips == 3 for person in outcome.people)
    cosine, auto = outcome.results
    assert (auto.metrics.n_known, auto.metrics.n_unknown) == (20, 20)
    right = [name == truth for name, truth in zip(auto.decided, auto.truth, strict=True)][:20]
    assert sum(right) >= 18
    assert auto.statuses[20:].count("unknown") >= 17
    assert auto.metrics.eer <= cosine.metrics.eer + 0.002
