"""Speaking styles of enrolled people as copies of their clips."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openkith.recognizer.roster
from openkith.audio import Audio, load
from openkith.audio.augment import GROUPS
from openkith.data.synthesis import STYLES, SyntheticClip, TransformSource
from openkith.encoders.clips.copies import COPY_CONDITIONS
from openkith.errors import AudioError, GalleryError, MissingDependencyError
from openkith.recognizer import Recognizer
from openkith.recognizer.roster import take_snapshot
from openkith.recognizer.speaking_styles import add_styles
from openkith.scoring.base import EmbeddingSet

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, TwoViews, fake_cohort, voice, write_voice

N = len(STYLES)


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)
    monkeypatch.setitem(sys.modules, "parselmouth", sys)  # as if the extra were installed


@pytest.fixture
def softer(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """A stand-in for Praat: style k of a recording is the recording and a tone of its own; the calls that were made."""
    calls: list[tuple[str, int, int]] = []

    def styles(
        _: TransformSource, speaker: str, recordings: Sequence[Audio], styles: Sequence[Any], seed: int = 0
    ) -> Iterator[SyntheticClip]:
        calls.append((speaker, len(recordings), seed))
        for k, style in enumerate(styles):
            for recording in recordings:
                yield SyntheticClip(speaker, "enroll", "", toned(recording, k), style.name)

    monkeypatch.setattr(TransformSource, "styles", styles)
    return calls


def toned(recording: Audio, k: int) -> Audio:
    t = np.arange(len(recording.samples)) / 16_000
    tone = (0.02 * np.sin(2 * np.pi * (400 + 300 * k) * t)).astype(np.float32)
    return replace(recording, samples=recording.samples + tone)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Recognizer]:
    """Ann has kept audio, bob has files; two and three clips."""
    with Recognizer(tmp_path / "gallery.db", TwoViews()) as recognizer:
        recognizer.enroll("ann", [voice("ann", take) for take in range(2)], keep_audio=True)
        recognizer.enroll("bob", [write_voice(tmp_path, "bob", take) for take in range(3)])
        yield recognizer


def styled(recognizer: Recognizer, **options: Any) -> tuple[EmbeddingSet, EmbeddingSet]:
    snapshot = take_snapshot(recognizer.gallery, all_clips=True)
    enrolment, _ = snapshot.enrolment()
    return enrolment, add_styles(enrolment, snapshot.clips, recognizer.gallery, recognizer.encoder, **options)


def test_styles_are_copies_of_the_clips_that_they_are_made_of(
    home: Recognizer, softer: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    enrolment, more = styled(home, seed=5, progress=lambda *step: steps.append(step))
    assert softer == [("ann", 2, 5), ("bob", 3, 5)]
    n = len(enrolment)
    assert len(more) == n + 5 * N
    for name in ("embeddings", "labels", "clips", "groups", "copies"):
        before, after = getattr(enrolment, name), getattr(more, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(after[:n], before)
    assert more.n_clips == enrolment.n_clips == 5
    assert more.copies[n:].all()
    assert set(more.groups[n:]) == {GROUPS.index("expressive")}
    for clip in range(5):
        rows = more.clips == clip
        assert rows[n:].sum() == N
        assert rows.sum() == N + 1 + len(COPY_CONDITIONS)
        assert set(more.labels[rows]) == {0 if clip < 2 else 1}
    encoder = TwoViews()
    heard = [load(home.gallery.audio(home.gallery.clips("ann")[1].id)), load(tmp_path / "bob-2.wav")]
    for recording, clip in zip(heard, (1, 4), strict=True):
        expected = encoder.embed_views([toned(recording, k) for k in range(N)])
        found = more.embeddings[n:][more.clips[n:] == clip]
        np.testing.assert_allclose(found, expected, atol=0.02)  # silences are cut from it, too
        assert np.abs(found - expected[::-1]).max() > 0.05
    assert steps[0] == ("speaking styles of ann", 0, 5 * N)
    assert steps[-1] == ("speaking styles of bob", 5 * N, 5 * N)


def test_a_clip_without_audio_names_the_person(
    home: Recognizer, softer: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    (tmp_path / "bob-1.wav").unlink()
    with pytest.raises(AudioError, match=r"no speaking styles of bob: clip \d+ of bob: .* is gone") as caught:
        styled(home)
    assert str(caught.value).endswith("; enrol with --keep-audio, or tune without --styles")
    assert "--from" not in str(caught.value)
    assert [who for who, _, _ in softer] == ["ann"]


def test_clips_that_changed_meanwhile(home: Recognizer, softer: list[tuple[str, int, int]]) -> None:  # noqa: ARG001
    snapshot = take_snapshot(home.gallery, all_clips=True)
    enrolment, _ = snapshot.enrolment()
    home.enroll("ann", [voice("ann", 7)], keep_audio=True)
    with pytest.raises(GalleryError, match="clips of ann changed meanwhile; tune again"):
        add_styles(enrolment, snapshot.clips, home.gallery, home.encoder)


def test_without_the_extra(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(MissingDependencyError, match=r"openkith\[synthesis\]"):
        styled(home)


@pytest.mark.slow
def test_praat_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "parselmouth")
    pytest.importorskip("parselmouth", reason="needs the extra synthesis")
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer:
        recognizer.enroll("ann", [voice("ann", take) for take in range(2)], keep_audio=True)
        enrolment, more = styled(recognizer, seed=1)
        _, again = styled(recognizer, seed=1)
    np.testing.assert_array_equal(more.embeddings, again.embeddings)
    own = more.embeddings[len(enrolment) :]
    assert len(own) == 2 * N
    assert np.isfinite(own).all()
    assert len(np.unique(own.round(4), axis=0)) == 2 * N
