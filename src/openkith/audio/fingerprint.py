"""Acoustic fingerprints: is a recording the same as one heard before, whatever was done to the file?

After J. Haitsma and T. Kalker, "A highly robust audio fingerprinting system", ISMIR 2002, section 4: every 11.6 ms a
word of 32 bits, of 0.37 s of the recording. With E(n, m) the energy of frame n in band m of 33 bands from 300 to
2000 Hz, equally wide on a logarithmic scale, bit m of word n is ::

    E(n, m) - E(n, m + 1) - (E(n - 1, m) - E(n - 1, m + 1)) > 0

Level cancels, and so does any filter as long as it is smooth. Two recordings of one sound differ in few bits once they
are laid over each other; two recordings of one voice, even of one sentence, differ in nearly half of them.
Words of silence are 0 and are compared with nothing. What is played faster or at another pitch is another recording.

On the enrolled and test clips of 10 people (``benchmarks/live.py`` prints them) a copy at another level, coded as MP3,
Ogg, Opus or telephone, in 8 bits, with noise at 20 dB or cut at both ends differs in at most 16 % of its bits, another
clip, over 0.8 s or more, in at least 27 %, however the two are aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from openkith.audio.io import Audio

__all__ = ["HOP_SECONDS", "Fingerprint", "FingerprintIndex", "Match", "fingerprint"]

Fingerprint = NDArray[np.uint32]

RATE = 5000  # Hz, that a recording is resampled to
WINDOW, HOP, FFT = 1856, 58, 2048  # samples at that rate: 0.3712 s, 1/32 of it
HOP_SECONDS = HOP / RATE
BITS = 32
LOWEST_HZ, HIGHEST_HZ = 300.0, 2000.0
EDGES = np.round(np.geomspace(LOWEST_HZ, HIGHEST_HZ, BITS + 2) * FFT / RATE).astype(np.int64)  # FFT bins
SILENT = 1e-4  # of the energy of the loudest frame, -40 dB: below it there is nothing to compare
BLOCK = 1024  # frames that are transformed at a time

LEAST_WORDS = 40  # that two recordings must share: 0.8 s of sound
MOST_ERRORS = 0.2  # share of the bits in which a copy may differ
CANDIDATES = 16  # alignments that are looked at, those with the most words in common
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)  # bits set, of 16


def fingerprint(audio: Audio) -> Fingerprint:
    """The words of a recording, (n,) uint32; empty where it is shorter than 0.39 s.

    Their number is (seconds - 0.37) / 0.0116, rounded down.
    """
    samples = soxr.resample(audio.samples, audio.sample_rate, RATE)
    if len(samples) < WINDOW + HOP:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    energies = np.concatenate([_energies(frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)])
    slopes = energies[:, :-1] - energies[:, 1:]
    bits = np.packbits(slopes[1:] > slopes[:-1], axis=1, bitorder="little")
    words = bits.view("<u4")[:, 0].astype(np.uint32)
    loudness = energies[1:].sum(axis=1)
    words[loudness <= SILENT * loudness.max(initial=0.0)] = 0
    return words


def _energies(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Energy of frames (n, 1856) in the bands, (n, 33)."""
    spectra = scipy.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), FFT, axis=1)
    powers = np.square(spectra.real) + np.square(spectra.imag)
    energies: NDArray[np.float32] = np.add.reduceat(powers[:, : EDGES[-1]], EDGES[:-1], axis=1)
    return energies


@dataclass(frozen=True)
class Match:
    """A recording that was found again.

    Attributes:
        number: Which of the recordings it is, in the order they were given.
        errors: Share of the bits that differ, 0 to `MOST_ERRORS`.
        seconds: Of sound, silences left out, that the two have in common.
    """

    number: int
    errors: float
    seconds: float


class FingerprintIndex:
    """Finds recordings by their fingerprints.

    As in section 5 of the paper: words of the probe that are in a recording too, as they are or but for one bit,
    tell where the two may lie over each other; there all words are compared. Time grows with the logarithm of the
    length of all recordings together.

    Args:
        fingerprints: Of the recordings.
    """

    def __init__(self, fingerprints: Sequence[Fingerprint]) -> None:
        self._prints = [np.asarray(words, np.uint32) for words in fingerprints]
        lengths = [len(words) for words in self._prints]
        words = np.concatenate([np.zeros(0, np.uint32), *self._prints])
        numbers = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        places = np.concatenate([np.zeros(0, np.int32), *(np.arange(n, dtype=np.int32) for n in lengths)])
        order = np.argsort(words, kind="stable")
        order = order[words[order] != 0]
        self._words, self._numbers, self._places = words[order], numbers[order], places[order]

    def find(self, probe: Fingerprint) -> Match | None:
        """The recording that the probe is a copy of, or a part of, or that is a part of it; None if there is none.

        Of several the one with the fewest errors.
        """
        found = [self._compare(probe, number, offset) for number, offset in self._candidates(probe)]
        copies = [match for match in found if match is not None]
        return min(copies, key=lambda match: match.errors, default=None)

    def _candidates(self, probe: Fingerprint) -> list[tuple[int, int]]:
        """Recordings, and the word of each that the probe's first word may lie over, (below 0: before it)."""
        at = np.flatnonzero(probe)
        if not len(at) or not len(self._words):
            return []
        flips = np.concatenate([[0], 1 << np.arange(BITS)]).astype(np.uint32)
        wanted = (probe[at, None] ^ flips).reshape(-1)
        first = np.searchsorted(self._words, wanted)
        hits = np.searchsorted(self._words, wanted, side="right") - first
        rows = np.repeat(first - np.concatenate([[0], np.cumsum(hits)[:-1]]), hits) + np.arange(hits.sum())
        offsets = self._places[rows].astype(np.int64) - np.repeat(np.repeat(at, len(flips)), hits)
        width = 1 << 31
        keys, votes = np.unique(
            self._numbers[rows].astype(np.int64) * width + offsets + width // 2, return_counts=True
        )
        best = keys[np.argsort(-votes, kind="stable")[:CANDIDATES]]
        return [(int(key) // width, int(key) % width - width // 2) for key in best]

    def _compare(self, probe: Fingerprint, number: int, offset: int) -> Match | None:
        """The match at an alignment; None where too little is shared, or too much differs."""
        theirs = self._prints[number][max(0, offset) :]
        ours = probe[max(0, -offset) :][: len(theirs)]
        theirs = theirs[: len(ours)]
        sounding = (ours != 0) & (theirs != 0)
        shared = int(np.count_nonzero(sounding))
        if shared < LEAST_WORDS:
            return None
        differing = np.ascontiguousarray(ours[sounding] ^ theirs[sounding])
        errors = float(_ONES[differing.view(np.uint16)].sum()) / (BITS * shared)
        return Match(number, errors, shared * HOP_SECONDS) if errors <= MOST_ERRORS else None
