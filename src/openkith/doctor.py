"""What works on this machine and what does not: versions, weights, package data, gallery, extras, disk.

Nothing is downloaded, created or migrated by looking.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module, metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import openkith
from openkith.errors import KithError

__all__ = ["DEPENDENCIES", "EXTRAS", "Check", "Diagnosis", "examine"]

#: Every package that openkith cannot do without, and the module that it brings.
DEPENDENCIES = {
    **{"torch": "torch", "numpy": "numpy", "scipy": "scipy", "scikit-learn": "sklearn"},
    **{"soundfile": "soundfile", "soxr": "soxr", "webrtcvad-wheels": "webrtcvad"},
    "kaldi-native-fbank": "kaldi_native_fbank",
    **{"safetensors": "safetensors", "sqlalchemy": "sqlalchemy", "alembic": "alembic", "typer": "typer"},
    **{"rich": "rich", "pyyaml": "yaml", "platformdirs": "platformdirs", "matplotlib": "matplotlib"},
}
#: Extra, the module that it brings, and what for.
EXTRAS = (
    ("media", "av", "M4A and WebM files"),
    ("synthesis", "parselmouth", "synthetic voices, as in kith demo"),
    ("postgresql", "psycopg", "a gallery on a PostgreSQL server"),
    ("onnx", "onnxruntime", "encoders from .onnx files"),
    ("export", "onnxscript", "kith models export"),
    ("transformers", "transformers", "the encoder wavlm"),
    ("hub", "huggingface_hub", "weights from Hugging Face"),
    ("training", "lightning_fabric", "training of networks"),
    ("encryption", "cryptography", "an encrypted gallery"),
    ("service", "fastapi", "kith serve"),
)
PYTHON = (3, 11)
LOW_DISK_BYTES = 200_000_000

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        topic: What.
        state: "ok"; "note" for what limits something or comes later; "problem" for what must be mended.
        text: What was found, with the remedy where there is one.
        values: The same for programs.
    """

    topic: str
    state: State
    text: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order to be read."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether everything essential is fine."""
        return all(check.state != "problem" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def examine(gallery: str | Path | None = None) -> Diagnosis:
    """Look at this installation.

    Args:
        gallery: Path or URL; default as for `Gallery`. It is opened if it is there, and never created.
    """
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("openkith", _openkith),
        *((name, partial(_dependency, name)) for name in DEPENDENCIES),
        ("threads", _threads),
        ("encoder", _encoder),
        ("cohort", _cohort),
        ("migrations", _migrations),
        ("report", _report),
        ("gallery", partial(_gallery, gallery)),
        *((f"extra {extra[0]}", partial(_extra, *extra)) for extra in EXTRAS),
        ("disk", partial(_disk, gallery)),
    ]
    return Diagnosis(tuple(_looked(topic, look) for topic, look in looks))


def _looked(topic: str, look: Callable[[], Check]) -> Check:
    """The check, or the problem that there was in making it: one broken part does not hide the others."""
    try:
        return look()
    except Exception as error:  # whatever a broken installation raises
        text = " ".join(str(error).split()) or type(error).__name__
        return Check(
            topic, "problem", text if isinstance(error, KithError) else f"{type(error).__name__}: {text}"
        )


def _python() -> Check:
    version = platform.python_version()
    values = {"version": version, "executable": sys.executable, "platform": platform.platform()}
    if sys.version_info < PYTHON:
        return Check(
            "python", "problem", f"{version}: openkith needs {PYTHON[0]}.{PYTHON[1]} or newer", values
        )
    return Check("python", "ok", f"{version}, {sys.executable}, {platform.platform()}", values)


def _openkith() -> Check:
    folder = Path(openkith.__file__).parent
    return Check(
        "openkith",
        "ok",
        f"{openkith.__version__}, {folder}",
        {"version": openkith.__version__, "folder": str(folder)},
    )


def _dependency(name: str) -> Check:
    """Whether it can really be imported: a wheel for another machine is installed as easily as the right one."""
    try:
        import_module(DEPENDENCIES[name])
    except ModuleNotFoundError as error:
        if error.name != DEPENDENCIES[name]:
            raise
        return Check(name, "problem", f"not installed: pip install {name}", {"version": None})
    version = metadata.version(name)
    return Check(name, "ok", version, {"version": version})


def _threads() -> Check:
    import torch

    n, cores = torch.get_num_threads(), os.cpu_count()
    return Check(
        "threads", "ok", f"{n} for torch, of {cores} logical cores", {"torch": n, "logical_cores": cores}
    )


