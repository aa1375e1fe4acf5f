"""Losses: tensors and labels in, a scalar out. Each owns its proxies and gives ``logits(embeddings)``."""

from openkith.losses.speaker_rpl import SpeakerRPLLoss

__all__ = ["SpeakerRPLLoss"]
