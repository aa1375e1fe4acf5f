"""Hugging Face and ModelScope, by servers on this machine that answer as they do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.encoders.weights import hubs
from openkith.encoders.weights.hubs import PUBLISHED_FILES, Remote
from openkith.encoders.weights.sources import check, fetch
from openkith.errors import MissingDependencyError, WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG, BIG = b'{"architectures": ["WavLMForXVector"]}', bytes(range(256)) * 3000
FILES = ("config.json", "*.bin")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


class HuggingFace:
    """One repository, ``some/model``, with a small file that git has and large ones apart."""

    def __init__(self, web: Any) -> None:
        self.web = web
        self.files = {"config.json": CONFIG, "model.bin": BIG, "README.md": b"# Model", "sub/other.bin": b"o"}
        self.lfs = {"model.bin", "sub/other.bin"}
        self.said: dict[str, dict[str, Any]] = {}  # of a file, instead of the truth
        self.publish()

    def publish(self, commit: str = COMMIT, revision: str = "main") -> None:
        siblings = []
        for name, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
            headers = {"X-Repo-Commit": commit, "ETag": f'"{blob}"'}
            if name in self.lfs:
                entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 130}
                headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
            siblings.append({**entry, **self.said.get(name, {})})
            self.web.serve(f"/some/model/resolve/{commit}/{name}", content, headers=headers)
        answer = {"id": "some/model", "sha": commit, "siblings": siblings, "tags": [], "private": False}
        self.web.serve(f"/api/models/some/model/revision/{revision}?blobs=true", json.dumps(answer).encode())


@pytest.fixture
def hugging_face(web: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> HuggingFace:  # noqa: ARG001
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    return HuggingFace(web)


class ModelScope:
    """One repository, ``some/model``."""

    def __init__(self, web: Any) -> None:
        self.web = web
        self.files = {"net.ckpt": BIG, "configuration.json": CONFIG, "examples/a.wav": b"RIFF"}
        self.said: dict[str, dict[str, Any]] = {}
        self.publish()

    def publish(self, revision: str = "master") -> None:
        found: list[dict[str, Any]] = [{"Path": "examples", "Name": "examples", "Type": "tree", "Size": 0}]
        for name, content in self.files.items():
            entry = {"Path": name, "Name": Path(name).name, "Type": "blob", "Size": len(content)}
            found.append({**entry, "Sha256": sha256(content), **self.said.get(name, {})})
            path = name.replace("/", "%2F")
            self.web.serve(f"/api/v1/models/some/model/repo?Revision={revision}&FilePath={path}", content)
        answer = {"Code": 200, "Success": True, "Message": "success", "Data": {"Files": found}}
        self.web.serve(
            f"/api/v1/models/some/model/repo/files?Recursive=true&Revision={revision}",
            json.dumps(answer).encode(),
        )


@pytest.fixture
def modelscope(web: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> ModelScope:  # noqa: ARG001
    monkeypatch.setenv("KITH_MODELSCOPE", web.url + "/")
    return ModelScope(web)


def test_several_files_of_hugging_face(hugging_face: HuggingFace, models: Path) -> None:
    folder = fetch("some/model", files=FILES)
    assert folder == models / "hf" / "some--model"
    assert (folder / "config.json").read_bytes() == CONFIG
    assert (folder / "model.bin").read_bytes() == BIG
    assert not (folder / "README.md").exists()
    assert not (folder / "sub").exists()  # a star stays within a folder
    record = json.loads((folder / "source.json").read_text())
    assert (record["source"], record["revision"]) == ("hf:some/model", COMMIT)
    assert record["files"]["model.bin"] == {"size": len(BIG), "sha256": sha256(BIG)}
    check("some/model")
    asked = len(hugging_face.web.asked)
    assert fetch("hf:some/model", files=FILES) == folder
    assert len(hugging_face.web.asked) == asked  # here already: nothing is asked


def test_one_file_of_hugging_face(hugging_face: HuggingFace, models: Path) -> None:  # noqa: ARG001
    folder = models / "hf" / "some--model"
    assert fetch("some/model", files=["*.bin"]) == folder / "model.bin"
    assert fetch("hf:some/model/sub/other.bin", files=["*.bin"]) == folder / "sub" / "other.bin"
    assert fetch("some/model", files=["*.bin"]) == folder / "model.bin"


def test_a_revision_of_hugging_face(hugging_face: HuggingFace, models: Path) -> None:
    hugging_face.files["model.bin"] = b"older"
    hugging_face.publish("f" * 40, "v1")
    assert fetch("some/model@v1", files=["*.bin"]).read_bytes() == b"older"
    assert (models / "hf" / "some--model@v1" / "model.bin").is_file()


def test_a_newer_commit_replaces_what_is_fetched(hugging_face: HuggingFace) -> None:
    """Files of two commits are never mixed."""
    fetch("some/model", files=["config.json"])
    hugging_face.files |= {"config.json": b"{}", "model.bin": b"newer"}
    hugging_face.publish("e" * 40)
    folder = fetch("some/model", files=FILES)
    assert ((folder / "config.json").read_bytes(), (folder / "model.bin").read_bytes()) == (b"{}", b"newer")


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [
        (
            "model.bin",
            {"lfs": {"sha256": "0" * 64, "size": len(BIG), "pointerSize": 1}},
            "instead of 000000000000",
        ),
        ("config.json", {"blobId": "0" * 40}, "another git digest"),
        ("config.json", {"size": 3}, f"{len(CONFIG)} instead of 3 bytes"),
    ],
)
def test_another_file_of_hugging_face_is_refused(
    hugging_face: HuggingFace, models: Path, name: str, said: dict[str, Any], reason: str
) -> None:
    hugging_face.said = {name: said}
    hugging_face.publish()
    message = refusal(lambda: fetch("some/model", files=FILES))
    assert f"{name} of hf:some/model has " in message
    assert reason in message
    assert not (models / "hf" / "some--model" / name).exists()
    assert not (models / "hf" / "some--model" / "source.json").exists()


def test_no_such_model_on_hugging_face(hugging_face: HuggingFace) -> None:  # noqa: ARG001
    message = refusal(lambda: fetch("no/model", files=FILES))
    assert message.startswith("hf:no/model cannot be fetched (")
    assert "check the name and the network" in message


def test_no_such_file_on_hugging_face(hugging_face: HuggingFace) -> None:  # noqa: ARG001
    assert refusal(lambda: fetch("some/model", files=["*.onnx"])) == (
        "hf:some/model has none of *.onnx (there is: config.json, model.bin, README.md, sub/other.bin); "
        "check the name"
    )


def test_without_the_package(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.delenv("KITH_OFFLINE", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[hub\]'"):
        fetch("some/model", files=FILES)


def test_progress_bars_are_as_before(hugging_face: HuggingFace) -> None:  # noqa: ARG001
    from huggingface_hub.utils import are_progress_bars_disabled

    before = are_progress_bars_disabled()
    fetch("some/model", files=["config.json"])
    assert are_progress_bars_disabled() == before


def test_files_of_modelscope(modelscope: ModelScope, models: Path) -> None:
    file = fetch("modelscope:some/model", files=["*.ckpt"])
    assert file == models / "modelscope" / "some--model" / "net.ckpt"
    assert file.read_bytes() == BIG
    folder = fetch("modelscope:some/model", files=["*.ckpt", "configuration.json"])
    assert folder == models / "modelscope" / "some--model"
    assert len(modelscope.web.gets("/api/v1/models/some/model/repo?Revision=master&FilePath=net.ckpt")) == 1
    inside = fetch("modelscope:some/model/examples/a.wav", files=["*.ckpt"])
    assert inside.read_bytes() == b"RIFF"


def test_a_revision_of_modelscope(modelscope: ModelScope) -> None:
    modelscope.files["net.ckpt"] = b"older"
    modelscope.publish("v1.0.1")
    assert fetch("modelscope:some/model@v1.0.1", files=["*.ckpt"]).read_bytes() == b"older"


def test_what_broke_off_goes_on(modelscope: ModelScope) -> None:
    path = "/api/v1/models/some/model/repo?Revision=master&FilePath=net.ckpt"
    modelscope.web.pages[path].drops = [100_000]
    assert fetch("modelscope:some/model", files=["*.ckpt"]).read_bytes() == BIG
    assert modelscope.web.gets(path) == [None, "bytes=100000-"]


@pytest.mark.parametrize("said", [{"Sha256": "0" * 64}, {"Size": 7}, {"Size": 7, "Sha256": ""}])
def test_another_file_of_modelscope_is_refused(
    modelscope: ModelScope, models: Path, said: dict[str, Any]
) -> None:
    modelscope.said = {"net.ckpt": said}
    modelscope.publish()
    assert "is not used" in refusal(lambda: fetch("modelscope:some/model", files=["*.ckpt"]))
    assert list((models / "modelscope" / "some--model").iterdir()) == []


def test_a_pinned_digest_counts_more_than_what_the_server_says(
    modelscope: ModelScope, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED_FILES, "modelscope:some/model", {"net.ckpt": "1" * 64})
    message = refusal(lambda: fetch("modelscope:some/model", files=["*.ckpt"]))
    assert "not the expected 111111111111..." in message
    assert list((models / "modelscope" / "some--model").iterdir()) == []
    monkeypatch.setitem(PUBLISHED_FILES, "modelscope:some/model", {"net.ckpt": sha256(BIG)})
    assert modelscope.web.pages
    assert fetch("modelscope:some/model", files=["*.ckpt"]).read_bytes() == BIG


@pytest.mark.parametrize(
    "name", ["../up.ckpt", "/etc/x.ckpt", "a/../../x.ckpt", "..\\x.ckpt", "C:x.ckpt", "a//x.ckpt"]
)
def test_a_path_out_of_the_folder_is_refused(modelscope: ModelScope, models: Path, name: str) -> None:
    modelscope.files = {name: b"x"}
    modelscope.publish()
    patterns = ["/".join(["*"] * (name.count("/") + 1))]
    message = refusal(lambda: fetch("modelscope:some/model", files=patterns))
    assert message == f"modelscope:some/model: {name!r} is no path of a file in it; nothing was fetched"
    assert not [file for file in models.parent.rglob("*") if file.is_file() and file.suffix == ".ckpt"]


def test_no_such_model_on_modelscope(modelscope: ModelScope) -> None:  # noqa: ARG001
    message = refusal(lambda: fetch("modelscope:no/model", files=["*"]))
    assert "the server says 404 Not Found; check the name" in message


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"Data": null}', b'{"Data": {"Files": [1]}}', b"<html>"])
def test_an_answer_that_is_not_of_modelscope(modelscope: ModelScope, answer: bytes) -> None:
    modelscope.web.serve("/api/v1/models/some/model/repo/files?Recursive=true&Revision=master", answer)
    message = refusal(lambda: fetch("modelscope:some/model", files=["*"]))
    assert message.endswith("not an answer of ModelScope; check the name and KITH_MODELSCOPE")


def test_a_modelscope_that_is_not_there(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("KITH_MODELSCOPE", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "cannot be listed" in refusal(lambda: fetch("modelscope:some/model", files=["*"]))


def test_the_usual_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KITH_MODELSCOPE", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    remote = Remote(hubs.MODELSCOPE, "iic/some", "master")
    assert (
        hubs._modelscope(remote, "repo?")
        == "https://modelscope.cn/api/v1/models/iic/some/repo?Revision=master"
    )
    assert hubs._hf_endpoint() is None


def test_pinned_digests_are_digests() -> None:
    for source, files in PUBLISHED_FILES.items():
        assert source.partition(":")[0] in hubs.USUAL_REVISION
        assert all(len(digest) == 64 and int(digest, 16) for digest in files.values() if digest)


def test_of_a_published_repository_only_what_is_needed(
    hugging_face: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hugging_face.files |= {"another.bin": b"x", "net.onnx": b"o"}
    hugging_face.publish()
    monkeypatch.setitem(PUBLISHED_FILES, "hf:some/model", {"model.bin": sha256(BIG)})
    assert fetch("some/model", files=["*.bin", "*.pt"]).name == "model.bin"
    assert fetch("some/model", files=["*.onnx"]).name == "net.onnx"  # of another encoder
