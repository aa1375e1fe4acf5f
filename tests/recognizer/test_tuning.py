"""What tuning passes on: members, styles, progress; and what it refuses before it embeds anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openkith.recognizer.recognizer
import openkith.recognizer.roster
from openkith.errors import ConfigError, MissingDependencyError
from openkith.openset.model import METHODS
from openkith.recognizer import Recognizer
from openkith.scoring import EmbeddingSet, WhitenedCosine

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice, write_voice


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Recognizer]:
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer:
        for who in ("ann", "bob"):
            recognizer.enroll(who, [voice(who, take) for take in range(2)], keep_audio=True)
        yield recognizer


def test_members_are_passed_on(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def method(people: int, seed: int, members: int | None) -> WhitenedCosine:  # noqa: ARG001
        asked.append(members)
        return WhitenedCosine()

    monkeypatch.setitem(METHODS, "whitened", method)
    home.tune("whitened")
    assert set(asked) == {None}
    asked.clear()
    home.tune("whitened", members=7)
    assert set(asked) == {7}


def test_as_many_adapters_as_members(home: Recognizer) -> None:
    home.tune("speaker-rpl", members=2)
    head = home.gallery.head()
    assert head is not None
    few = sum(array.size for key, array in head.arrays.items() if key.startswith("scorer/"))
    home.tune("speaker-rpl", members=4)
    more = home.gallery.head()
    assert more is not None
    assert sum(array.size for key, array in more.arrays.items() if key.startswith("scorer/")) > 1.5 * few


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"members": 0}, "members is 0; give 1 or more"),
        ({"members": -3, "method": "cosine"}, "members is -3"),
        ({"method": "magic"}, "no method is named 'magic'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_embedded(
    home: Recognizer, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "others"
    write_voice(folder, "carl")
    before = home.encoder.embedded  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=said):
        home.tune(**options, unknown=folder)
    assert home.encoder.embedded == before  # type: ignore[attr-defined]
    assert home.gallery.head() is None


def test_styles_are_learned_and_nothing_else_changes(
    home: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", sys)
    seen: list[EmbeddingSet] = []
    fit = openkith.recognizer.recognizer.fit_open_set

    def record(method: str, enrolment: EmbeddingSet, *others: Any, **options: Any) -> Any:
        seen.append(enrolment)
        return fit(method, enrolment, *others, **options)

    def styles(
        enrolment: EmbeddingSet, clips: Any, gallery: Any, encoder: Any, seed: int, progress: Any
    ) -> Any:
        assert (len(clips), gallery, encoder, seed) == (4, home.gallery, home.encoder, 3)
        progress("speaking styles of ann", 0, 1)
        copies = enrolment.select(~enrolment.copies)
        turned = replace(
            copies, embeddings=copies.embeddings[:, :, ::-1], copies=np.ones(len(copies), np.bool_)
        )
        columns = ("embeddings", "labels", "clips", "groups", "copies")
        return EmbeddingSet(*(np.concatenate([getattr(enrolment, c), getattr(turned, c)]) for c in columns))

    monkeypatch.setattr(openkith.recognizer.recognizer, "fit_open_set", record)
    monkeypatch.setattr(openkith.recognizer.recognizer, "add_styles", styles)
    steps: list[str] = []
    clips = [clip.sha256 for clip in home.gallery.clips()]
    plain = home.tune("as-norm", seed=3)
    report = home.tune("as-norm", styles=True, seed=3, progress=lambda what, *_: steps.append(what))
    assert len(seen[1]) == len(seen[0]) + 4
    assert report.errors != plain.errors
    assert report.calibration.miss.clips == plain.calibration.miss.clips == 4  # a style is no clip of its own
    assert steps[0] == "speaking styles of ann"
    assert [clip.sha256 for clip in home.gallery.clips()] == clips
    head = home.gallery.head()
    assert head is not None
    assert head.config["styles"] is True
    assert home.identify(voice("ann", 9)).probabilities["ann"] > 0.3


def test_styles_without_the_extra(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(MissingDependencyError, match=r"openkith\[synthesis\]"):
        home.tune("cosine", styles=True)


def test_synthetic_voices_show_progress(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    import openkith.data.synthesis

    def speakers(n: int, seed: int) -> list[Any]:  # noqa: ARG001
        return [(f"s{i}", voice(f"synthetic {i}", take, 0.8)) for i in range(n) for take in range(2)]

    monkeypatch.setattr(openkith.data.synthesis, "unknown_speakers", speakers)
    steps: list[tuple[str, int, int]] = []
    home.tune("cosine", synthetic=3, progress=lambda *step: steps.append(step))
    assert ("embedding synthetic voices", 6, 6) in steps


def test_enrolling_leaves_nothing_in_the_cache_of_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forgotten must be nowhere."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("KITH_CLIP_CACHE", str(cache))
    folder = tmp_path / "others"
    for i in range(3):
        write_voice(folder, f"carl {i}")
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer:
        recognizer.enroll("ann", [voice("ann", take) for take in range(2)], keep_audio=True)
        recognizer.tune("cosine", unknown=folder)
        recognizer.calibrate(background=folder)
        recognizer.identify(voice("ann", 9))
        recognizer.reembed()
        recognizer.forget("ann")
    assert not cache.exists()
