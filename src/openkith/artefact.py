"""A folder of ``config.json`` and one file of tensors, which appears whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from openkith.errors import InputError

__all__ = ["CONFIG_FILE", "write_artefact"]

CONFIG_FILE = "config.json"


def write_artefact(
    folder: str | Path, config: Mapping[str, Any], tensors_file: str, save: Callable[[Path], None]
) -> None:
    """Write an artefact; an earlier one there is replaced once the new one is complete, and stays if that fails.

    Args:
        folder: Its folder, which is made.
        config: Plain values, for JSON.
        tensors_file: Name of the file of tensors; a folder that has none is something else, and is left alone.
        save: Writes that file, at the path it is given, as safetensors do.

    Raises:
        InputError: Something else is there, or the place cannot be written.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    if folder.exists() and not (folder / tensors_file).is_file():
        raise InputError(f"{folder}: there is something else; give a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            new, old = Path(scratch) / "new", Path(scratch) / "old"
            new.mkdir()
            (new / CONFIG_FILE).write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", "utf-8")
            save(new / tensors_file)
            if folder.exists():
                folder.replace(old)
            try:
                new.replace(folder)
            except OSError:
                if old.exists():
                    old.replace(folder)
                raise
    except (OSError, SafetensorError) as error:  # the latter on a full disk
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be written ({reason}); give another folder") from error
