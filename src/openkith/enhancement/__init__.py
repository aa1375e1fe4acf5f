"""Embedding enhancement: from one clip's embedding, the embedding that many clips of the speaker would give.

Importing this package does not load torch; the first name that needs it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openkith.enhancement.enhancer import Enhancer, NetSpec, shipped_enhancer
    from openkith.enhancement.nets import NETS, build_net, net_names, net_options

_HOMES = {
    "Enhancer": "openkith.enhancement.enhancer",
    "NetSpec": "openkith.enhancement.enhancer",
    "shipped_enhancer": "openkith.enhancement.enhancer",
    "NETS": "openkith.enhancement.nets",
    "build_net": "openkith.enhancement.nets",
    "net_names": "openkith.enhancement.nets",
    "net_options": "openkith.enhancement.nets",
}

__all__ = [
    "NETS",
    "Enhancer",
    "NetSpec",
    "build_net",
    "net_names",
    "net_options",
    "shipped_enhancer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openkith.enhancement' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
