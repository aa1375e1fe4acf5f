"""The recogniser from end to end, on invented voices; at the end on real speech."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import openkith.recognizer.recognizer
import openkith.recognizer.roster
from openkith.audio import Audio, load, save
from openkith.errors import (
    AudioError,
    ConfigError,
    DuplicateClipError,
    EncoderMismatchError,
    GalleryError,
    KithError,
    ManifestError,
    NotEnoughDataError,
    UnknownPersonError,
)
from openkith.gallery import Gallery
from openkith.openset.decision import Decision
from openkith.openset.model import METHODS
from openkith.recognizer import Recognizer
from openkith.scoring import EmbeddingSet, WhitenedCosine
from openkith.scoring.base import one_view

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, same_decision, voice, write_voice

NOT_TUNED = "; no head is tuned: run kith tune"
STALE = "; the tuned head is older than the people enrolled: run kith tune"


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def recognizer(path: Path) -> Iterator[Recognizer]:
    with Recognizer(path, FakeEncoder()) as opened:
        yield opened


@pytest.fixture
def home(recognizer: Recognizer) -> Recognizer:
    """Ann, bob and cat, three clips each."""
    for who in ("ann", "bob", "cat"):
        enrol(recognizer, who)
    return recognizer


def enrol(recognizer: Recognizer, who: str, takes: int = 3, first: int = 0, **options: Any) -> None:
    recognizer.enroll(who, [voice(who, first + take) for take in range(takes)], **options)


def state(recognizer: Recognizer) -> object:
    gallery = recognizer.gallery
    head = gallery.head()
    return gallery.revision(), gallery.audit(), len(gallery.background()), head and head.id


def likeliest(decision: Decision) -> str:
    """The most probable person, whether above the threshold or not."""
    people = {name: p for name, p in decision.probabilities.items() if name != "unknown"}
    return max(people, key=people.__getitem__)


class NoModel:
    """A method that knows nothing."""

    name = "cosine"
    needs_cohort = True

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> NoModel:  # noqa: ARG002
        self.people = int(enrolment.labels.max()) + 1
        return self

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        return np.cos(1e4 * one_view(embeddings)[:, :1] * np.arange(1, self.people + 1)).astype(np.float32)


# enrolling


def test_enrolling_says_what_is_there_and_what_is_missing(recognizer: Recognizer, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    files = [write_voice(tmp_path, "ann", take) for take in range(2)]
    report = recognizer.enroll("ann", files, progress=lambda *step: steps.append(step))
    assert (report.name, report.added, report.clips) == ("ann", 2, 2)
    clips = recognizer.gallery.clips("ann")
    assert report.seconds == pytest.approx(sum(clip.quality["speech_seconds"] for clip in clips))
    assert report.seconds == pytest.approx(2 * 1.68, abs=0.1)
    a, b = (clip.arrays["embedding"] for clip in clips)
    assert report.cohesion == pytest.approx(float(a @ b), abs=1e-5)
    assert "record 1 more clip, best on another day or in another room" in report.advice
    assert any("3 s of speech so far" in advice for advice in report.advice)
    assert steps == [(2, 2)]
    assert [clip.source for clip in clips] == [str(file) for file in files]
    assert [clip.seconds for clip in clips] == [1.7, 1.7]

    report = recognizer.enroll(" ann ", voice("ann", 2))  # one clip, without a list
    assert (report.name, report.added, report.clips) == ("ann", 1, 3)
    assert not any("more clip" in advice for advice in report.advice)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_poor_clip_is_named_in_the_advice(recognizer: Recognizer, tmp_path: Path) -> None:
    short = write_voice(tmp_path, "word", seconds=0.5)
    report = recognizer.enroll("ann", [voice("ann"), short])
    assert any(advice.startswith("word-0.wav: short: 0.") for advice in report.advice)
    assert not any(advice.startswith("ann-0") and "short" in advice for advice in report.advice)


def test_one_bad_file_and_none_is_enrolled(recognizer: Recognizer, tmp_path: Path) -> None:
    good = [write_voice(tmp_path, "ann", take) for take in range(2)]
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    with pytest.raises(AudioError, match=r"bad\.wav: "):
        recognizer.enroll("ann", [good[0], bad, good[1]])
    assert recognizer.gallery.people() == []
    assert recognizer.gallery.audit() == []
    with pytest.raises(NotEnoughDataError, match="nobody is enrolled; begin with: kith enroll"):
        recognizer.identify(good[0])


def test_duplicates_are_refused_kindly(recognizer: Recognizer, tmp_path: Path) -> None:
    file = write_voice(tmp_path, "ann")
    recognizer.enroll("ann", file)
    before = state(recognizer)
    same = tmp_path / "other-name.flac"
    soundfile.write(same, soundfile.read(file, dtype="int16")[0], 16000)
    with pytest.raises(
        DuplicateClipError, match=r"other-name\.flac: .*enrolled for 'ann' since .*leave it out"
    ):
        recognizer.enroll("bob", [voice("bob"), same])
    with pytest.raises(DuplicateClipError, match="the same recording as"):
        recognizer.enroll("bob", [voice("bob"), voice("bob")])
    assert state(recognizer) == before


def test_no_clip_and_no_name_are_refused(recognizer: Recognizer) -> None:
    with pytest.raises(GalleryError, match="no clip was given for 'ann'"):
        recognizer.enroll("ann", [])
    for name in ("", "unknown"):
        with pytest.raises(GalleryError, match="name"):
            recognizer.enroll(name, voice("ann"))


def test_arrays_are_16_khz(recognizer: Recognizer, tmp_path: Path) -> None:
    audio = voice("ann")
    recognizer.enroll("ann", audio.samples)
    recognizer.enroll("ann", [voice("ann", 1).samples, voice("ann", 2).samples])
    [clip, *_] = recognizer.gallery.clips()
    np.testing.assert_allclose(
        clip.arrays["embedding"], recognizer.encoder.embed([trim(audio)])[0], atol=1e-3
    )
    assert clip.seconds == audio.seconds
    save(tmp_path / "same.wav", audio)
    for same in (np.rint(audio.samples * 32768).astype(np.int16), (tmp_path / "same.wav").read_bytes()):
        with pytest.raises(DuplicateClipError):
            recognizer.enroll("ann", same)
    assert recognizer.identify(voice("ann", 3).samples).score == pytest.approx(
        recognizer.identify(voice("ann", 3)).score, abs=0.01
    )


def trim(audio: Audio) -> Audio:
    return openkith.recognizer.recognizer.trim_silence(audio)


def test_kept_audio_is_flac_of_the_same_recording(recognizer: Recognizer) -> None:
    loud = voice("ann")
    loud = replace(loud, samples=loud.samples / np.abs(loud.samples).max())  # up to full scale
    recognizer.enroll("ann", [loud, voice("ann", 1)], keep_audio=True)
    recognizer.enroll("ann", voice("ann", 2))
    first, second, third = recognizer.gallery.clips()
    for clip, audio in ((first, loud), (second, voice("ann", 1))):
        assert clip.has_audio
        kept = recognizer.gallery.audio(clip.id)
        info = soundfile.info(io.BytesIO(kept))
        assert (info.format, info.samplerate, info.channels) == ("FLAC", 16000, 1)
        assert load(kept).sha256 == clip.sha256 == audio.sha256
        with pytest.raises(DuplicateClipError):
            recognizer.enroll("bob", kept)
    assert not third.has_audio


# encoders


def test_another_encoder_is_refused_with_both_names(home: Recognizer, path: Path) -> None:
    before = state(home)
    with Recognizer(path, FakeEncoder("fake/2")) as other:
        calls: list[Callable[[], object]] = [
            lambda: other.enroll("dan", voice("dan")),
            lambda: other.identify(voice("ann", 5)),
            lambda: other.verify("ann", voice("ann", 5)),
            other.tune,
            other.calibrate,
            lambda: other.calibrate(background=path.parent),
        ]
        for call in calls:
            with pytest.raises(EncoderMismatchError, match=r"fake/1.*fake/2.*kith reembed"):
                call()
    assert state(home) == before


def test_reembed_with_kept_audio(recognizer: Recognizer, path: Path, tmp_path: Path) -> None:
    for who in ("ann", "bob"):
        enrol(recognizer, who, keep_audio=True)
    write_voice(tmp_path / "room", "tv")
    recognizer.calibrate(background=tmp_path / "room")
    recognizer.tune("whitened")
    old = [clip.arrays["embedding"] for clip in recognizer.gallery.clips()]
    steps: list[tuple[int, int]] = []
    with Recognizer(path, FakeEncoder("fake/2")) as other:
        assert other.reembed(lambda *step: steps.append(step)) == 6
        assert steps == [(done, 6) for done in range(1, 7)]
        assert (other.gallery.head(), other.gallery.background()) == (None, [])
        for clip, embedding in zip(other.gallery.clips(), old, strict=True):
            assert clip.encoder == "fake/2"
            assert not np.allclose(clip.arrays["embedding"], embedding)
            expected = FakeEncoder("fake/2").embed([trim(load(other.gallery.audio(clip.id)))])[0]
            np.testing.assert_allclose(clip.arrays["embedding"], expected, atol=1e-5)
        decision = other.identify(voice("ann", 5))
        assert likeliest(decision) == "ann"
        assert decision.method == "cosine"  # no cohort ships for it
        assert decision.reason.endswith(NOT_TUNED)
    with pytest.raises(EncoderMismatchError):
        recognizer.identify(voice("ann", 5))


def test_reembed_without_kept_audio_says_which_clip(recognizer: Recognizer, path: Path) -> None:
    enrol(recognizer, "ann", keep_audio=True)
    enrol(recognizer, "bob")
    before = state(recognizer)
    with (
        Recognizer(path, FakeEncoder("fake/2")) as other,
        pytest.raises(
            GalleryError, match=r"clip 4 of bob was enrolled without --keep-audio \(3 of 6 clips\)"
        ),
    ):
        other.reembed()
    assert state(recognizer) == before


def test_the_encoder_is_loaded_when_it_is_needed(path: Path) -> None:
    with Recognizer(path, "no-such-encoder") as recognizer:
        with pytest.raises(NotEnoughDataError, match="nobody is enrolled"):
            recognizer.identify(voice("ann"))
        with pytest.raises(ConfigError, match="no encoder is named 'no-such-encoder'"):
            recognizer.enroll("ann", voice("ann"))


# the life of a head


def test_before_tuning_it_is_as_norm_and_says_so(home: Recognizer) -> None:
    decision = home.identify(voice("ann", 5))
    assert decision.method == "as-norm"
    assert decision.reason.endswith(NOT_TUNED)
    assert home.verify("ann", voice("ann", 5)).reason.endswith(NOT_TUNED)


def test_a_tuned_head_is_used_by_every_process(home: Recognizer, path: Path) -> None:
    as_norm = home.identify(voice("ann", 5))
    report = home.tune("whitened")
    assert (report.method, report.asked, report.findings) == ("whitened", "whitened", ())
    decision = home.identify(voice("ann", 5))
    assert (decision.method, decision.name) == ("whitened", "ann")
    assert decision.reason == "ann's voice, from 1.7 s of speech"
    assert decision.score != pytest.approx(as_norm.score, abs=0.01)
    assert home.calibrate().calibration == report.calibration  # what was told is what is used
    assert home.identify(voice("stranger", 5)).status == "unknown"
    with Recognizer(path, FakeEncoder()) as other:
        assert same_decision(other.identify(voice("ann", 5)), decision)
    json.dumps(report.to_dict(), allow_nan=False)


def test_auto_uses_the_head_that_wins(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cosine", "as-norm"):
        monkeypatch.setitem(METHODS, name, lambda people, seed, members: NoModel())  # noqa: ARG005
    monkeypatch.setitem(METHODS, "fusion", lambda people, seed, members: WhitenedCosine())  # noqa: ARG005
    report = home.tune()
    assert (report.asked, report.method) == ("auto", "fusion")
    assert set(report.errors) == {"cosine", "as-norm", "fusion"}
    assert report.errors["fusion"].mean < min(report.errors[name].mean for name in ("cosine", "as-norm"))
    assert report.kept.startswith("the tuned head wins on held-out clips (cosine ")
    assert home.identify(voice("ann", 5)).method == "fusion"


def test_auto_stays_with_as_norm_where_the_head_does_not_win(
    home: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "fusion", lambda people, seed, members: NoModel())  # noqa: ARG005
    report = home.tune()
    assert report.method == "as-norm"
    assert report.errors["fusion"].mean > report.errors["as-norm"].mean
    assert report.kept.startswith(
        "cosine with AS-norm stays: the tuned head was clearly worse on held-out clips"
    )
    decision = home.identify(voice("ann", 5))
    assert decision.method == "as-norm"
    assert "no head is tuned" not in decision.reason


CHANGES: dict[str, tuple[Callable[[Recognizer], object], str]] = {  # and what answers for ann then
    "enrol": (lambda home: enrol(home, "dan"), "whitened"),
    "another clip": (lambda home: home.enroll("ann", voice("ann", 8)), "whitened"),
    "drop-clip": (lambda home: home.gallery.drop_clip("bob", home.gallery.clips("bob")[0].id), "as-norm"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_head_is_stale_after_a_change(home: Recognizer, change: str) -> None:
    home.tune("whitened")
    tuned = home.identify(voice("ann", 5))
    make, method = CHANGES[change]
    make(home)
    for stale in (home.identify(voice("ann", 5)), home.verify("ann", voice("ann", 5))):
        assert stale.method == method
        assert stale.reason.endswith(STALE)
    home.tune("whitened")
    fresh = home.identify(voice("ann", 5))
    assert fresh.method == "whitened"
    assert not fresh.reason.endswith(STALE)
    assert fresh.score != pytest.approx(tuned.score, abs=1e-6)


def test_undo_of_the_enrolment_makes_the_head_fresh_again(home: Recognizer) -> None:
    home.tune("whitened")
    tuned = home.identify(voice("ann", 5))
    enrol(home, "dan")
    assert home.identify(voice("dan", 5)).method == "as-norm"
    home.gallery.undo()
    assert same_decision(home.identify(voice("ann", 5)), tuned)
    enrol(home, "dan")
    home.forget("dan")  # whom the head never knew
    assert same_decision(home.identify(voice("ann", 5)), tuned)


def test_forget_leaves_nothing_in_memory_that_another_thread_read_meanwhile(
    home: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = home.gallery.forget

    def read_first(*args: Any, **options: Any) -> Any:
        home.identify(voice("ann", 5))
        return forget(*args, **options)

    monkeypatch.setattr(home.gallery, "forget", read_first)
    home.forget("cat")
    assert home._roster is None
    assert home._known is None


def test_forget_erases_the_head_that_knew_the_person(home: Recognizer) -> None:
    home.tune("whitened")
    receipt = home.forget("cat")
    assert (receipt.name, receipt.clips, receipt.heads) == ("cat", 3, 1)
    decision = home.identify(voice("ann", 5))
    assert (decision.method, set(decision.probabilities)) == ("as-norm", {"ann", "bob", "unknown"})
    assert decision.reason.endswith(NOT_TUNED)
    assert home.identify(voice("cat", 5)).status == "unknown"
    with pytest.raises(UnknownPersonError):
        home.verify("cat", voice("cat", 5))


def test_rename_keeps_the_head(home: Recognizer) -> None:
    home.tune("whitened")
    before = home.identify(voice("ann", 5))
    home.gallery.rename("ann", "Anna")
    after = home.identify(voice("ann", 5))
    assert (after.name, after.method) == ("Anna", "whitened")
    assert after.score == pytest.approx(before.score)
    assert list(after.probabilities) == ["Anna", "bob", "cat", "unknown"]
    assert home.verify("Anna", voice("ann", 5)).accepted


def on_disk(path: Path) -> bytes:
    files = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
    return b"".join(file.read_bytes() for file in files if file.exists())


def traces(secrets: dict[str, bytes], path: Path) -> dict[str, int]:
    """How many of the 16-byte pieces of each secret are on the disk."""
    content = on_disk(path)
    found = {
        key: sum(
            secret[at : at + 16] in content for at in range(0, len(secret) - 15, max(16, len(secret) // 50))
        )
        for key, secret in secrets.items()
    }
    return {key: count for key, count in found.items() if count}


def test_forget_leaves_no_byte_of_person_or_head(home: Recognizer, path: Path) -> None:
    home.tune("whitened")
    gallery = home.gallery
    head = gallery.head()
    assert head is not None
    assert {"scorer/prototypes", "held_out/known"} <= set(head.arrays)
    arrays = {f"head {key}": array for key, array in head.arrays.items()}
    for clip in gallery.clips("bob"):
        arrays |= {f"clip {clip.id} {key}": array for key, array in clip.arrays.items()}
    secrets = {
        key: array.tobytes()
        for key, array in arrays.items()
        if array.dtype.kind == "f" and array.nbytes >= 64
    }
    secrets = {
        key: secret for key, secret in secrets.items() if len(set(secret)) > 16
    }  # not all ones or zeros
    assert {"head scorer/prototypes", "head held_out/known"} <= set(secrets)
    assert traces(secrets, path).keys() == secrets.keys()  # the search does find them
    home.forget("bob")
    assert traces(secrets, path) == {}
    home.identify(voice("ann", 5))
    home.close()
    assert traces(secrets, path) == {}


def test_somebody_enrolled_while_tuning(home: Recognizer, path: Path) -> None:
    home.tune("cosine")
    head = home.gallery.head()
    assert head is not None

    def meanwhile(what: str, done: int, total: int) -> None:  # noqa: ARG001
        if done == 0:
            with Recognizer(path, FakeEncoder()) as other:
                enrol(other, "dan")

    with pytest.raises(GalleryError, match="tune again"):
        home.tune("whitened", progress=meanwhile)
    stored = home.gallery.head()
    assert stored is not None
    assert (stored.id, stored.method) == (head.id, "cosine")
    assert home.tune("whitened").method == "whitened"


def test_tune_learns_from_other_people(
    home: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who, take in (("guest", 0), ("guest", 1), ("aunt", 0)):
        write_voice(tmp_path / "others" / who, who, take)
    cohorts: list[EmbeddingSet] = []
    fit = openkith.recognizer.recognizer.fit_open_set

    def record(method: str, enrolment: EmbeddingSet, cohort: EmbeddingSet, **options: Any) -> object:
        cohorts.append(cohort)
        return fit(method, enrolment, cohort, **options)

    monkeypatch.setattr(openkith.recognizer.recognizer, "fit_open_set", record)
    plain = home.tune("whitened")
    steps: list[tuple[str, int, int]] = []
    more = home.tune("whitened", unknown=tmp_path / "others", progress=lambda *step: steps.append(step))
    before, after = cohorts
    assert (after.n_clips, after.n_speakers) == (before.n_clips + 3, before.n_speakers + 2)
    assert more.calibration.unknown_clips == plain.calibration.unknown_clips + 3
    assert steps[:3] == [(f"embedding {tmp_path / 'others'}", done, 3) for done in range(3)]
    assert home.gallery.background() == []  # learned from, and not kept

    before_error = state(home)
    save(tmp_path / "others" / "aunt" / "1.wav", voice("ann", 0))
    with pytest.raises(
        DuplicateClipError, match=r"1\.wav: enrolled for ann; give recordings of other people"
    ):
        home.tune("whitened", unknown=tmp_path / "others")
    with pytest.raises(ManifestError, match="nowhere: not a folder"):
        home.tune(unknown=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no method is named 'magic'"):
        home.tune("magic")
    assert state(home) == before_error


def test_tune_learns_from_synthetic_voices(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("parselmouth", reason="the extra 'synthesis' is absent")
    cohorts: list[EmbeddingSet] = []
    fit = openkith.recognizer.recognizer.fit_open_set

    def record(method: str, enrolment: EmbeddingSet, cohort: EmbeddingSet, **options: Any) -> object:
        cohorts.append(cohort)
        return fit(method, enrolment, cohort, **options)

    monkeypatch.setattr(openkith.recognizer.recognizer, "fit_open_set", record)
    home.tune("whitened")
    home.tune("whitened", synthetic=2)
    plain, more = cohorts
    assert (more.n_clips, more.n_speakers) == (plain.n_clips + 4, plain.n_speakers + 2)
    with pytest.raises(ConfigError, match="synthetic people"):
        home.tune(synthetic=-1)


def test_the_seed_is_passed_on(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def method(people: int, seed: int, members: int | None) -> WhitenedCosine:  # noqa: ARG001
        assert people == 3
        seeds.append(seed)
        return WhitenedCosine()

    monkeypatch.setitem(METHODS, "whitened", method)
    home.tune("whitened", seed=7)
    assert set(seeds) == {7}


def test_nobody_enrolled(recognizer: Recognizer, tmp_path: Path) -> None:
    write_voice(tmp_path / "room", "tv")
    calls: list[Callable[[], object]] = [
        recognizer.tune,
        recognizer.calibrate,
        lambda: recognizer.calibrate(background=tmp_path / "room"),
        lambda: recognizer.identify(voice("ann")),
    ]
    for call in calls:
        with pytest.raises(NotEnoughDataError, match="nobody is enrolled; begin with: kith enroll NAME CLIP"):
            call()
    with pytest.raises(UnknownPersonError, match="'ann' is not enrolled"):
        recognizer.verify("ann", voice("ann"))
    assert recognizer.gallery.audit() == []


# what is read again


def test_another_process_is_seen_at_once(home: Recognizer, path: Path) -> None:
    assert "dan" not in home.identify(voice("dan", 5)).probabilities
    with Recognizer(path, FakeEncoder()) as other:
        enrol(other, "dan")
        decision = home.identify(voice("dan", 5))
        assert likeliest(decision) == "dan"
        other.calibrate(far=0.2)
        assert home.identify(voice("dan", 5)).threshold < decision.threshold
        other.tune("whitened")
        assert home.identify(voice("dan", 5)).method == "whitened"


@pytest.mark.parametrize("tuned", [False, True])
def test_nothing_is_read_again_where_nothing_changed(
    home: Recognizer, monkeypatch: pytest.MonkeyPatch, tuned: bool
) -> None:
    if tuned:
        home.tune("whitened")
    first, claim = home.identify(voice("ann", 5)), home.verify("ann", voice("ann", 5))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    for name in ("clips", "background", "head", "people", "revision", "setting"):
        monkeypatch.setattr(Gallery, name, refuse)
    assert same_decision(home.identify(voice("ann", 5)), first)
    assert same_decision(home.verify("ann", voice("ann", 5)), claim)


def test_each_probe_is_scored_alone(home: Recognizer) -> None:
    probes = [voice(who, 9) for who in ("ann", "bob", "stranger")] + [voice("ann", 9, seconds=0.3)]
    for method in (None, "whitened"):
        if method:
            home.tune(method)
        alone = [home.identify(probe) for probe in probes]
        for order in permutations(range(len(probes))):
            for i in order:
                assert same_decision(home.identify(probes[i]), alone[i])


# calibrating


def test_a_smaller_rate_is_a_higher_threshold(home: Recognizer, path: Path) -> None:
    for tuned in (False, True):
        if tuned:
            home.tune("whitened")
        reports = [home.calibrate(far) for far in (0.5, 0.2, 0.05, 0.01, 0.001, 0.0001)]
        for name in ("threshold", "verify_threshold"):
            values = [getattr(report.calibration, name) for report in reports]
            assert values == sorted(values)
            assert len(set(values)) == len(values)
        misses = [report.calibration.miss.rate for report in reports]
        assert misses == sorted(misses)
        assert {report.method for report in reports} == {"whitened" if tuned else "as-norm"}
        assert len({round(report.calibration.slope, 9) for report in reports}) == 1
    strict = home.identify(voice("ann", 5)).threshold
    home.calibrate(0.05, verify_far=0.2, unknown_prior=0.9)
    with Recognizer(path, FakeEncoder()) as other:
        decision, claim = other.identify(voice("ann", 5)), other.verify("ann", voice("ann", 5))
    assert decision.threshold < strict
    assert claim.threshold < decision.threshold
    home.calibrate(0.05, verify_far=0.2, unknown_prior=0.1)
    likelier = home.identify(voice("ann", 5))
    assert likelier.probabilities["unknown"] < decision.probabilities["unknown"]
    assert likelier.score == pytest.approx(decision.score)


def test_rates_that_few_clips_cannot_show_are_said_to_be_extrapolated(home: Recognizer) -> None:
    assert home.calibrate(0.05).notes == ("no head is tuned: run kith tune",)
    notes = home.calibrate(0.001).notes
    assert any("80 clips of other people cannot show a rate of 0.10%" in note for note in notes)
    home.tune("whitened")
    report = home.calibrate(0.05)
    assert report.notes == ()
    assert report.basis == dict.fromkeys(("ann", "bob", "cat"), "clips")
    json.dumps(report.to_dict(), allow_nan=False)


def test_tuning_keeps_the_rates(home: Recognizer) -> None:
    home.calibrate(0.03, verify_far=0.02, unknown_prior=0.7)
    calibration = home.tune("whitened").calibration
    assert (calibration.far, calibration.verify_far, calibration.unknown_prior) == (0.03, 0.02, 0.7)


def test_a_rate_that_is_not_given_stays(home: Recognizer) -> None:
    home.calibrate(0.03, verify_far=0.02, unknown_prior=0.7)
    calibration = home.calibrate(0.04).calibration
    assert (calibration.far, calibration.verify_far, calibration.unknown_prior) == (0.04, 0.02, 0.7)


@pytest.mark.parametrize("tuned", [False, True])
def test_background_changes_the_threshold(home: Recognizer, tmp_path: Path, tuned: bool) -> None:
    if tuned:
        home.tune("whitened")
    plain = home.calibrate(0.02).calibration
    room = tmp_path / "room"
    for take in range(4):  # somebody on the TV sounds like ann
        write_voice(room, "ann", 20 + take)
    write_voice(room, "radio", seconds=8.6)  # cut in two
    steps: list[tuple[str, int, int]] = []
    report = home.calibrate(0.02, background=room, progress=lambda *step: steps.append(step))
    assert len(home.gallery.background()) == 6
    assert report.calibration.unknown_clips == plain.unknown_clips + 6
    assert report.calibration.miss.rate > plain.miss.rate  # ann is missed more often now
    if tuned:  # the same scores, against another line
        on_scores = [(each.threshold - each.intercept) / each.slope for each in (plain, report.calibration)]
        assert on_scores[1] > on_scores[0] + 1.0
    assert [step[1:] for step in steps] == [(done, 5) for done in range(5)]
    assert home.identify(voice("ann", 5)).threshold == pytest.approx(report.calibration.threshold)
    if tuned:  # once it is learned from, it is not counted twice
        assert home.tune("whitened").calibration.unknown_clips == plain.unknown_clips + 6
        assert home.calibrate(0.02).calibration.unknown_clips == plain.unknown_clips + 6

    quiet = tmp_path / "quiet"
    for who in ("guest", "aunt"):  # a folder per speaker
        write_voice(quiet / who, who)
    home.calibrate(0.02, background=quiet)
    assert [Path(clip.source).name for clip in home.gallery.background()] == ["aunt-0.wav", "guest-0.wav"]


WRONG: dict[str, tuple[dict[str, Any], type[KithError], str]] = {
    "far 0": ({"far": 0.0}, ConfigError, "far is 0.0"),
    "far 1": ({"far": 1.0}, ConfigError, "far is 1.0"),
    "far nan": ({"far": float("nan")}, ConfigError, "far is nan"),
    "verify": ({"verify_far": -0.1}, ConfigError, "verify_far is -0.1"),
    "prior": ({"unknown_prior": 2.0}, ConfigError, "unknown_prior is 2.0"),
    "no folder": ({"background": "nowhere"}, ManifestError, "nowhere: not a folder"),
    "bad file": ({"background": "bad"}, AudioError, r"zzz\.wav: "),
    "enrolled": ({"background": "enrolled"}, DuplicateClipError, r"ann-0\.wav: enrolled for ann"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_changes_nothing(home: Recognizer, tmp_path: Path, case: str) -> None:
    options, error, message = WRONG[case]
    write_voice(tmp_path / "good", "tv")
    write_voice(tmp_path / "bad", "tv")
    (tmp_path / "bad" / "zzz.wav").write_text("not audio")
    write_voice(tmp_path / "enrolled", "ann", 0)
    background = tmp_path / options.get("background", "good")
    before, answer = state(home), home.identify(voice("ann", 5))
    with pytest.raises(error, match=message):
        home.calibrate(**{**options, "background": background})
    assert state(home) == before
    assert same_decision(home.identify(voice("ann", 5)), answer)


def test_people_with_one_clip_are_named_in_the_notes(recognizer: Recognizer) -> None:
    enrol(recognizer, "ann")
    enrol(recognizer, "bob", takes=1)
    recognizer.enroll("cat", voice("cat", seconds=0.6))
    report = recognizer.calibrate(0.05)
    assert report.basis == {"ann": "clips", "bob": "crops", "cat": "cohort"}
    assert "bob: calibrated from two halves of the only clip; a second clip makes it honest" in report.notes
    assert any(note.startswith("cat: one short clip: calibrated from how other") for note in report.notes)
    for who in ("ann", "bob", "cat"):
        assert likeliest(recognizer.identify(voice(who, 5))) == who


def test_one_short_clip_and_no_cohort_is_a_guess(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", lambda fingerprint: None)  # noqa: ARG005
    with Recognizer(path, FakeEncoder()) as recognizer:
        for who in ("ann", "bob"):
            recognizer.enroll(who, voice(who, seconds=0.6))
        report = recognizer.calibrate(0.05)
        assert (report.method, set(report.basis.values())) == ("cosine", {"none"})
        assert any("the rates are a guess" in note for note in report.notes)
        recognizer.identify(voice("ann", 5))


@pytest.mark.parametrize("takes", [1, 3])
def test_one_voice_under_two_names_is_found(home: Recognizer, takes: int) -> None:
    assert home.calibrate(0.05).findings == ()
    home.enroll("twin", [voice("bob", 10 + take) for take in range(takes)])
    for report in (home.calibrate(0.05), home.tune("whitened")):
        [finding] = report.findings
        assert (finding.kind, finding.names) == ("alike", ("bob", "twin"))
        assert "bob and twin sound too alike" in finding.text


def test_a_wrong_clip_is_found(home: Recognizer) -> None:
    home.enroll("dan", [voice("dan", 0), voice("dan", 1), voice("stranger", 0)])
    wrong = home.gallery.clips("dan")[2]
    for report in (home.calibrate(0.05), home.tune("whitened")):
        [finding] = report.findings
        assert (finding.kind, finding.names, finding.clip) == ("odd-clip", ("dan",), wrong.id)
        assert f"kith drop-clip dan {wrong.id}" in finding.text
    home.gallery.drop_clip("dan", wrong.id)
    assert home.calibrate(0.05).findings == ()


# deciding


def test_people_are_named_and_strangers_refused(home: Recognizer) -> None:
    home.tune("whitened")
    home.calibrate(0.05)
    people = [
        (who, home.identify(voice(who, take))) for who in ("ann", "bob", "cat") for take in range(5, 15)
    ]
    for who, decision in people:
        assert decision.name == who
        assert decision.probability == decision.probabilities[who]
    assert sum(decision.status == "known" for _, decision in people) >= 18
    strangers = [home.identify(voice(f"stranger {i}")) for i in range(40)]
    assert sum(decision.status == "known" for decision in strangers) <= 4
    assert sum(decision.status == "unknown" for decision in strangers) >= 32
    for decision in [*strangers, *(decision for _, decision in people)]:
        assert sum(decision.probabilities.values()) == pytest.approx(1.0)


def test_verify(home: Recognizer) -> None:
    home.tune("whitened")
    right, wrong = home.verify("ann", voice("ann", 5)), home.verify("ann", voice("bob", 5))
    assert (right.accepted, right.name, right.status) == (True, "ann", "known")
    assert (wrong.accepted, wrong.name, wrong.status) == (False, "ann", "unknown")
    assert "more like bob" in wrong.reason
    assert wrong.probability == wrong.probabilities["ann"]
    identified = home.identify(voice("bob", 5))
    assert identified.probabilities == pytest.approx(wrong.probabilities)
    assert home.verify(" ann ", voice("ann", 5)).accepted


def test_verify_of_nobody_offers_the_nearest_names(home: Recognizer) -> None:
    with pytest.raises(UnknownPersonError, match=r"'anne' is not enrolled.*did you mean 'ann'"):
        home.verify("anne", voice("ann", 5))


def test_somebody_forgotten_while_verifying(home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    find = Gallery.person

    def person_then_forget(self: Gallery, name: str) -> object:
        found = find(self, name)
        self.forget(name)
        return found

    monkeypatch.setattr(Gallery, "person", person_then_forget)
    with pytest.raises(GalleryError, match="'ann' was renamed or forgotten just now"):
        home.verify("ann", voice("ann", 5))


def test_a_very_short_clip_is_answered(home: Recognizer) -> None:
    for who in ("ann", "stranger"):
        decision = home.identify(voice(who, 5, seconds=0.15))
        assert decision.speech_seconds == pytest.approx(0.15)
        assert sum(decision.probabilities.values()) == pytest.approx(1.0)
    assert home.verify("ann", voice("ann", 5, seconds=0.15)).speech_seconds == pytest.approx(0.15)


def test_silence_around_a_probe_is_cut(home: Recognizer) -> None:
    probe = voice("ann", 5)
    silence = np.zeros(16000, np.float32)
    padded = replace(probe, samples=np.concatenate([silence, probe.samples, silence]))
    decision, plain = home.identify(padded), home.identify(probe)
    assert decision.speech_seconds == pytest.approx(1.7, abs=0.3)
    assert decision.score == pytest.approx(plain.score, abs=0.5)


@pytest.mark.parametrize("samples", [np.zeros(16000), np.ones(800) * 0.1])
def test_audio_errors_name_the_file(home: Recognizer, tmp_path: Path, samples: np.ndarray) -> None:
    file = tmp_path / "probe.wav"
    soundfile.write(file, samples, 16000)
    for call in (home.identify, partial(home.verify, "ann"), partial(home.enroll, "ann")):
        with pytest.raises(AudioError, match=r"probe\.wav: "):
            call(file)


def test_a_room_without_speech_is_a_background(home: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    hum = 0.001 * np.sin(2 * np.pi * 50 * np.arange(12 * 16000) / 16000)
    hum[5 * 16000 : 10 * 16000] = 0.0
    soundfile.write(tmp_path / "room" / "hum.wav", hum, 16000)
    assert home.calibrate(0.05, background=tmp_path / "room").calibration.unknown_clips > 80


# closing


def test_it_closes_what_it_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Gallery] = []
    monkeypatch.setattr(Gallery, "close", lambda self: closed.append(self))
    with Recognizer(path, FakeEncoder()) as own:
        assert own.gallery.people() == []
    assert closed == [own.gallery]
    given = Gallery(path)
    with Recognizer(given, FakeEncoder()) as other:
        assert other.gallery is given
    assert closed == [own.gallery]


def test_methods_do_not_depend_on_the_scorer(home: Recognizer) -> None:
    """Every method can be asked for, stored and restored."""
    for method in ("cosine", "as-norm", "whitened"):
        assert home.tune(method).method == method
        decision = home.identify(voice("ann", 5))
        assert (decision.method, decision.probabilities["unknown"] < 0.5) == (method, True)


@pytest.mark.slow
def test_the_real_head_on_invented_voices(home: Recognizer, path: Path) -> None:
    assert home.tune("fusion").errors["fusion"].mean < 0.2
    decision = home.identify(voice("ann", 5))
    assert (decision.name, decision.method) == ("ann", "fusion")
    assert home.identify(voice("stranger")).status == "unknown"
    with Recognizer(path, FakeEncoder()) as other:
        assert same_decision(other.identify(voice("ann", 5)), decision, within=1e-3)


# real speech


@pytest.mark.slow
def test_a_real_household(tmp_path: Path, speech: Path, ge2e: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from openkith.data import read_manifest
    from openkith.scoring import shipped_cohort

    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", shipped_cohort)
    manifest = read_manifest(speech / "home-clean.tsv")
    people = manifest.speakers[:4]

    def clips(rows: Any, who: str) -> list[Audio]:
        return [load(row.path, start=row.start, end=row.end) for row in rows if row.speaker == who]

    def answers(recognizer: Recognizer) -> list[Decision]:
        known = [recognizer.identify(clip) for who in people for clip in clips(manifest.test, who)[:4]]
        strangers = [
            recognizer.identify(clips(manifest.test, who)[0]) for who in manifest.unknown_speakers[:12]
        ]
        assert [decision.name for decision in known] == [who for who in people for _ in range(4)]
        assert sum(decision.status == "known" for decision in strangers) <= 2
        return known

    with Recognizer(tmp_path / "home.db", ge2e) as recognizer:
        for who in people:
            report = recognizer.enroll(who, clips(manifest.enroll, who))
            assert report.cohesion is not None
            assert report.cohesion > 0.7
        assert {decision.method for decision in answers(recognizer)} == {"as-norm"}
        tuned = recognizer.tune()
        assert tuned.findings == ()
        assert {decision.method for decision in answers(recognizer)} == {tuned.method}

        recognizer.enroll("twin", clips(manifest.test, people[0])[:3])
        [finding] = recognizer.calibrate().findings
        assert (finding.kind, finding.names) == ("alike", (people[0], "twin"))
        recognizer.forget("twin")
        recognizer.enroll(
            "mixed", [*clips(manifest.test, manifest.speakers[5])[:2], load(manifest.negative[0].path)]
        )
        [finding] = recognizer.calibrate().findings
        assert (finding.kind, finding.clip) == ("odd-clip", recognizer.gallery.clips("mixed")[2].id)


def test_real_speech_enrols_and_is_recognised(
    tmp_path: Path, speech: Path, ge2e: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openkith.scoring import shipped_cohort

    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", shipped_cohort)
    files = {who.name: sorted(who.iterdir())[:3] for who in sorted((speech / "home").iterdir())[:2]}
    with Recognizer(tmp_path / "home.db", ge2e) as recognizer:
        for who, (first, second, _) in files.items():
            recognizer.enroll(who, [first, second])
        for who, (*_, probe) in files.items():
            decision = recognizer.identify(probe)
            assert (decision.status, decision.name, decision.method) == ("known", who, "as-norm")
        stranger = next((speech / "strangers").rglob("*.flac"), None) or next(
            (speech / "strangers").rglob("*.wav")
        )
        assert recognizer.identify(stranger).name is None


def test_calibrating_one_thing_keeps_the_others(home: Recognizer, tmp_path: Path) -> None:
    home.calibrate(0.05, unknown_prior=0.2)
    write_voice(tmp_path / "room", "guest", 0)
    after = home.calibrate(background=tmp_path / "room").calibration
    assert (after.far, after.verify_far, after.unknown_prior) == (0.05, 0.05, 0.2)
    assert home.calibrate(verify_far=0.1).calibration.far == 0.05
