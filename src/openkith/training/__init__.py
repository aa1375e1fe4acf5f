"""The one training loop, for neural scoring, enhancement and encoders. See `train`.

Importing this package loads neither torch nor Lightning Fabric: each name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openkith.training.averaging import average
    from openkith.training.checkpoints import list_checkpoints, read_weights, write_weights
    from openkith.training.config import TrainConfig
    from openkith.training.loop import Trained, train
    from openkith.training.processes import is_first_process
    from openkith.training.seeds import seed_everything
    from openkith.training.settings import Settings, configure, find_config

_HOMES = {
    "Settings": "openkith.training.settings",
    "TrainConfig": "openkith.training.config",
    "Trained": "openkith.training.loop",
    "average": "openkith.training.averaging",
    "is_first_process": "openkith.training.processes",
    "list_checkpoints": "openkith.training.checkpoints",
    "configure": "openkith.training.settings",
    "find_config": "openkith.training.settings",
    "read_weights": "openkith.training.checkpoints",
    "seed_everything": "openkith.training.seeds",
    "train": "openkith.training.loop",
    "write_weights": "openkith.training.checkpoints",
}

__all__ = [
    "Settings",
    "TrainConfig",
    "Trained",
    "average",
    "configure",
    "find_config",
    "is_first_process",
    "list_checkpoints",
    "read_weights",
    "seed_everything",
    "train",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openkith.training' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
