"""Every error that openkith raises on purpose.

The tree::

    KithError
      InputError                   something the user gave is wrong; the message names it and the remedy
        AudioError                 a file or array is not usable audio
        ManifestError              a manifest, list or corpus folder is malformed
        ConfigError                an unknown key, a wrong type, a value out of range
        IdempotencyError           an idempotency key was used before, for another request
      GalleryError                 the gallery refuses
        UnknownPersonError         no such person
        UnknownItemError           no such clip, job, key or recording for review
        DuplicateClipError         the same audio is enrolled already
        EncoderMismatchError       embeddings of two encoders would be mixed
        EncryptionError            it is encrypted otherwise than was said, or a value does not open
        ChangedError               somebody else changed it since it was read
        BusyError                  the same is being done already; later it can be done again
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
    "BusyError",
    "ChangedError",
    "ConfigError",
    "DuplicateClipError",
    "EncoderMismatchError",
    "EncryptionError",
    "GalleryError",
    "IdempotencyError",
    "InputError",
    "KithError",
    "ManifestError",
    "MissingDependencyError",
    "NotEnoughDataError",
    "UnknownItemError",
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


class IdempotencyError(InputError):
    """An idempotency key was used before, for another request."""


class GalleryError(KithError):
    """The gallery refuses, or cannot be opened."""


class UnknownPersonError(GalleryError):
    """No person of that name is enrolled."""


class UnknownItemError(GalleryError):
    """The gallery has no such clip, job, key or recording for review."""


class DuplicateClipError(GalleryError):
    """The same audio is in the gallery already."""


class EncoderMismatchError(GalleryError):
    """Embeddings of two different encoders would be mixed."""


class EncryptionError(GalleryError):
    """The gallery is encrypted otherwise than this process was told, or a value of it does not open."""


class ChangedError(GalleryError):
    """Somebody else changed it since it was read."""


class BusyError(GalleryError):
    """The same is being done already; later it can be done again."""


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
