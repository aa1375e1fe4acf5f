"""Losses: tensors and labels in, a scalar out. Each owns its proxies and gives ``logits(embeddings)``.

Made by name, with `make_loss`, or from their classes. What they share (members, unknown samples, errors) is
`openkith.losses.base.Loss`. Importing this package does not load torch; the first loss does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openkith.losses.registry import LOSSES, loss_names, loss_options, make_loss

if TYPE_CHECKING:
    from openkith.losses.arpl import ARPLLoss
    from openkith.losses.base import Loss
    from openkith.losses.gan import ConfusingSamples
    from openkith.losses.gcpl import GCPLLoss
    from openkith.losses.rpl import RPLLoss
    from openkith.losses.softmax import AAMSoftmaxLoss, AMSoftmaxLoss, ASoftmaxLoss, SoftmaxLoss
    from openkith.losses.speaker_rpl import SpeakerRPLLoss
    from openkith.losses.speaker_rpl_v2 import SpeakerRPLv2Loss

_HOMES = {
    "AAMSoftmaxLoss": "openkith.losses.softmax",
    "AMSoftmaxLoss": "openkith.losses.softmax",
    "ARPLLoss": "openkith.losses.arpl",
    "ASoftmaxLoss": "openkith.losses.softmax",
    "ConfusingSamples": "openkith.losses.gan",
    "GCPLLoss": "openkith.losses.gcpl",
    "Loss": "openkith.losses.base",
    "RPLLoss": "openkith.losses.rpl",
    "SoftmaxLoss": "openkith.losses.softmax",
    "SpeakerRPLLoss": "openkith.losses.speaker_rpl",
    "SpeakerRPLv2Loss": "openkith.losses.speaker_rpl_v2",
}

__all__ = [
    "LOSSES",
    "AAMSoftmaxLoss",
    "AMSoftmaxLoss",
    "ARPLLoss",
    "ASoftmaxLoss",
    "ConfusingSamples",
    "GCPLLoss",
    "Loss",
    "RPLLoss",
    "SoftmaxLoss",
    "SpeakerRPLLoss",
    "SpeakerRPLv2Loss",
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
