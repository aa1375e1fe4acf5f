"""openkith: knows the voices it was told about, and says "unknown" to all others.

    from openkith import Recognizer

    recognizer = Recognizer("family.db")
    recognizer.enroll("alice", ["a1.wav", "a2.wav", "a3.wav"])
    recognizer.tune()
    decision = recognizer.identify("who.wav")

Importing this loads neither torch nor matplotlib: each name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from openkith.audio import Audio, load
    from openkith.encoders import load_encoder
    from openkith.errors import KithError
    from openkith.evaluation import evaluate
    from openkith.gallery import Gallery
    from openkith.openset.classifier import OpenSetClassifier
    from openkith.openset.decision import Decision
    from openkith.recognizer import Recognizer

_HOMES = {
    "Audio": "openkith.audio",
    "Decision": "openkith.openset.decision",
    "Gallery": "openkith.gallery",
    "KithError": "openkith.errors",
    "OpenSetClassifier": "openkith.openset.classifier",
    "Recognizer": "openkith.recognizer",
    "evaluate": "openkith.evaluation",
    "load": "openkith.audio",
    "load_encoder": "openkith.encoders",
}

__all__ = [
    "Audio",
    "Decision",
    "Gallery",
    "KithError",
    "OpenSetClassifier",
    "Recognizer",
    "evaluate",
    "load",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openkith' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