def _encoder() -> Check:
    from openkith.encoders import load_encoder
    from openkith.encoders.catalog import DEFAULT, needs_fetching, weights_path
    from openkith.scoring import shipped_cohort

    path = weights_path(DEFAULT)
    values: dict[str, Any] = {"name": DEFAULT, "path": str(path), "cached": not needs_fetching(DEFAULT)}
    if needs_fetching(DEFAULT):
        how = f"kith models pull {DEFAULT}, or any command that needs them"
        if find_spec("pip") is None:
            how = f"{sys.executable} -m ensurepip, and then kith models pull {DEFAULT}"
        return Check("encoder", "note", f"{DEFAULT}: no weights at {path} yet; to fetch them: {how}", values)
    fingerprint = load_encoder(DEFAULT).fingerprint
    values["fingerprint"] = fingerprint
    if shipped_cohort(fingerprint) is None:
        text = f"{DEFAULT}: {path}; but the cohort that ships is of another encoder than {fingerprint}"
        return Check("encoder", "problem", f"{text}: install openkith anew", values)
    return Check("encoder", "ok", f"{DEFAULT}: {path}, checked", values)


def _cohort() -> Check:
    from openkith.scoring import load_cohort

    folder = resources.files("openkith.scoring").joinpath("cohorts")
    found = []
    for item in folder.iterdir() if folder.is_dir() else ():
        if item.name.endswith(".safetensors"):
            with resources.as_file(item) as path:
                cohort, encoder = load_cohort(path)
            found.append(
                {
                    "file": item.name,
                    "encoder": encoder,
                    "speakers": cohort.n_speakers,
                    "clips": cohort.n_clips,
                    "embeddings": len(cohort),
                }
            )
    if not found:
        return Check("cohort", "problem", "none in the package: install openkith anew", {"cohorts": []})
    texts = [
        f"{each['file']}: {each['speakers']} speakers, {each['clips']} clips, {each['embeddings']} embeddings"
        for each in found
    ]
    return Check("cohort", "ok", "; ".join(texts), {"cohorts": found})


def _migrations() -> Check:
    from openkith.gallery.database import MIGRATIONS
    from openkith.gallery.schema import SCHEMA_VERSION

    found = sorted(path.stem for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    values = {"schema": SCHEMA_VERSION, "found": found}
    complete = (MIGRATIONS / "env.py").is_file() and SCHEMA_VERSION in {
        name.partition("_")[0] for name in found
    }
    if not complete:
        text = f"those of schema {SCHEMA_VERSION} are not in the package: install openkith anew"
        return Check("migrations", "problem", text, values)
    return Check("migrations", "ok", f"{len(found)}, up to schema {SCHEMA_VERSION}", values)


def _report() -> Check:
    style = resources.files("openkith.report").joinpath("report.css")
    if not style.is_file():
        return Check("report", "problem", "its style sheet is not in the package: install openkith anew")
    return Check("report", "ok", "its style sheet is there")


def _gallery(where: str | Path | None) -> Check:
    from openkith.gallery import Gallery
    from openkith.gallery.database import locate

    url = locate(where)
    path = Path(url.database or "") if url.drivername == "sqlite" else None
    label = str(path) if path is not None else url.render_as_string(hide_password=True)
    values: dict[str, Any] = {"url": label, "exists": False, "people": None, "encoder": None}
    touched = path if path is None or path.exists() else _existing(path)
    if touched is not None and not os.access(touched, os.W_OK):
        text = f"{label}: cannot be written; change the permissions of {touched}, or choose another with --gallery"
        return Check("gallery", "problem", text, values)
    if _is_new(url, path):
        return Check("gallery", "note", f"{label}: nothing there yet; kith enroll makes it", values)
    with Gallery(where) as gallery:
        people, encoder = len(gallery.people()), gallery.encoder()
    values.update(exists=True, people=people, encoder=encoder)
    return Check("gallery", "ok", f"{label}: opens, {people} enrolled", values)


def _is_new(url: Any, path: Path | None) -> bool:
    """Whether opening it would make a gallery: `Gallery` does so wherever there is none."""
    if path is not None:
        return not path.exists() or (path.is_file() and path.stat().st_size == 0)
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    from openkith.gallery.schema import VERSION_TABLE

    try:
        engine = create_engine(url)
        try:
            return not inspect(engine).has_table(VERSION_TABLE)
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError):
        return False  # opening it says what is wrong, and how to mend it


def _extra(name: str, module: str, purpose: str) -> Check:
    try:
        import_module(module)
    except ImportError:
        pip = f"pip install 'openkith[{name}]'"
        return Check(
            f"extra {name}", "note", f"absent ({purpose}): {pip}", {"present": False, "install": pip}
        )
    return Check(f"extra {name}", "ok", f"present ({purpose})", {"present": True})


def _disk(where: str | Path | None) -> Check:
    from openkith.gallery.database import locate
    from openkith.wheels import models_folder

    url = locate(where)
    folders = [models_folder()]
    if url.drivername == "sqlite":
        folders.append(Path(url.database or "").parent)
    free = {str(folder): shutil.disk_usage(_existing(folder)).free for folder in folders}
    text = ", ".join(f"{size / 1e9:.1f} GB free for {folder}" for folder, size in free.items())
    if min(free.values()) < LOW_DISK_BYTES:
        return Check("disk", "note", f"{text}: little; make room", {"free_bytes": free})
    return Check("disk", "ok", text, {"free_bytes": free})


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next((folder for folder in (path, *path.parents) if folder.exists()), path)
