"""What the recogniser tells of the people enrolled: clips, how well they are told apart, and errors to expect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import openkith.recognizer.roster
from openkith.audio import trim_silence
from openkith.encoders.clips.views import embed_views
from openkith.recognizer import Recognizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recognizer]:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)
    with Recognizer(tmp_path / "home.db", FakeEncoder()) as recognizer:  # type: ignore[arg-type]
        for who in ("ann", "bob", "cat"):
            recognizer.enroll(who, [voice(who, take) for take in range(3)], keep_audio=who == "bob")
        yield recognizer


def test_clips_with_their_quality_and_likeness(home: Recognizer) -> None:
    reports = home.report_clips("ann")
    stored = home.gallery.clips("ann")
    unit = np.stack([clip.arrays["embedding"] for clip in stored])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    for i, (report, clip) in enumerate(zip(reports, stored, strict=True)):
        others = [cosines[i, j] for j in range(3) if j != i]
        assert report.cohesion == pytest.approx(np.mean(others), abs=1e-5)
        assert (report.id, report.source, report.has_audio) == (clip.id, clip.source, False)
        assert (report.snr_db, report.bandwidth_hz) == (clip.quality["snr_db"], clip.quality["bandwidth_hz"])
    assert all(report.has_audio for report in home.report_clips("bob"))


def test_an_only_short_clip(home: Recognizer) -> None:
    home.enroll("dan", voice("dan", 0, seconds=0.6))
    [report] = home.report_clips("dan")
    assert report.cohesion is None
    assert any(advice.startswith("short:") for advice in report.advice)
    home.gallery.add_person("nobody yet")
    assert home.report_clips("nobody yet") == []


def test_curves_are_of_before_and_after_tuning(home: Recognizer) -> None:
    untuned = home.error_curves()
    assert (untuned.before, untuned.after.method, untuned.far) == (None, "as-norm", 0.01)
    home.tune("whitened")
    tuned = home.error_curves()
    assert tuned.before == untuned.after
    assert tuned.after.method == "whitened"
    assert tuned.after.people != untuned.after.people


def test_separability_is_of_the_people_enrolled(home: Recognizer) -> None:
    found = home.separability()
    assert found.names == ("ann", "bob", "cat")
    shares = np.array(found.shares)
    np.testing.assert_array_equal(shares, shares.T)
    roster = home._current_roster()
    held_out, calibration = roster.model.held_out, roster.model.calibration
    recorded = ~held_out.copies
    llrs, labels = calibration.llr(held_out.known[recorded]), held_out.labels[recorded]
    named = (llrs.argmax(axis=1) == labels) & (llrs.max(axis=1) >= calibration.threshold)
    np.testing.assert_allclose(shares.diagonal(), [named[labels == person].mean() for person in range(3)])
    assert shares.diagonal().any()
    assert all(finding.names for finding in found.findings)


def test_posteriors_of_several_recordings_of_a_voice(home: Recognizer) -> None:
    views = embed_views(home.encoder, [trim_silence(voice("ann", take)) for take in (5, 6)])
    together = home.posteriors(views)
    assert sum(together.values()) == pytest.approx(1.0)
    assert max(together, key=together.__getitem__) == "ann"
    one = home.posteriors(views[:1])
    decision = home.identify(voice("ann", 5))
    assert one == pytest.approx(decision.probabilities)
