"""From a file, bytes or an array to mono speech at 16 kHz, and what can be said about its quality."""

from __future__ import annotations

from openkith.audio.io import SAMPLE_RATE, Audio, load, save
from openkith.audio.quality import Quality, measure_quality
from openkith.audio.vad import trim_silence

__all__ = ["SAMPLE_RATE", "Audio", "Quality", "load", "measure_quality", "save", "trim_silence"]
