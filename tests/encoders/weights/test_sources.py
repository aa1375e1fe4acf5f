"""What a text means as a source of weights, and what of it is kept."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.encoders.weights.hubs import Remote
from openkith.encoders.weights.sources import cached, check, fetch, fetch_checkpoint, parse
from openkith.errors import WeightsError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "/models/net.pt"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "remote", "label"),
    [
        ("owner/name", Remote("hf", "owner/name", "main"), "hf:owner/name"),
        ("hf:owner/name", Remote("hf", "owner/name", "main"), "hf:owner/name"),
        ("owner/na.me@v2", Remote("hf", "owner/na.me", "v2"), "hf:owner/na.me@v2"),
        ("hf:owner/name@v2/a/b.onnx", Remote("hf", "owner/name", "v2", "a/b.onnx"), "hf:owner/name@v2"),
        ("hf:owner/name/b.onnx", Remote("hf", "owner/name", "main", "b.onnx"), "hf:owner/name"),
        ("modelscope:iic/x_y-1", Remote("modelscope", "iic/x_y-1", "master"), "modelscope:iic/x_y-1"),
        ("modelscope:iic/x@v1", Remote("modelscope", "iic/x", "v1"), "modelscope:iic/x@v1"),
        (
            "https://host/a%20b/net.pt?x=1",
            Remote("url", "https://host/a%20b/net.pt?x=1", inside="net.pt"),
            "https://host/a%20b/net.pt?x=1",
        ),
        (
            f"http://host/net.pt#sha256={SHA256.upper()}",
            Remote("url", "http://host/net.pt", inside="net.pt", sha256=SHA256),
            "http://host/net.pt",
        ),
    ],
)
def test_places_on_the_network(text: str, remote: Remote, label: str) -> None:
    assert parse(text) == remote
    assert remote.label == label


def test_folders_are_apart(models: Path) -> None:
    texts = [
        "a/b",
        "a/b@v1",
        "a/b--c",
        "modelscope:a/b",
        "https://h/n.pt",
        "https://h/n.pt?v=2",
        "http://h/n.pt",
    ]
    folders = [found.folder for found in map(parse, texts) if isinstance(found, Remote)]
    assert len(set(folders)) == len(texts)
    assert all(folder.is_relative_to(models) for folder in folders)


def test_local_paths_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "net.pt"
    file.write_bytes(b"x")
    assert fetch(file, files=["*"]) == fetch(str(file), files=["*"]) == file
    assert fetch("~/net.pt", files=["*"]) == file
    assert fetch(tmp_path, files=["*"]) == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert fetch("owner/name", files=["*"]) == Path("owner/name")  # what is here comes before a hub
    assert cached("owner/name", files=["*"]) == Path("owner/name")
    check(file)


@pytest.mark.parametrize(
    "text",
    [
        "none.pt",
        "weights/none.pt",
        "a/b/c",
        "/a/b",
        "../x",
        "./x",
        "net",
        "owner/name@",
        "modelscope:name",
        "hf:",
        "",
    ],
)
def test_a_path_where_nothing_is(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if text == "":
        assert parse(text) == Path()  # this folder
        return
    assert "no such weights file or folder; give one, owner/name of a model on Hugging Face" in refusal(
        lambda: fetch(text, files=["*"])
    )
    assert refusal(lambda: parse(Path("owner/name"))).startswith("owner/name: no such weights")


@pytest.mark.parametrize(
    "text",
    ["http://host/net.pt#sha256=12", "http://host/net.pt#main", "https://host/", "http:///net.pt", "https:"],
)
def test_addresses_that_are_none(text: str) -> None:
    assert refusal(lambda: fetch(text, files=["*"])).startswith(f"{text}: ")


@pytest.mark.parametrize("text", ["hf:a/b/../../x", "modelscope:a/b//x", "hf:a/b/c\\d", "hf:a/b/source.json"])
def test_paths_inside_that_are_none(text: str) -> None:
    assert "is no path of a file in it" in refusal(lambda: fetch(text, files=["*"]))


def test_a_url_is_fetched_once(web: Any, models: Path) -> None:
    web.serve(FILE, CONTENT)
    steps: list[tuple[str, int, int]] = []
    assert cached(web.url + FILE, files=["*"]) is None
    file = fetch(web.url + FILE, files=["ignored"], progress=lambda *step: steps.append(step))
    assert (file.name, file.read_bytes()) == ("net.pt", CONTENT)
    assert file.is_relative_to(models / "url")
    assert sorted(each.name for each in file.parent.iterdir()) == ["net.pt", "source.json"]
    assert steps
    assert json.loads((file.parent / "source.json").read_text())["files"] == {
        "net.pt": {"size": len(CONTENT), "sha256": SHA256}
    }
    for text in (web.url + FILE, f"{web.url}{FILE}#sha256={SHA256}"):
        assert fetch(text, files=["*"]) == cached(text, files=[]) == file
    assert len(web.gets(FILE)) == 1


def test_the_one_file_of_some_weights(web: Any, models: Path, tmp_path: Path) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    assert fetch_checkpoint(web.url + FILE, files=["*.ckpt"]) == cached(web.url + FILE, files=[])
    for name in ("a.pt", "b.pt", "net.ckpt"):
        (tmp_path / name).write_bytes(CONTENT)
    assert fetch_checkpoint(tmp_path, files=["*.ckpt", "*.pt"]) == tmp_path / "net.ckpt"
    assert "2 checkpoints (a.pt, b.pt)" in refusal(lambda: fetch_checkpoint(tmp_path, files=["*.pt"]))
    assert "no checkpoint there (*.bin)" in refusal(lambda: fetch_checkpoint(tmp_path, files=["*.bin"]))


def test_a_digest_that_is_asked_for_later_is_held(web: Any, models: Path) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    fetch(web.url + FILE, files=["*"])
    wrong = f"{web.url}{FILE}#sha256={'0' * 64}"
    assert cached(wrong, files=["*"]) is None
    assert "not the expected 000000000000" in refusal(lambda: fetch(wrong, files=["*"]))


def test_a_wrong_digest_leaves_nothing(web: Any, models: Path) -> None:
    web.serve(FILE, CONTENT)
    text = f"{web.url}{FILE}#sha256={'0' * 64}"
    assert "is not used" in refusal(lambda: fetch(text, files=["*"]))
    assert not [file for file in (models / "url").rglob("*") if file.is_file()]


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline_nothing_is_asked(
    web: Any, models: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    web.serve(FILE, CONTENT)
    file = fetch(web.url + FILE, files=["*"])
    monkeypatch.setenv("KITH_OFFLINE", value)
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.setenv("KITH_MODELSCOPE", web.url)
    asked = len(web.asked)
    assert fetch(web.url + FILE, files=["*"]) == file
    assert refusal(lambda: fetch("owner/name", files=["*"])) == (
        f"hf:owner/name is not in {models}/hf/owner--name, and the network is switched off (KITH_OFFLINE); run once "
        "with it: kith models pull hf:owner/name, or copy that folder from another machine"
    )
    for text in ("modelscope:iic/x", f"{web.url}/other.pt"):
        assert "the network is switched off (KITH_OFFLINE)" in refusal(
            lambda text=text: fetch(text, files=["*"])
        )  # type: ignore[misc]
    assert len(web.asked) == asked


@pytest.mark.parametrize("value", ["", "0", "false", "off", "no"])
def test_values_that_do_not_switch_it_off(
    web: Any,
    models: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    value: str,
) -> None:
    web.serve(FILE, CONTENT)
    monkeypatch.setenv("KITH_OFFLINE", value)
    assert fetch(web.url + FILE, files=["*"]).is_file()


def test_hugging_faces_own_switch(web: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "switched off (HF_HUB_OFFLINE)" in refusal(lambda: fetch("owner/name", files=["*"]))
    assert fetch(web.url + FILE, files=["*"]).is_file()


def test_what_is_missing_or_short_is_fetched_again(web: Any, models: Path) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    file = fetch(web.url + FILE, files=["*"])
    file.write_bytes(CONTENT[:-1])
    assert cached(web.url + FILE, files=["*"]) is None
    assert fetch(web.url + FILE, files=["*"]).read_bytes() == CONTENT
    file.unlink()
    assert fetch(web.url + FILE, files=["*"]).read_bytes() == CONTENT
    assert len(web.gets(FILE)) == 3


@pytest.mark.parametrize("record", ["", "{", "[]", '{"source": "another"}', '{"files": 3}'])
def test_a_damaged_record_is_no_record(web: Any, models: Path, record: str) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    file = fetch(web.url + FILE, files=["*"])
    (file.parent / "source.json").write_text(record)
    assert fetch(web.url + FILE, files=["*"]).read_bytes() == CONTENT


def test_damage_is_found_by_check(web: Any, models: Path) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    file = fetch(web.url + FILE, files=["*"])
    check(web.url + FILE)
    file.write_bytes(CONTENT[::-1])
    assert refusal(lambda: check(web.url + FILE)).startswith(f"{file}: damaged since it was fetched; delete ")


def test_a_folder_that_is_a_file(web: Any, models: Path) -> None:
    web.serve(FILE, CONTENT)
    models.write_text("in the way")
    message = refusal(lambda: fetch(web.url + FILE, files=["*"]))
    assert message.endswith(
        "cannot write the weights there (Not a directory); set KITH_MODELS to another folder"
    ) or ("(File exists)" in message)


FETCH = """
import sys
from openkith.encoders.weights.sources import fetch
print(fetch(sys.argv[1], files=["*"]))
"""


def test_two_processes_fetch_once(web: Any, models: Path) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT * 20, headers={"ETag": '"1"'}, drops=[100_000])
    command = [sys.executable, "-W", "error", "-c", FETCH, web.url + FILE]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    first, second = (process.communicate(timeout=60)[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert first == second
    assert Path(first).read_bytes() == CONTENT * 20
    assert web.gets(FILE) == [None, "bytes=100000-"]


KILLED = """
import os
from openkith.encoders.weights import downloads
attempt = downloads._attempt
def once(*arguments):
    attempt(*arguments)
    os.kill(os.getpid(), 9)
downloads._attempt = once
"""


def test_a_killed_process_leaves_what_can_go_on(web: Any, models: Path) -> None:
    web.serve(FILE, CONTENT, headers={"ETag": '"1"'}, drops=[100_000])
    command = [sys.executable, "-c", KILLED + FETCH, web.url + FILE]
    done = subprocess.run(command, check=False, env={**os.environ, "NO_PROXY": "127.0.0.1"})
    assert done.returncode == -9
    assert not list(models.rglob("net.pt"))
    assert [file.stat().st_size for file in models.rglob("net.pt.partial")] == [100_000]
    assert fetch(web.url + FILE, files=["*"]).read_bytes() == CONTENT
    assert web.gets(FILE) == [None, "bytes=100000-"]
