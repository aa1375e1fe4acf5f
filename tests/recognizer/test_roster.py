"""What is read of a gallery at one moment, and the model that is built of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import openkith.recognizer.roster
from openkith.encoders.clips.copies import embed_with_copies
from openkith.encoders.clips.views import embed_views
from openkith.errors import EncoderMismatchError, GalleryError, NotEnoughDataError
from openkith.gallery import Gallery, NewClip
from openkith.openset.heads import pack_model
from openkith.openset.model import fit_open_set
from openkith.recognizer.roster import NOT_TUNED, STALE, Roster, joined, take_snapshot, version_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice

ENCODER = "fake/1"


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)


def new_clip(who: str, take: int = 0, copies: bool = False) -> NewClip:
    audio = voice(who, take)
    [clip] = embed_with_copies(FakeEncoder(), [audio], copies=copies)
    return NewClip(audio.sha256, audio.seconds, {}, clip.arrays(), audio.source)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.db") as opened:
        for who in ("bob", "ann"):
            opened.add_clips(who, [new_clip(who, take) for take in range(3)], encoder=ENCODER)
        yield opened


def save_head(gallery: Gallery) -> None:
    gallery.save_head("cosine", {}, {}, encoder=ENCODER, revision=gallery.revision())


WRITES: dict[str, Callable[[Gallery], object]] = {
    "enroll": lambda gallery: gallery.add_clips("cat", [new_clip("cat")], encoder=ENCODER),
    "background": lambda gallery: gallery.add_background([new_clip("tv")], encoder=ENCODER),
    "drop": lambda gallery: gallery.drop_clip("ann", gallery.clips("ann")[0].id),
    "rename": lambda gallery: gallery.rename("ann", "eve"),
    "forget": lambda gallery: gallery.forget("ann"),
    "undo": lambda gallery: gallery.undo(),
    "setting": lambda gallery: gallery.put_setting("calibration", {"far": 0.02}),
    "head": save_head,
    "reembed": lambda gallery: gallery.replace_arrays(
        {clip.id: clip.arrays for clip in gallery.clips()}, "fake/2"
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_another_version(gallery: Gallery, write: str) -> None:
    before = version_of(gallery)
    assert version_of(gallery) == before
    WRITES[write](gallery)
    assert version_of(gallery) != before


def test_a_snapshot_has_all_there_is(gallery: Gallery) -> None:
    gallery.add_background([new_clip("tv"), new_clip("radio")], encoder=ENCODER)
    gallery.put_setting("calibration", {"far": 0.02})
    snapshot = take_snapshot(gallery)
    assert snapshot.names == ("bob", "ann")  # in order of enrolment
    assert [clip.person for clip in snapshot.clips] == ["bob"] * 3 + ["ann"] * 3
    assert (snapshot.encoder, snapshot.revision) == (ENCODER, gallery.revision())
    assert snapshot.settings == {"far": 0.02}
    assert snapshot.version == version_of(gallery)
    enrolment, _ = snapshot.enrolment()
    assert enrolment.labels.tolist() == [0, 0, 0, 1, 1, 1]
    shipped, background = snapshot.others()
    assert shipped is fake_cohort()
    assert background is not None
    assert background.labels.tolist() == [0, 1]  # a voice each


def test_clips_are_left_out_where_a_fresh_head_makes_them_needless(gallery: Gallery) -> None:
    save_head(gallery)
    assert take_snapshot(gallery).clips == ()
    assert len(take_snapshot(gallery, all_clips=True).clips) == 6
    gallery.add_clips("cat", [new_clip("cat")], encoder=ENCODER)
    assert len(take_snapshot(gallery).clips) == 7


def test_nobody_enrolled(tmp_path: Path) -> None:
    with Gallery(tmp_path / "empty.db") as empty, pytest.raises(NotEnoughDataError, match="kith enroll"):
        take_snapshot(empty)


def test_what_is_read_belongs_together(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process enrols a third person after the people were read, and before the clips are."""
    read_people, calls = Gallery.people, []

    def people_then_a_write(self: Gallery) -> object:
        found = read_people(self)
        if not calls:
            calls.append(self)
            with Gallery(self.path) as other:
                other.add_clips("cat", [new_clip("cat")], encoder=ENCODER)
        return found

    monkeypatch.setattr(Gallery, "people", people_then_a_write)
    snapshot = take_snapshot(gallery)
    assert snapshot.names == ("bob", "ann", "cat")
    assert len(snapshot.clips) == 7
    assert snapshot.revision == gallery.revision()


