"""Few-shot tuning of a small head on frozen embeddings."""

from openkith.tuning.tuner import SpeakerRPL, SpeakerRPLPlus, TuneConfig

__all__ = ["SpeakerRPL", "SpeakerRPLPlus", "TuneConfig"]
