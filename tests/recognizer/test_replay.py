from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import openkith.recognizer.replay
import openkith.recognizer.roster
from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.audio.fingerprint import FingerprintIndex, fingerprint
from openkith.gallery import Gallery
from openkith.gallery.recordings import Recording
from openkith.recognizer import Recognizer
from openkith.recognizer.replay import KnownRecordings, warnings_for
from openkith.recognizer.review import Review, ReviewSettings

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)


@pytest.fixture
def recognizer(tmp_path: Path) -> Iterator[Recognizer]:
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as opened:
        yield opened


def changed(audio: Audio, samples: np.ndarray) -> Audio:
    return replace(audio, samples=np.ascontiguousarray(samples, np.float32))


def known(*clips: Audio, **quality: float) -> KnownRecordings:
    """A gallery of one person, ann, with these clips."""
    recordings = tuple(
        Recording(("enrolment", i), 7, clip.sha256, quality, fingerprint(clip))
        for i, clip in enumerate(clips, 1)
    )
    return KnownRecordings(
        0, {"ann": 7}, recordings, FingerprintIndex([one.fingerprint for one in recordings])
    )


def warned(probe: Audio, gallery: KnownRecordings, name: str | None = "ann") -> list[str]:
    """What is warned of, by the word before the colon."""
    return [warning.split(":")[0] for warning in warnings_for(probe, trim_silence(probe), name, gallery)]


