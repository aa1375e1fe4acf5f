"""Many people at once, from a corpus or a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from openkith.audio import Audio, load
from openkith.data import Utterance, read_corpus, read_manifest
from openkith.errors import EncoderMismatchError, KithError, ManifestError, WeightsError
from openkith.openset.model import Progress
from openkith.recognizer import Recognizer
from openkith.recognizer.enrolment import EnrolmentReport

__all__ = ["BulkEnrolment", "enroll_all"]


@dataclass(frozen=True)
class BulkEnrolment:
    """What became of one person.

    Attributes:
        name: The person.
        report: As of `Recognizer.enroll`; None where nothing was stored.
        skipped: Clips that were this person's already.
        error: Why nothing was stored, if something was wrong.
    """

    name: str
    report: EnrolmentReport | None
    skipped: int
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def enroll_all(
    recognizer: Recognizer,
    source: str | Path,
    *,
    keep_audio: bool = False,
    progress: Progress | None = None,
) -> Iterator[BulkEnrolment]:
    """Enrol everybody in a corpus, or in the enroll rows of a manifest, one person after another.

    Each person is enrolled whole or not at all, and one who cannot be does not keep the others out. Clips that a
    person has already are passed over, so that the same call can be made again after something was mended.

    Args:
        recognizer: Whom to enrol with.
        source: A folder that `openkith.data.read_corpus` reads, or a manifest.
        keep_audio: See `Recognizer.enroll`.
        progress: Called with what is being done, clips done and clips in all.

    Yields:
        What became of each person, in the order of their names.

    Raises:
        ManifestError: The folder or manifest cannot be read, or enrols nobody.
        EncoderMismatchError: The gallery holds clips of another encoder.
        WeightsError: The encoder's weights cannot be had.
    """
    people = _people(Path(source))
    total, done = sum(map(len, people.values())), 0
    stored: dict[str | None, set[str]] = {}
    for clip in recognizer.gallery.clips():
        stored.setdefault(clip.person, set()).add(clip.sha256)
    for name in sorted(people):
        if progress:
            progress(f"enrolling {name}", done, total)
        first = done

        def step(clips: int, _: int, name: str = name, first: int = first) -> None:
            if progress:
                progress(f"enrolling {name}", first + clips, total)

        try:
            clips = [_load(utterance) for utterance in people[name]]
            new = [clip for clip in clips if clip.sha256 not in stored.get(name, ())]
            report = recognizer.enroll(name, new, keep_audio=keep_audio, progress=step) if new else None
            outcome = BulkEnrolment(name, report, len(clips) - len(new), None)
        except (EncoderMismatchError, WeightsError):
            raise  # the same for everybody
        except KithError as error:
            outcome = BulkEnrolment(name, None, 0, str(error))
        yield outcome
        done += len(people[name])


def _people(source: Path) -> dict[str, list[Utterance]]:
    if source.is_dir():
        utterances = list(read_corpus(source))
    else:
        rows = read_manifest(source).enroll
        utterances = [Utterance(row.speaker, row.path, row.start, row.end) for row in rows]
    if not utterances:
        raise ManifestError(f"{source}: field 'role': no row is 'enroll'; give the clips to enrol that role")
    people: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        people.setdefault(utterance.speaker, []).append(utterance)
    return people


def _load(utterance: Utterance) -> Audio:
    """The clip, which knows the cut that it is."""
    audio = load(utterance.path, start=utterance.start, end=utterance.end)
    if utterance.start is None and utterance.end is None:
        return audio
    end = "" if utterance.end is None else f"{utterance.end:g}"
    return replace(audio, source=f"{audio.source} [{utterance.start or 0:g}-{end} s]")
