"""Is a probe a recording that was played again? What speaks for it is said with the decision, and decides nothing.

Three checks, each cheap beside embedding the probe:

1. The same recording as an enrolled clip or one that was kept for review: the same samples (SHA-256), or a copy that
   was turned up or down, coded or cut (`openkith.audio.fingerprint`).
2. A spectrum that ends far below where the person's clips reach, as a telephone, a small loudspeaker or a coder
   leaves it.
3. A loudness that hardly changes, or overdriven peaks that the person's clips have not.

On `home-clean`, `home-short` and `home-noisy` none of 604 test clips is warned of (``benchmarks/live.py``). What these
checks cannot notice: a recording of which the gallery has no copy, played through a good loudspeaker, and a voice that
was synthesised. See ``docs/security.md``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from openkith.audio import Audio, measure_quality
from openkith.audio.clipping import clipped_share
from openkith.audio.cutoff import spectral_edge
from openkith.audio.fingerprint import FingerprintIndex, fingerprint
from openkith.audio.stream import SAMPLE_RATE
from openkith.gallery import Gallery
from openkith.gallery.recordings import Recording, RecordingKey, read_recordings, recording_keys

__all__ = ["KnownRecordings", "warnings_for"]

WIDE_HZ = 6000.0  # clips of a person that reach so far
CUT_SHARE = 0.65  # of that: a probe that ends there was cut
CUT_DB = 20.0  # by which it falls there; honest clips whose speech ends so low fall by less
CLIPPED_SHARE = 0.03  # of the samples in flat tops
USUAL_CLIPPED = (
    0.01  # of the samples of the person's clips, above which overdriving is their microphone's way
)
LEVEL_SAMPLES = SAMPLE_RATE // 50  # 20 ms, over which a level is measured
LEAST_SECONDS = 1.5  # of speech, that loudness is judged by
EVEN_DB = (
    2.0  # standard deviation of the level; in honest clips, with noise or without, it is 3.3 dB and more
)
TINY = 1e-10


@dataclass(frozen=True, eq=False)
class KnownRecordings:
    """What is known of the recordings in a gallery.

    Attributes:
        version: Of the gallery, whatever the caller tells it by.
        people: Everybody's number by name.
        recordings: Enrolled clips, and what was kept for review.
        index: Of their fingerprints.
    """

    version: object
    people: Mapping[str, int]
    recordings: tuple[Recording, ...]
    index: FingerprintIndex

    @classmethod
    def of(cls, gallery: Gallery, version: object, before: Self | None = None) -> Self:
        """Read those that are there now; what ``before`` has of them is not read again.

        Raises:
            GalleryError: A stored one is damaged.
        """
        people = {person.name: person.id for person in gallery.people()}
        there = recording_keys(gallery)
        old = before.recordings if before else ()
        kept = {known.key: known for known in old if known.key in there}
        new = {known.key: known for known in read_recordings(gallery, there - kept.keys())}
        if before is not None and not new and len(kept) == len(old):
            return replace(before, version=version, people=people)
        recordings = tuple({**kept, **new}.values())
        return cls(version, people, recordings, FingerprintIndex([known.fingerprint for known in recordings]))

    def copy_of(self, audio: Audio) -> tuple[RecordingKey, bool] | None:
        """The recording that a probe is a copy of, and whether it is one to the last sample; None: of none."""
        sha256 = audio.sha256
        for known in self.recordings:
            if known.sha256 == sha256:
                return known.key, True
        match = self.index.find(fingerprint(audio))
        return None if match is None else (self.recordings[match.number].key, False)

    def usual(self, name: str | None, measure: str) -> float | None:
        """The median of a measurement of a person's clips; None where it was not measured, or for nobody."""
        number = self.people.get(name or "")
        if number is None:
            return None
        own = [known for known in self.recordings if known.person_id == number]
        values = [known.quality[measure] for known in own if measure in known.quality]
        return statistics.median(values) if values else None


def warnings_for(audio: Audio, speech: Audio, name: str | None, known: KnownRecordings) -> tuple[str, ...]:
    """What speaks for a replay, a sentence each; empty for nearly every honest clip. No person is named.

    Args:
        audio: The probe.
        speech: The same without its silences.
        name: That it was given, whether for sure or not; None: none.
        known: What the gallery holds.
    """
    return tuple(_warnings(audio, speech, name, known))


def _warnings(audio: Audio, speech: Audio, name: str | None, known: KnownRecordings) -> Iterator[str]:
    copied = known.copy_of(audio)
    if copied is not None:
        (kind, number), exact = copied
        what = f"enrolled clip {number}" if kind == "enrolment" else f"recording {number} kept for review"
        yield f"replay: {'the same recording as' if exact else 'a copy or a part of'} {what}"
    usual_hz = known.usual(name, "bandwidth_hz")
    if usual_hz is not None and usual_hz >= WIDE_HZ:
        edge = spectral_edge(audio)
        if edge.drop_db >= CUT_DB and edge.hz <= CUT_SHARE * usual_hz:
            reach = measure_quality(audio).bandwidth_hz  # a fall with speech above it is no end
            if reach <= CUT_SHARE * usual_hz:
                yield (
                    f"cut off: nothing above {edge.hz / 1000:.1f} kHz, and this person's clips reach "
                    f"{usual_hz / 1000:.1f} kHz; a telephone line, a loudspeaker or a coder"
                )
    spread = _level_spread(speech)
    if spread is not None and spread < EVEN_DB:
        yield f"even: the loudness of the speech hardly changes (by {spread:.1f} dB), as after a compressor"
    clipped = clipped_share(audio.samples) if audio.clipped is None else audio.clipped
    usual_clipped = known.usual(name, "clipped") or 0.0
    if clipped >= CLIPPED_SHARE and usual_clipped < USUAL_CLIPPED:
        yield f"overdriven: {clipped:.0%} of the samples are clipped, and this person's clips are not"


def _level_spread(speech: Audio) -> float | None:
    """Standard deviation in dB of the level of 20 ms; None for too little speech."""
    if speech.seconds < LEAST_SECONDS:
        return None
    frames = speech.samples[: len(speech.samples) // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
    return float(np.std(10.0 * np.log10(np.square(frames).mean(axis=1) + TINY)))
