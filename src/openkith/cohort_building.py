"""Building an impostor cohort for any encoder, from any corpus of people who are nobody's family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio, load
from openkith.data import Utterance, read_corpus, read_manifest
from openkith.encoders import Encoder
from openkith.encoders.clips.clip_cache import embed_cached, usual_cache
from openkith.errors import AudioError, ConfigError, ManifestError, NotEnoughDataError
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring import EmbeddingSet
from openkith.scoring.cohort import save_cohort, user_cohort_path
from openkith.scoring.holdout import FOLDS

if TYPE_CHECKING:
    from openkith.openset.model import Progress

__all__ = ["MAX_SECONDS", "BuiltCohort", "WrittenCohort", "build_cohort", "write_cohort"]

STRETCH_SECONDS = 4.0
MAX_SECONDS = 12.0  # of each speaker: three stretches
MIN_SPEECH_SECONDS = 0.3  # in a stretch; less is no voice to learn from
MIN_SPEAKERS = FOLDS  # with fewer none can be held out
_BATCH_SPEAKERS = 8  # whose audio is in memory at once


@dataclass(frozen=True, eq=False)
class BuiltCohort:
    """A cohort and what became of the corpus.

    Attributes:
        cohort: Stretches and their copies; labels 0, 1, ... in the order of the speakers' names.
        speakers: How many have a stretch in it.
        stretches: How many there are.
        seconds: Of speech in them.
        skipped: Why a recording or a speaker was left out, a line each.
    """

    cohort: EmbeddingSet
    speakers: int
    stretches: int
    seconds: float
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class WrittenCohort:
    """A cohort that was built and stored.

    Attributes:
        path: The file.
        encoder: Fingerprint of the encoder.
        speakers, stretches, seconds, skipped: See `BuiltCohort`.
        embeddings: Stretches and copies in all.
        found: Whether openkith finds it by itself: whether it is where the user's cohort of this encoder belongs.
    """

    path: Path
    encoder: str
    speakers: int
    stretches: int
    seconds: float
    embeddings: int
    skipped: tuple[str, ...]
    found: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "path": str(self.path), "skipped": list(self.skipped)}


def write_cohort(
    source: str | Path,
    encoder: Encoder,
    out: str | Path | None = None,
    *,
    copies: bool = True,
    max_seconds: float = MAX_SECONDS,
    all_rows: bool = False,
    origin: str | None = None,
    progress: Progress | None = None,
) -> WrittenCohort:
    """Build a cohort and store it where `openkith.scoring.cohort.find_cohort` finds it, or elsewhere.

    Args:
        source, encoder, copies, max_seconds, all_rows, progress: See `build_cohort`.
        out: The file; default: the user's cohort for this encoder, which is replaced.
        origin: What the recordings are and under which licence, stored with them; default: the source's name.

    Raises:
        InputError: The file cannot be written; and what `build_cohort` raises.
    """
    path = user_cohort_path(encoder.fingerprint) if out is None else Path(out)
    built = build_cohort(
        source, encoder, copies=copies, max_seconds=max_seconds, all_rows=all_rows, progress=progress
    )
    if out is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    save_cohort(path, built.cohort, encoder.fingerprint, origin or Path(source).resolve().name)
    return WrittenCohort(
        path=path,
        encoder=encoder.fingerprint,
        speakers=built.speakers,
        stretches=built.stretches,
        seconds=built.seconds,
        embeddings=len(built.cohort),
        skipped=built.skipped,
        found=path.resolve() == user_cohort_path(encoder.fingerprint).resolve(),
    )


def build_cohort(
    source: str | Path,
    encoder: Encoder,
    *,
    copies: bool = True,
    max_seconds: float = MAX_SECONDS,
    all_rows: bool = False,
    progress: Progress | None = None,
) -> BuiltCohort:
    """Embed some stretches of up to 4 s of each speaker, and their degraded copies.

    A speaker's stretches are from as many recordings as can be, from all over the list of them; only where there are
    too few does one recording give several, one after another from its beginning. A recording that is not usable is
    left out, and a stretch without speech too. The same corpus gives the same cohort.

    Args:
        source: A folder that `openkith.data.read_corpus` reads, or a manifest, whose negative rows are taken.
        encoder: Any.
        copies: Whether to make degraded copies too. Back ends that learn from conditions need them.
        max_seconds: Of each speaker, in stretches of 4 s or less.
        all_rows: Take the manifest's other rows as well. Who is enrolled in that manifest is then in the cohort: do not
            evaluate on it.
        progress: Called with what is being done, speakers done and speakers in all.

    Raises:
        ManifestError: The folder or manifest cannot be read, or has no rows to take.
        ConfigError: ``max_seconds`` is not above 0.
        NotEnoughDataError: Fewer than three speakers are left.
    """
    if not max_seconds > 0:
        raise ConfigError(f"max_seconds is {max_seconds}; give seconds above 0, for example {MAX_SECONDS:g}")
    people = _people(Path(source), all_rows)
    n_stretches = max(1, round(max_seconds / STRETCH_SECONDS))
    names = sorted(people)
    number = {name: i for i, name in enumerate(names)}
    rows: list[Mapping[str, npt.NDArray[Any]]] = []
    labels: list[int] = []
    skipped: list[str] = []
    seconds = 0.0
    for first in range(0, len(names), _BATCH_SPEAKERS):
        batch = names[first : first + _BATCH_SPEAKERS]
        if progress:
            progress("embedding speakers", first, len(names))
        clips: list[Audio] = []
        speakers: list[str] = []
        for name in batch:
            own = list(_stretches(people[name], n_stretches, min(STRETCH_SECONDS, max_seconds), skipped))
            clips += own
            speakers += [name] * len(own)
        for embedded, clip, name in zip(
            embed_cached(encoder, clips, copies=copies, cache=usual_cache()), clips, speakers, strict=True
        ):
            if embedded.quality.speech_seconds < MIN_SPEECH_SECONDS and clip.seconds >= 1.0:
                skipped.append(f"{clip.source}: no speech in a stretch of it")
                continue
            kept = embedded.arrays()
            rows.append({key: values for key, values in kept.items() if key != "halves"})
            labels.append(number[name])
            seconds += embedded.speech_seconds
    if progress:
        progress("done", len(names), len(names))
    used = np.unique(labels)
    if len(used) < MIN_SPEAKERS:
        why = f"; first left out: {skipped[0]}" if skipped else ""
        raise NotEnoughDataError(
            f"{source}: speakers with usable speech: {len(used)}, and a cohort needs {MIN_SPEAKERS} (50 or more make a "
            f"good one){why}"
        )
    cohort, _ = embedding_set(rows, np.searchsorted(used, labels).tolist())
    return BuiltCohort(cohort, len(used), len(rows), seconds, tuple(skipped))


def _people(source: Path, all_rows: bool) -> dict[str, list[Utterance]]:
    """Clips of each speaker, each once, in a lasting order."""
    if source.is_dir():
        utterances = list(read_corpus(source))
    else:
        manifest = read_manifest(source)
        rows = manifest.rows if all_rows else manifest.negative
        utterances = [Utterance(row.speaker, row.path, row.start, row.end) for row in rows]
        if not utterances:
            raise ManifestError(
                f"{source}: field 'role': no row is 'negative'; give a corpus of other people, or take all rows"
            )
    people: dict[str, list[Utterance]] = {}
    for utterance in sorted(
        set(utterances), key=lambda u: (u.speaker, u.path.as_posix(), u.start or 0.0, u.end or 0)
    ):
        people.setdefault(utterance.speaker, []).append(utterance)
    return people


def _stretches(clips: Sequence[Utterance], count: int, seconds: float, skipped: list[str]) -> Iterator[Audio]:
    """Up to ``count`` stretches of a speaker, of ``seconds`` or less, each from another recording where that works."""
    evenly = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    order = [*evenly.tolist(), *sorted(set(range(len(clips))) - set(evenly.tolist()))]
    parts: list[list[Audio]] = []
    for index in order:  # those after the first are asked where one of these is not usable
        if len(parts) == len(evenly):
            break
        clip = clips[index]
        try:
            length = load(clip.path, start=clip.start, end=clip.end).seconds
        except AudioError as error:
            skipped.append(str(error))
            continue
        begin = clip.start or 0.0
        part = []
        for i in range(max(1, min(count, int(length / seconds)))):
            try:
                end = begin + min((i + 1) * seconds, length)
                part.append(load(clip.path, start=begin + i * seconds, end=end))
            except AudioError as error:
                skipped.append(str(error))
        parts.append(part)
    taken = [part[i] for i in range(count) for part in parts if i < len(part)]
    yield from taken[:count]
