"""Losses: tensors and labels in, a scalar out. Each owns its proxies and gives ``logits(embeddings)``.

Made by name, with `make_loss`, or from their classes. What they share (members, unknown samples, errors) is
`openkith.losses.base.Loss`. The losses of embedding enhancement take an `EnhancementBatch`, and are built by name
with `build_enhancement_loss`; what they share is `openkith.losses.enhancement.EnhancementLoss`. Importing this
package does not load torch; the first loss does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openkith.losses.registry import LOSSES, loss_names, loss_options, make_loss

if TYPE_CHECKING:
    from openkith.losses.arpl import ARPLLoss
    from openkith.losses.base import Loss
    from openkith.losses.contrastive import ContrastiveLoss
    from openkith.losses.enhancement import EnhancementBatch, EnhancementLoss
    from openkith.losses.enhancement_registry import (
        ENHANCEMENT_LOSSES,
        build_enhancement_loss,
        enhancement_loss_class,
        enhancement_loss_names,
        enhancement_loss_options,
    )
    from openkith.losses.enhancement_softmax import EnhancementSoftmaxLoss, MSESoftmaxLoss
    from openkith.losses.gan import ConfusingSamples
    from openkith.losses.gcpl import GCPLLoss
    from openkith.losses.mmd import MMDCosineLoss, MMDMSELoss
    from openkith.losses.regression import CosineLoss, MAELoss, MSECosineLoss, MSELoss
    from openkith.losses.rpl import RPLLoss
    from openkith.losses.softmax import AAMSoftmaxLoss, AMSoftmaxLoss, ASoftmaxLoss, SoftmaxLoss
    from openkith.losses.speaker_rpl import SpeakerRPLLoss
    from openkith.losses.speaker_rpl_v2 import SpeakerRPLv2Loss
    from openkith.losses.triplet import TripletCosineLoss

_HOMES = {
    "ENHANCEMENT_LOSSES": "openkith.losses.enhancement_registry",
    "AAMSoftmaxLoss": "openkith.losses.softmax",
    "AMSoftmaxLoss": "openkith.losses.softmax",
    "ARPLLoss": "openkith.losses.arpl",
    "ASoftmaxLoss": "openkith.losses.softmax",
    "ConfusingSamples": "openkith.losses.gan",
    "ContrastiveLoss": "openkith.losses.contrastive",
    "CosineLoss": "openkith.losses.regression",
    "EnhancementBatch": "openkith.losses.enhancement",
    "EnhancementLoss": "openkith.losses.enhancement",
    "EnhancementSoftmaxLoss": "openkith.losses.enhancement_softmax",
    "GCPLLoss": "openkith.losses.gcpl",
    "Loss": "openkith.losses.base",
    "MAELoss": "openkith.losses.regression",
    "MMDCosineLoss": "openkith.losses.mmd",
    "MMDMSELoss": "openkith.losses.mmd",
    "MSECosineLoss": "openkith.losses.regression",
    "MSELoss": "openkith.losses.regression",
    "MSESoftmaxLoss": "openkith.losses.enhancement_softmax",
    "RPLLoss": "openkith.losses.rpl",
    "SoftmaxLoss": "openkith.losses.softmax",
    "SpeakerRPLLoss": "openkith.losses.speaker_rpl",
    "SpeakerRPLv2Loss": "openkith.losses.speaker_rpl_v2",
    "TripletCosineLoss": "openkith.losses.triplet",
    "build_enhancement_loss": "openkith.losses.enhancement_registry",
    "enhancement_loss_class": "openkith.losses.enhancement_registry",
    "enhancement_loss_names": "openkith.losses.enhancement_registry",
    "enhancement_loss_options": "openkith.losses.enhancement_registry",
}

__all__ = [
    "ENHANCEMENT_LOSSES",
    "LOSSES",
    "AAMSoftmaxLoss",
    "AMSoftmaxLoss",
    "ARPLLoss",
    "ASoftmaxLoss",
    "ConfusingSamples",
    "ContrastiveLoss",
    "CosineLoss",
    "EnhancementBatch",
    "EnhancementLoss",
    "EnhancementSoftmaxLoss",
    "GCPLLoss",
    "Loss",
    "MAELoss",
    "MMDCosineLoss",
    "MMDMSELoss",
    "MSECosineLoss",
    "MSELoss",
    "MSESoftmaxLoss",
    "RPLLoss",
    "SoftmaxLoss",
    "SpeakerRPLLoss",
    "SpeakerRPLv2Loss",
    "TripletCosineLoss",
    "build_enhancement_loss",
    "enhancement_loss_class",
    "enhancement_loss_names",
    "enhancement_loss_options",
    "loss_names",
    "loss_options",
    "make_loss",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openkith.losses' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
