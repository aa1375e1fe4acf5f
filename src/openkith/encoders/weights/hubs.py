"""How each place that has weights is asked: what it has, and for a file of it.

Hugging Face is asked by its own package, ModelScope by its HTTP interface for files. Both say the length and digest of
what they have. ``HF_ENDPOINT`` and ``KITH_MODELSCOPE`` name other servers, as for a mirror.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openkith.encoders.weights.downloads import Progress, download, file_sha256, open_url
from openkith.errors import WeightsError, require
from openkith.wheels import models_folder

__all__ = [
    "GETTERS",
    "HUGGING_FACE",
    "LISTERS",
    "MODELSCOPE",
    "PUBLISHED_FILES",
    "URL",
    "USUAL_REVISION",
    "File",
    "Listing",
    "Order",
    "Remote",
]

HUGGING_FACE, MODELSCOPE, URL = "hf", "modelscope", "url"
MODELSCOPE_URL = "https://modelscope.cn"
USUAL_REVISION = {HUGGING_FACE: "main", MODELSCOPE: "master"}
_SHOWN = 5  # files in an error

#: What is needed of published repositories, with SHA-256 where it is pinned: a source that has another file under that
#: name is refused.
PUBLISHED_FILES: dict[str, dict[str, str | None]] = {
    "hf:microsoft/wavlm-base-plus-sv": dict.fromkeys(
        ("config.json", "preprocessor_config.json", "pytorch_model.bin")
    ),
    "modelscope:iic/speech_eres2netv2_sv_zh-cn_16k-common": {
        "pretrained_eres2netv2.ckpt": "0eb4057106b2573dd7b132cf0c36273ab29afd192c1610f80baa9c556dbb963c"
    },
    "modelscope:iic/speech_eres2netv2w24s4ep4_sv_zh-cn_16k-common": {
        "pretrained_eres2netv2w24s4ep4.ckpt": "740bb6584a99ee4cf910101536acba38c15a8017ea6a3a2813ec668fb62981f1"
    },
    "modelscope:iic/speech_eres2net_sv_en_voxceleb_16k": {"pretrained_eres2net.ckpt": None},
    "hf:Wespeaker/wespeaker-voxceleb-resnet34-LM": {"avg_model": None, "avg_model.pt": None},
    "hf:Wespeaker/wespeaker-ecapa-tdnn512-LM": {"avg_model.pt": None},
    "hf:Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024-LM": {"avg_model.pt": None},
    "hf:Wespeaker/wespeaker-voxceleb-campplus": {
        "voxceleb_CAM++.onnx": "b50810498b5bcf5773d086f6993d344476bd0c88b566a41e8d801aaf8461efad"
    },
}


@dataclass(frozen=True)
class Remote:
    """A place on the network that has weights.

    Attributes:
        kind: ``"hf"``, ``"modelscope"``, or ``"url"``.
        name: ``"owner/name"``, or the URL without its fragment.
        revision: Branch, tag or commit of a repository.
        inside: The one file of the repository that is meant; None for those that the encoder asks for.
        sha256: Digest of the file of a URL, where it was given.
    """

    kind: str
    name: str
    revision: str = ""
    inside: str | None = None
    sha256: str | None = None

    @property
    def label(self) -> str:
        """As it can be given to `fetch`."""
        revision = "" if self.revision in ("", USUAL_REVISION.get(self.kind)) else f"@{self.revision}"
        return self.name if self.kind == URL else f"{self.kind}:{self.name}{revision}"

    @property
    def published(self) -> dict[str, str | None]:
        """What is needed of it, where it is one of `PUBLISHED_FILES`."""
        return PUBLISHED_FILES.get(self.label, {})

    def wanted(self, paths: Iterable[str], patterns: Sequence[str]) -> list[str]:
        """Of all its files the one that is meant; or, where none is named, those that fit the globs.

        Of a published repository only what is known to be needed, if that fits them.
        """
        if self.inside is not None:
            return [path for path in paths if path == self.inside]
        fitting = [path for path in paths if any(_fits(path, pattern) for pattern in patterns)]
        return [path for path in fitting if path in self.published] or fitting

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        if self.kind == URL:
            return models_folder() / URL / hashlib.sha256(self.name.encode()).hexdigest()[:16]
        revision = (
            "" if self.revision == USUAL_REVISION[self.kind] else f"@{self.revision.replace('/', '--')}"
        )
        return models_folder() / self.kind / f"{self.name.replace('/', '--')}{revision}"


@dataclass(frozen=True)
class File:
    """A file of a source: path in it, length in bytes and digest, as far as the source tells."""

    path: str
    size: int | None = None
    sha256: str | None = None
    blob: str | None = None  # git's own digest, SHA-1 of a header and the content


@dataclass(frozen=True)
class Listing:
    """What a source has."""

    revision: str
    files: tuple[File, ...]

    def named(self, remote: Remote, patterns: Sequence[str]) -> tuple[File, ...]:
        """The files that are wanted of it."""
        paths = remote.wanted([file.path for file in self.files], patterns)
        chosen = tuple(file for file in self.files if file.path in paths)
        if not chosen:
            asked = [remote.inside] if remote.inside else patterns
            there = ", ".join(file.path for file in self.files[:_SHOWN]) or "nothing"
            raise WeightsError(
                f"{remote.label} has none of {', '.join(asked)} (there is: {there}); check the name"
            )
        return chosen


@dataclass(frozen=True)
class Order:
    """A file to be fetched, at the revision that was listed, with the SHA-256 that it must have."""

    remote: Remote
    revision: str
    file: File
    target: Path
    sha256: str | None
    progress: Progress | None


def _fits(path: str, pattern: str) -> bool:
    """Whether a path fits a glob, folder by folder."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