def speechlike(seed: int = 0, seconds: float = 4.0, depth_db: float = 8.0) -> Audio:
    """Noise that falls 6 dB an octave, louder and softer every 20 ms."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 50) * 320
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 200.0)
    x = np.fft.irfft(spectrum, n)
    x *= np.repeat(10 ** (rng.normal(0, depth_db, n // 320) / 20), 320) * 0.05 / x.std()
    return Audio(np.clip(x, -0.99, 0.99).astype(np.float32), "x")


def below(audio: Audio, hertz: float) -> Audio:
    spectrum = np.fft.rfft(audio.samples)
    spectrum[np.fft.rfftfreq(len(audio.samples), 1 / SAMPLE_RATE) > hertz] = 0
    return changed(audio, np.fft.irfft(spectrum, len(audio.samples)))


# through the recogniser


def test_a_known_clip_is_noticed_by_identify_and_verify(recognizer: Recognizer) -> None:
    clips = [voice("ann", take, 3.0) for take in range(3)]
    recognizer.enroll("ann", clips)
    ids = [clip.id for clip in recognizer.gallery.clips("ann")]
    same = f"replay: the same recording as enrolled clip {ids[1]}"
    assert recognizer.identify(clips[1]).warnings == (same,)
    assert recognizer.verify("ann", clips[1]).warnings == (same,)
    copy = f"replay: a copy or a part of enrolled clip {ids[1]}"
    assert copy in recognizer.identify(changed(clips[1], 0.3 * clips[1].samples[5_000:40_000])).warnings
    assert recognizer.identify(voice("eve", 0, 3.0)).warnings == ()
    assert recognizer.identify(clips[1]).to_dict()["warnings"] == [same]


def test_it_changes_nothing_of_the_answer(recognizer: Recognizer) -> None:
    for who in ("ann", "bob"):
        recognizer.enroll(who, [voice(who, take, 3.0) for take in range(3)])
    clip = voice("ann", 0, 3.0)
    decision = recognizer.identify(clip)
    assert (decision.status, decision.name) == ("known", "ann")
    assert decision.warnings
    assert "ann" not in " ".join(decision.warnings)


def test_forgotten_and_new_clips(recognizer: Recognizer) -> None:
    ann, bob = voice("ann", 0, 3.0), voice("bob", 0, 3.0)
    recognizer.enroll("ann", [ann, voice("ann", 1, 3.0)])
    assert recognizer.identify(bob).warnings == ()
    recognizer.enroll("bob", [bob, voice("bob", 1, 3.0)])
    assert recognizer.identify(bob).warnings != ()
    recognizer.forget("ann")
    assert recognizer.identify(ann).warnings == ()
    assert recognizer.identify(bob).warnings != ()


def test_what_is_kept_for_review_is_known_too(recognizer: Recognizer) -> None:
    recognizer.enroll("ann", [voice("ann", take, 3.0) for take in range(3)])
    review = Review(recognizer)
    review.change_settings(ReviewSettings(keep=True))
    stranger = voice("eve", 0, 3.0)
    decision = recognizer.identify(stranger)
    assert decision.warnings == ()
    number = review.offer(stranger, decision)
    assert number is not None
    again = recognizer.identify(stranger).warnings
    assert again == (f"replay: the same recording as recording {number} kept for review",)


def test_clips_from_before_there_were_fingerprints(recognizer: Recognizer) -> None:
    """They are known by their SHA-256 alone."""
    clip = voice("ann", 0, 3.0)
    recognizer.enroll("ann", [clip, voice("ann", 1, 3.0)], keep_audio=True)
    gallery = recognizer.gallery
    arrays = {one.id: dict(one.arrays) for one in gallery.clips()}
    for own in arrays.values():
        del own["fingerprint"]
    gallery.replace_arrays(arrays, recognizer.encoder.fingerprint)
    assert "the same recording" in recognizer.identify(clip).warnings[0]
    louder = changed(clip, 0.5 * clip.samples)
    assert not any("replay" in warning for warning in recognizer.identify(louder).warnings)
    recognizer.reembed()  # which makes them
    assert all(len(one.arrays["fingerprint"]) > 200 for one in gallery.clips())
    assert any("a copy" in warning for warning in recognizer.identify(louder).warnings)


def test_recordings_are_read_once(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = openkith.recognizer.replay.read_recordings

    def count(gallery: Gallery, keys: set[tuple[str, int]]) -> list[Recording]:
        read.append(len(keys))
        return original(gallery, keys)  # type: ignore[arg-type]

    monkeypatch.setattr(openkith.recognizer.replay, "read_recordings", count)
    recognizer.enroll("ann", [voice("ann", take) for take in range(3)])
    for take in range(3, 6):
        recognizer.identify(voice("ann", take))
    assert read == [3]
    recognizer.enroll("ann", [voice("ann", 9)])
    recognizer.identify(voice("ann", 6))
    assert read == [3, 1]
    recognizer.gallery.rename("ann", "anne")
    recognizer.identify(voice("ann", 7))
    assert read == [3, 1, 0]


# the checks


def test_an_honest_clip_is_not_warned_of() -> None:
    gallery = known(speechlike(1), speechlike(2), bandwidth_hz=8000.0, clipped=0.0)
    assert warned(speechlike(3), gallery) == []
    assert warned(speechlike(3), known()) == []
    assert warned(speechlike(3, 0.3), gallery) == []


@pytest.mark.parametrize(
    ("usual_hz", "edge", "expected"),
    [(8000.0, 3400, ["cut off"]), (8000.0, 4000, ["cut off"]), (8000.0, 6500, []), (4000.0, 3400, [])],
)
def test_a_spectrum_that_ends_below_that_of_the_clips(
    usual_hz: float, edge: float, expected: list[str]
) -> None:
    gallery = known(speechlike(1), bandwidth_hz=usual_hz)
    assert warned(below(speechlike(3), edge), gallery) == expected
    assert warned(below(speechlike(3), edge), gallery, None) == []  # nobody to compare with
    assert warned(below(speechlike(3), edge), gallery, "somebody new") == []


def test_the_usual_bandwidth_is_the_median() -> None:
    gallery = known(speechlike(1), speechlike(2), speechlike(4))
    own = tuple(
        replace(recording, quality={"bandwidth_hz": hertz})
        for hertz, recording in zip((8000.0, 3000.0, 7000.0), gallery.recordings, strict=True)
    )
    gallery = replace(gallery, recordings=own)
    assert gallery.usual("ann", "bandwidth_hz") == 7000.0
    assert gallery.usual("ann", "snr_db") is None
    assert gallery.usual("bob", "bandwidth_hz") is None
    assert gallery.usual(None, "bandwidth_hz") is None


def test_a_loudness_that_hardly_changes() -> None:
    gallery = known(speechlike(1))
    assert warned(speechlike(3, depth_db=0.5), gallery) == ["even"]
    assert warned(speechlike(3, seconds=1.2, depth_db=0.5), gallery) == []  # too short to say


@pytest.mark.parametrize(("usual", "expected"), [(0.0, ["overdriven"]), (0.02, [])])
def test_overdriven(usual: float, expected: list[str]) -> None:
    gallery = known(speechlike(1), clipped=usual)
    loud = speechlike(3)
    loud = changed(loud, np.clip(20 * loud.samples, -0.9, 0.9))
    assert warned(loud, gallery) == expected
    assert (
        warned(replace(loud, clipped=0.0), gallery) == []
    )  # measured before resampling, where that is known


# real speech


def test_real_clips_and_their_copies(speech: Path) -> None:
    """Five people: nothing is warned of in their other clips, and every copy is noticed."""
    folders = [sorted(folder.glob("*.flac")) for folder in sorted((speech / "home").iterdir())[:5]]
    enrolled = [load(paths[0]) for paths in folders]
    gallery = known(*enrolled, bandwidth_hz=8000.0, clipped=0.0)
    for number, paths in enumerate(folders, 1):
        for path in paths[1:4]:
            probe = load(path)
            assert warnings_for(probe, trim_silence(probe), "ann", gallery) == ()
        x = enrolled[number - 1].samples
        eight_bits = changed(enrolled[0], np.round(128 * x) / 128)
        for copy in (changed(enrolled[0], 0.1 * x[4_000:-9_000]), eight_bits):
            said = warnings_for(copy, trim_silence(copy), "ann", gallery)
            assert said[0] == f"replay: a copy or a part of enrolled clip {number}"