def test_a_gallery_that_never_rests_is_an_error(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    read_people = Gallery.people

    def people_then_a_write(self: Gallery) -> object:
        self.put_setting("other", 1)
        return read_people(self)

    monkeypatch.setattr(Gallery, "people", people_then_a_write)
    with pytest.raises(GalleryError, match=r"gallery\.db: others keep writing to it; try again"):
        take_snapshot(gallery)


def test_without_a_head_it_is_as_norm_with_the_note(gallery: Gallery) -> None:
    snapshot = take_snapshot(gallery)
    roster = Roster.of(snapshot, ENCODER)
    assert (roster.names, roster.note, roster.model.method) == (("bob", "ann"), NOT_TUNED, "as-norm")
    assert roster.clip_ids == tuple(clip.id for clip in gallery.clips())
    expected = fit_open_set("as-norm", snapshot.enrolment()[0], fake_cohort())
    probe = embed_views(FakeEncoder(), [voice("ann", 7)])
    np.testing.assert_allclose(roster.model.llrs(probe), expected.llrs(probe))
    save_head(gallery)
    gallery.undo()  # another revision; the head learned from the clips and goes
    assert Roster.of(take_snapshot(gallery), ENCODER).note == NOT_TUNED
    save_head(gallery)
    gallery.add_clips("cat", [new_clip("cat")], encoder=ENCODER)
    assert Roster.of(take_snapshot(gallery), ENCODER).note == STALE


def test_background_joins_the_cohort(gallery: Gallery) -> None:
    before = Roster.of(take_snapshot(gallery), ENCODER).model.calibration.unknown_clips
    gallery.add_background([new_clip("tv"), new_clip("radio")], encoder=ENCODER)
    assert Roster.of(take_snapshot(gallery), ENCODER).model.calibration.unknown_clips == before + 2


@pytest.mark.parametrize("background", [0, 1])
def test_without_a_cohort_it_is_cosine(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, background: int
) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", lambda fingerprint: None)  # noqa: ARG005
    gallery.add_background([new_clip("tv", take) for take in range(background)], encoder=ENCODER)
    roster = Roster.of(take_snapshot(gallery), ENCODER)
    assert (roster.model.method, roster.note) == ("cosine", NOT_TUNED)


def test_settings_reach_the_calibration(gallery: Gallery) -> None:
    gallery.put_setting("calibration", {"far": 0.03, "verify_far": 0.02, "unknown_prior": 0.7})
    calibration = Roster.of(take_snapshot(gallery), ENCODER).model.calibration
    assert (calibration.far, calibration.verify_far, calibration.unknown_prior) == (0.03, 0.02, 0.7)


def test_another_encoder_is_refused(gallery: Gallery) -> None:
    with pytest.raises(EncoderMismatchError, match=r"fake/1.*fake/2.*kith reembed"):
        Roster.of(take_snapshot(gallery), "fake/2")


def test_a_head_of_another_version_says_to_tune(gallery: Gallery) -> None:
    save_head(gallery)
    with pytest.raises(GalleryError, match="kith tune"):
        Roster.of(take_snapshot(gallery), ENCODER)


def test_joined() -> None:
    cohort = fake_cohort()
    assert cohort is not None
    assert joined([None, None]) is None
    both = joined([cohort, None, cohort])
    assert both is not None
    assert both.n_speakers == 2 * cohort.n_speakers


def tuned(gallery: Gallery, method: str = "whitened") -> Roster:
    """A gallery with a head, as `Recognizer.tune` stores it."""
    snapshot = take_snapshot(gallery, all_clips=True)
    model = fit_open_set(method, snapshot.enrolment()[0], fake_cohort())
    extra = {
        "people": [person.id for person in snapshot.people],
        "clips": [clip.id for clip in snapshot.clips],
        "background": [],
    }
    config, arrays = pack_model(model, extra)
    gallery.save_head(method, config, arrays, encoder=ENCODER, revision=snapshot.revision)
    return Roster.of(take_snapshot(gallery), ENCODER)


def enrol(gallery: Gallery, who: str, takes: range = range(3)) -> None:
    gallery.add_clips(who, [new_clip(who, take) for take in takes], encoder=ENCODER)


def test_the_older_head_answers_for_whom_it_knows(gallery: Gallery) -> None:
    gallery.add_person("early")  # a name alone, until there are clips
    fresh = tuned(gallery)
    enrol(gallery, "cat")
    enrol(gallery, "early")
    snapshot = take_snapshot(gallery)
    roster = Roster.of(snapshot, ENCODER)
    assert roster.names == ("bob", "ann", "early", "cat")
    assert [roster.answering(column)[1] for column in range(4)] == [
        "whitened",
        "whitened",
        "as-norm",
        "as-norm",
    ]
    probe, encoder = voice("ann", 7), FakeEncoder()
    llrs = roster.llrs(encoder, probe)
    np.testing.assert_allclose(llrs[:2], fresh.llrs(encoder, probe), atol=1e-6)
    np.testing.assert_allclose(llrs[2:], roster.model.llrs(embed_views(encoder, [probe]))[0, 2:])
    # Either half may let in half of the strangers that were allowed.
    asked = fresh.model.calibration.far
    for column, model in ((1, fresh.model), (2, roster.model)):
        calibration, _ = roster.answering(column)
        half = model.calibration.at(model.held_out, far=asked / 2)
        assert (calibration.far, calibration.threshold) == (asked, half.threshold)
        assert half.threshold > model.calibration.threshold


def test_the_older_head_alone_where_nobody_is_new(gallery: Gallery) -> None:
    fresh = tuned(gallery)
    enrol(gallery, "ann", range(5, 7))
    roster = Roster.of(take_snapshot(gallery), ENCODER)
    encoder = FakeEncoder()
    np.testing.assert_allclose(roster.llrs(encoder, voice("ann", 9)), fresh.llrs(encoder, voice("ann", 9)))
    assert encoder.embedded == 2  # once each
    assert roster.answering(0)[0] == fresh.answering(0)[0]
    assert roster.note == STALE


def test_a_head_of_a_dropped_clip_or_another_version_does_not_answer(gallery: Gallery) -> None:
    tuned(gallery)
    gallery.drop_clip("ann", gallery.clips("ann")[0].id)
    assert Roster.of(take_snapshot(gallery), ENCODER).older is None
    save_head(gallery)  # without anything that makes it one
    enrol(gallery, "cat")
    assert Roster.of(take_snapshot(gallery), ENCODER).older is None


def test_people_without_clips_are_left_out(gallery: Gallery) -> None:
    gallery.add_person("nobody yet")
    assert take_snapshot(gallery).names == ("bob", "ann")
    gallery.forget("bob")
    gallery.forget("ann")
    with pytest.raises(NotEnoughDataError):
        take_snapshot(gallery)
