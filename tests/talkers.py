"""Invented talkers whose voice is in how their sounds alternate: no weights, milliseconds.

Neural scoring normalises each mel band over time, so that what stays the same in a clip, such as the envelope of
`voices.voice`, is gone. A talker here has two sounds of its own, said by turns.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from openkith.audio import SAMPLE_RATE, save

NODES = np.log(np.geomspace(150, 7000, 8))  # log Hz
SPREAD_DB = 12.0
TURN = (0.06, 0.14)  # seconds


def talk(who: str, take: int = 0, seconds: float = 1.2) -> np.ndarray:
    """A take of a talker, (n,) float32 at 16 kHz."""
    name = zlib.crc32(who.encode())
    person, rng = np.random.default_rng(name), np.random.default_rng([name, take])
    sounds, pitch = person.normal(0, SPREAD_DB, (2, len(NODES))), person.uniform(100, 220)
    n = round(seconds * SAMPLE_RATE)
    pulses = 0.1 * rng.standard_normal(n)
    pulses[:: int(SAMPLE_RATE / pitch)] += 1
    spectrum, at = np.fft.rfft(pulses), np.log(np.fft.rfftfreq(n, 1 / SAMPLE_RATE) + 1)
    first, second = (np.fft.irfft(spectrum * 10 ** (np.interp(at, NODES, x) / 20), n) for x in sounds)
    share, begin, turn = np.zeros(n), 0, rng.random() < 0.5
    while begin < n:
        end = begin + round(rng.uniform(*TURN) * SAMPLE_RATE)
        share[begin:end], begin, turn = turn, end, not turn
    window = np.hanning(320)
    share = np.convolve(share, window / window.sum(), "same")
    x = share * first + (1 - share) * second
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


def write_talkers(root: Path, names: Iterable[str], takes: int, seconds: float = 1.2) -> Path:
    """A folder per talker with files 0.wav, 1.wav and so on."""
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for take in range(takes):
            save(root / name / f"{take}.wav", talk(name, take, seconds))
    return root
