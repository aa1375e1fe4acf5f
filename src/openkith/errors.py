"""Every error that openkith raises on purpose.

The tree::

    KithError
      InputError                   something the user gave is wrong; the message names it and the remedy
        AudioError                 a file or array is not usable audio
        ManifestError              a manifest, list or corpus folder is malformed
        ConfigError                an unknown key, a wrong type, a value out of range
      GalleryError                 the gallery refuses
        UnknownPersonError         no such person
        DuplicateClipError         the same audio is enrolled already
        EncoderMismatchError       embeddings of two encoders would be mixed
      WeightsError                 a model's weights cannot be had, or are not what they claim to be
      NotEnoughDataError           too few people, clips or cohort embeddings for what was asked
      MissingDependencyError       an optional package is not installed (also an ImportError)

A message is one line: what is wrong, where (file, row, field), and what to do about it. The command line
prints that line and ends with exit code 2.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "AudioError",
    "ConfigError",
    "DuplicateClipError",
    "EncoderMismatchError",
    "GalleryError",
    "InputError",
    "KithError",
    "ManifestError",
    "MissingDependencyError",
    "NotEnoughDataError",
    "UnknownPersonError",
    "WeightsError",
    "require",
]


class KithError(Exception):
    """Base class of every error that openkith raises on purpose."""


class InputError(KithError):
    """Something that the user gave is wrong."""


class AudioError(InputError):
    """A file, byte string or array is not usable audio."""


class ManifestError(InputError):
    """A manifest, list or corpus folder is malformed."""


class ConfigError(InputError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class GalleryError(KithError):
    """The gallery refuses, or cannot be opened."""


class UnknownPersonError(GalleryError):
    """No person of that name is enrolled."""


class DuplicateClipError(GalleryError):
    """The same audio is in the gallery already."""


class EncoderMismatchError(GalleryError):
    """Embeddings of two different encoders would be mixed."""


class WeightsError(KithError):
    """A model's weights cannot be had, or are not what they claim to be."""


class NotEnoughDataError(KithError):
    """Too few people, clips or cohort embeddings for what was asked."""


class MissingDependencyError(KithError, ImportError):
    """An optional package is not installed."""


def require(package: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say how to get it.

    Args:
        package: The module to import, for example ``"av"``.
        extra: The extra of openkith that brings it, for example ``"media"``.
        purpose: What it is needed for, completing "... needs the package".

    Raises:
        MissingDependencyError: The package is not installed; the message has the pip line.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package {package!r}: pip install 'openkith[{extra}]'"
        ) from error
