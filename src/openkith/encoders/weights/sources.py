"""Where weights come from: a local path, Hugging Face, ModelScope, or a URL.

Whatever is fetched lies under `openkith.wheels.models_folder`, with a ``source.json`` that says whence and with which
digests; it is written last, and once it is there nothing is asked of the network again. Nothing is run or unpickled
here. ``KITH_OFFLINE=1`` forbids the network.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from openkith.encoders.weights.checkpoints import find_checkpoint
from openkith.encoders.weights.downloads import Progress, file_sha256
from openkith.encoders.weights.hubs import (
    GETTERS,
    HUGGING_FACE,
    LISTERS,
    URL,
    USUAL_REVISION,
    File,
    Order,
    Remote,
)
from openkith.errors import WeightsError
from openkith.locks import locked
from openkith.wheels import models_folder, offline

__all__ = ["cached", "check", "fetch", "fetch_checkpoint", "parse"]

RECORD = "source.json"
_WEIGHTS_SUFFIXES = {".bin", ".ckpt", ".model", ".onnx", ".pt", ".pth", ".safetensors", ".whl", ".zip"}
_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_ID_AND_PATH = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<inside>.+))?")
_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")


def parse(weights: str | Path) -> Path | Remote:
    """What a text means as a source of weights.

    Args:
        weights: A local path; ``"owner/name"`` or ``"hf:owner/name"``, ``"modelscope:owner/name"``, each with
            ``@revision`` and, after a prefix, ``/path/of/a/file``; or a URL, with ``#sha256=...`` for its digest.

    Raises:
        WeightsError: It is none of these, or a path where nothing is.
    """
    text = str(weights)
    if isinstance(weights, Path):
        return _local(weights.expanduser())
    scheme, _, rest = text.partition(":")
    if scheme in ("http", "https"):
        return _parse_url(text)
    if scheme in USUAL_REVISION and (found := _ID_AND_PATH.fullmatch(rest)):
        if found["inside"]:
            _check_path(found["inside"], text)
        return Remote(scheme, found["name"], found["revision"] or USUAL_REVISION[scheme], found["inside"])
    path = Path(text).expanduser()
    hub = _ID.fullmatch(text)
    if (
        path.exists()
        or hub is None
        or path.suffix in _WEIGHTS_SUFFIXES
        or set(hub["name"].split("/")) & {".", ".."}
    ):
        return _local(path)
    return Remote(HUGGING_FACE, hub["name"], hub["revision"] or USUAL_REVISION[HUGGING_FACE])


def fetch(weights: str | Path, *, files: Sequence[str], progress: Progress | None = None) -> Path:
    """The local file or folder of some weights, downloaded where they are not on this machine yet.

    Args:
        weights: See `parse`. A local file or folder is given back as it is.
        files: Globs of what is needed from a repository, as paths in it; a ``*`` stays within a folder.
        progress: Called with what is being done, bytes that are here and bytes in all.

    Returns:
        The file where one is needed, the folder where several are.

    Raises:
        WeightsError: They cannot be had, or are not what the source says they are.
        MissingDependencyError: ``huggingface_hub`` is not installed.
    """
    remote = parse(weights)
    if isinstance(remote, Path):
        return remote
    found = _recorded(remote, files)
    if found is not None:
        return found
    for switch in ("KITH_OFFLINE", *(["HF_HUB_OFFLINE"] if remote.kind == HUGGING_FACE else [])):
        if offline(switch):
            raise WeightsError(
                f"{remote.label} is not in {remote.folder}, and the network is switched off ({switch}); "
                f"run once with it: kith models pull {remote.label}, or copy that folder from another machine"
            )
    try:
        with locked(models_folder() / ".locks" / f"{_slug(remote.folder)}.lock"):
            # Another process may have fetched it meanwhile.
            return _recorded(remote, files) or _download(remote, files, progress)
    except OSError as error:
        raise WeightsError(
            f"{remote.folder}: cannot write the weights there ({error.strerror or error}); "
            "set KITH_MODELS to another folder"
        ) from error


def fetch_checkpoint(weights: str | Path, *, files: Sequence[str]) -> Path:
    """The one file of some weights, downloaded where it is not on this machine yet.

    Args:
        weights: See `parse`.
        files: Globs for it, the most wanted first, both in a repository and in a local folder.

    Raises:
        WeightsError: As `fetch`, and a folder with none such or several.
        MissingDependencyError: ``huggingface_hub`` is not installed.
    """
    return find_checkpoint(fetch(weights, files=files), files)


def cached(weights: str | Path, *, files: Sequence[str]) -> Path | None:
    """What `fetch` would give without the network; None where it would need it."""
    remote = parse(weights)
    return remote if isinstance(remote, Path) else _recorded(remote, files)


def check(weights: str | Path) -> None:
    """Read every file that was fetched from a source again, and compare digests.

    Raises:
        WeightsError: A file is not what was fetched.
    """
    remote = parse(weights)
    if isinstance(remote, Path):
        return
    for name, entry in _record(remote).get("files", {}).items():
        path = remote.folder / name
        if not path.is_file() or file_sha256(path) != entry["sha256"]:
            raise WeightsError(
                f"{path}: damaged since it was fetched; delete {remote.folder} and run: kith models pull {remote.label}"
            )


def _local(path: Path) -> Path:
    if not path.exists():
        raise WeightsError(
            f"{path}: no such weights file or folder; give one, owner/name of a model on Hugging Face, "
            "modelscope:owner/name, or a URL"
        )
    return path


def _parse_url(text: str) -> Remote:
    url, _, fragment = text.partition("#")
    if fragment and not (digest := _DIGEST.fullmatch(fragment)):
        raise WeightsError(f"{text}: after # there can be sha256= and 64 hexadecimal digits only")
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not urlsplit(url).hostname or not name:
        raise WeightsError(f"{text}: the address of no file; give one that ends in the file's name")
    return Remote(URL, url, inside=name, sha256=digest[1].lower() if fragment and digest else None)


def _download(remote: Remote, patterns: Sequence[str], progress: Progress | None) -> Path:
    """Fetch what is missing of a source, write the record of it, and give the file or folder."""
    listing = LISTERS[remote.kind](remote)
    wanted = listing.named(remote, patterns)
    record = _record(remote)
    before = record["files"] if record.get("revision") == listing.revision else {}
    got: dict[str, dict[str, Any]] = {}
    for file in wanted:
        target = remote.folder / _check_path(file.path, remote.label)
        expected = remote.published.get(file.path) or file.sha256
        if not (target.is_file() and expected is not None and file_sha256(target) == expected):
            if file.path in before:  # it was whole once: what is there now is damaged
                target.unlink(missing_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            found = GETTERS[remote.kind](Order(remote, listing.revision, file, target, expected, progress))
            _check(file, target, found, expected, remote)
        got[file.path] = {"size": target.stat().st_size, "sha256": file_sha256(target)}
    content = {
        "source": remote.label,
        "revision": listing.revision,
        "listing": [file.path for file in listing.files],
        "files": {**before, **got},
    }
    _write_record(remote.folder, content)
    return remote.folder / wanted[0].path if len(wanted) == 1 else remote.folder


def _check(file: File, target: Path, found: str, expected: str | None, remote: Remote) -> None:
    """Refuse, and delete, a file that is not what the source said it has."""
    size = target.stat().st_size
    wrong = []
    if expected is not None and expected != found:
        wrong.append(f"SHA-256 {found[:12]}... instead of {expected[:12]}...")
    if file.size is not None and file.size != size:
        wrong.append(f"{size} instead of {file.size} bytes")
    if file.blob is not None and file.blob != _git_blob(target):
        wrong.append("another git digest")
    if wrong:
        target.unlink()
        raise WeightsError(
            f"{file.path} of {remote.label} has {', '.join(wrong)}, and is not used; it was changed there or on the way"
        )


def _git_blob(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _recorded(remote: Remote, patterns: Sequence[str]) -> Path | None:
    """The file or folder, where all that is needed is there in full length."""
    record = _record(remote)
    wanted = remote.wanted(record.get("listing", ()), patterns)
    entries = [record["files"].get(name) for name in wanted]
    paths = [remote.folder / name for name in wanted]
    if not paths or not all(
        entry is not None and path.is_file() and path.stat().st_size == entry["size"]
        for entry, path in zip(entries, paths, strict=True)
    ):
        return None
    if remote.sha256 is not None and entries[0]["sha256"] != remote.sha256:
        return None
    return paths[0] if len(paths) == 1 else remote.folder


def _record(remote: Remote) -> Mapping[str, Any]:
    try:
        content = json.loads((remote.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    ours = isinstance(content, dict) and content.get("source") == remote.label
    return content if ours and isinstance(content.get("files"), dict) else {}


def _write_record(folder: Path, content: Mapping[str, Any]) -> None:
    with tempfile.NamedTemporaryFile(
        "w", dir=folder, suffix=".partial", delete=False, encoding="utf-8"
    ) as partial:
        json.dump(content, partial, indent=2)
    Path(partial.name).chmod(0o644)
    Path(partial.name).replace(folder / RECORD)


def _slug(folder: Path) -> str:
    return "--".join(folder.relative_to(models_folder()).parts)


def _check_path(path: str, source: str) -> str:
    """The path of a file in a repository, which must stay in it."""
    if re.search(r"(^|/)\.{0,2}(/|$)|[\\:\0]", path) or path == RECORD:
        raise WeightsError(f"{source}: {path!r} is no path of a file in it; nothing was fetched")
    return path