# Hugging Face


@contextmanager
def _hugging_face(remote: Remote) -> Iterator[Any]:
    """The package, without its progress bars, and its errors as ours."""
    hub = require("huggingface_hub", "hub", f"fetching {remote.name} from Hugging Face")
    utils = import_module("huggingface_hub.utils")
    shown = not utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield hub
    except (WeightsError, KeyboardInterrupt):
        raise
    except Exception as error:  # its errors and those of what it stands on change from version to version
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise WeightsError(
            f"{remote.label} cannot be fetched ({type(error).__name__}: {reason.rstrip('.')}); check the name and the "
            "network, and for a model that asks for consent: hf auth login"
        ) from error
    finally:
        if shown:
            utils.enable_progress_bars()


def _list_hugging_face(remote: Remote) -> Listing:
    with _hugging_face(remote) as hub:
        info = hub.HfApi(endpoint=_hf_endpoint()).model_info(
            remote.name, revision=remote.revision, files_metadata=True
        )
        return Listing(
            info.sha,
            tuple(
                File(
                    each.rfilename,
                    each.size,
                    each.lfs.sha256 if each.lfs else None,
                    None if each.lfs else each.blob_id,
                )
                for each in info.siblings
            ),
        )


def _get_hugging_face(order: Order) -> str:
    remote, path = order.remote, order.file.path
    if order.progress:
        order.progress(f"fetching {path}", 0, 0)
    with _hugging_face(remote) as hub:
        hub.hf_hub_download(
            remote.name, path, revision=order.revision, local_dir=remote.folder, endpoint=_hf_endpoint()
        )
    return file_sha256(order.target)


def _hf_endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


# ModelScope, by its HTTP interface for files


def _modelscope(remote: Remote, what: str) -> str:
    endpoint = os.environ.get("KITH_MODELSCOPE", "").rstrip("/") or MODELSCOPE_URL
    return f"{endpoint}/api/v1/models/{remote.name}/{what}Revision={quote(remote.revision, safe='')}"


def _list_modelscope(remote: Remote) -> Listing:
    url = _modelscope(remote, "repo/files?Recursive=true&")
    try:
        with open_url(url) as answer:
            content: Any = json.load(answer)
        found = content["Data"]["Files"]
        files = tuple(
            File(each["Path"], each.get("Size"), (each.get("Sha256") or "").lower() or None)
            for each in found
            if each.get("Type") != "tree"
        )
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"{remote.label} cannot be listed ({error}); check the network, and try again"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{url}: not an answer of ModelScope; check the name and KITH_MODELSCOPE"
        ) from error
    return Listing(remote.revision, files)


def _get_modelscope(order: Order) -> str:
    file = order.file
    url = _modelscope(order.remote, "repo?") + f"&FilePath={quote(file.path, safe='')}"
    return download(url, order.target, sha256=order.sha256, size=file.size, progress=order.progress)


# A URL


def _list_url(remote: Remote) -> Listing:
    assert remote.inside is not None
    return Listing("", (File(remote.inside, None, remote.sha256),))


def _get_url(order: Order) -> str:
    return download(order.remote.name, order.target, sha256=order.sha256, progress=order.progress)


LISTERS: dict[str, Callable[[Remote], Listing]] = {
    HUGGING_FACE: _list_hugging_face,
    MODELSCOPE: _list_modelscope,
    URL: _list_url,
}
GETTERS: dict[str, Callable[[Order], str]] = {
    HUGGING_FACE: _get_hugging_face,
    MODELSCOPE: _get_modelscope,
    URL: _get_url,
}
