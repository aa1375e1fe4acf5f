"""One file from a URL, against a real server on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.encoders.weights import downloads
from openkith.encoders.weights.downloads import ATTEMPTS, download, file_sha256
from openkith.errors import WeightsError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "/some/model.pt"
TAGGED = {"ETag": '"v1"'}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "fetched" / "model.pt"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def page(web: Any, **options: Any) -> Any:
    return web.serve(FILE, **{"content": CONTENT, "headers": TAGGED, **options})


def test_a_file(web: Any, target: Path) -> None:
    page(web)
    steps: list[tuple[str, int, int]] = []
    found = download(web.url + FILE, target, progress=lambda *step: steps.append(step))
    assert (found, target.read_bytes()) == (SHA256, CONTENT)
    assert [file.name for file in target.parent.iterdir()] == ["model.pt"]
    assert web.gets(FILE) == [None]
    assert steps[-1] == ("fetching model.pt", len(CONTENT), len(CONTENT))
    assert len(steps) > 1


def test_what_broke_off_goes_on(web: Any, target: Path) -> None:
    page(web, drops=[300_000, 200_000])
    assert download(web.url + FILE, target, sha256=SHA256) == SHA256
    assert target.read_bytes() == CONTENT
    assert web.gets(FILE) == [None, "bytes=300000-", "bytes=500000-"]


def test_what_broke_off_goes_on_in_a_later_call(
    web: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    page(web, drops=[300_000, 0])
    message = refusal(lambda: download(web.url + FILE, target))
    assert f"it broke off after 300000 of {len(CONTENT)} bytes" in message
    assert not target.exists()
    before = len(web.gets(FILE))
    assert download(web.url + FILE, target) == SHA256
    assert web.gets(FILE)[before:] == ["bytes=300000-"]


def test_what_lacks_its_name_only_is_not_fetched_again(web: Any, target: Path) -> None:
    page(web)
    target.parent.mkdir()
    target.with_name("model.pt.partial").write_bytes(CONTENT)
    assert download(web.url + FILE, target, size=len(CONTENT), sha256=SHA256) == SHA256
    assert web.gets(FILE) == []


def test_another_version_is_fetched_anew(web: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    page(web, drops=[300_000, 0])
    refusal(lambda: download(web.url + FILE, target))
    newer = CONTENT[::-1]
    page(web, content=newer, headers={"ETag": '"v2"'})
    download(web.url + FILE, target)
    assert target.read_bytes() == newer


def test_without_a_version_a_digest_allows_to_go_on(web: Any, target: Path) -> None:
    page(web, headers={}, drops=[300_000])
    assert download(web.url + FILE, target, sha256=SHA256) == SHA256
    assert web.gets(FILE) == [None, "bytes=300000-"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_version_or_digest_it_begins_again(web: Any, target: Path, headers: dict[str, str]) -> None:
    page(web, headers=headers, drops=[300_000])
    assert download(web.url + FILE, target) == SHA256
    assert web.gets(FILE) == [None, None]


def test_a_server_that_gives_no_parts(web: Any, target: Path) -> None:
    page(web, ranges=False, drops=[300_000])
    assert download(web.url + FILE, target) == SHA256
    assert web.gets(FILE) == [None, "bytes=300000-"]


def test_a_truncated_file_is_no_file(web: Any, target: Path) -> None:
    page(web, ranges=False, drops=[300_000] * 100)
    message = refusal(lambda: download(web.url + FILE, target))
    assert "try again when the network is well" in message
    assert not target.exists()
    assert len(web.gets(FILE)) == ATTEMPTS + 1  # the first brought something new


def test_a_length_that_is_known_otherwise(web: Any, target: Path) -> None:
    page(web)
    message = refusal(lambda: download(web.url + FILE, target, size=len(CONTENT) - 1))
    assert f"is longer than the {len(CONTENT) - 1} bytes it should have" in message
    assert list(target.parent.iterdir()) == []


def test_a_wrong_digest_leaves_nothing(web: Any, target: Path) -> None:
    page(web)
    message = refusal(lambda: download(web.url + FILE, target, sha256="0" * 64))
    assert message.startswith(
        f"{web.url}{FILE} has SHA-256 {SHA256[:12]}..., not the expected 000000000000..."
    )
    assert list(target.parent.iterdir()) == []
    assert len(web.gets(FILE)) == 1  # the same would come again


def test_a_damaged_part_does_not_stay(web: Any, target: Path) -> None:
    """What lies there from before is of another file: it is refused once, and the next call has the right one."""
    page(web)
    target.parent.mkdir()
    target.with_name("model.pt.partial").write_bytes(b"x" * 1000)
    refusal(lambda: download(web.url + FILE, target, sha256=SHA256))
    assert download(web.url + FILE, target, sha256=SHA256) == SHA256


def test_a_part_longer_than_the_file_is_dropped(web: Any, target: Path) -> None:
    page(web)
    target.parent.mkdir()
    target.with_name("model.pt.partial").write_bytes(b"x" * (len(CONTENT) + 5))
    assert download(web.url + FILE, target, sha256=SHA256) == SHA256


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "the server says 404 Not Found; check the name"),
        (403, "the server says 403 Forbidden; it needs rights to be read"),
        (401, "the server says 401 Unauthorized; it needs rights to be read"),
    ],
)
def test_a_refusal_is_not_tried_again(web: Any, target: Path, status: int, text: str) -> None:
    page(web, status=status)
    assert refusal(lambda: download(web.url + FILE, target)) == f"{web.url}{FILE}: {text}"
    assert len(web.gets(FILE)) == 1
    assert not target.parent.exists()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(web: Any, target: Path, status: int) -> None:
    page(web, status=status)
    assert f"the server says {status} " in refusal(lambda: download(web.url + FILE, target))
    assert len(web.gets(FILE)) == ATTEMPTS


def test_a_server_that_is_not_there(web: Any, target: Path) -> None:
    web.close()
    message = refusal(lambda: download(f"http://127.0.0.1:{web.server.server_port}{FILE}", target))
    assert "Connection refused" in message
    assert "cannot be fetched" in message


def test_a_page_of_a_browser_is_no_file(web: Any, target: Path) -> None:
    page(web, content=b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    assert "a page for a browser, not a file" in refusal(lambda: download(web.url + FILE, target))
    assert not target.exists()


def test_a_folder_that_cannot_be_written(web: Any, tmp_path: Path) -> None:
    page(web)
    (tmp_path / "file").write_text("in the way")
    message = refusal(lambda: download(web.url + FILE, tmp_path / "file" / "model.pt"))
    assert "cannot write the weights there" in message
    assert message.endswith("set KITH_MODELS to another folder")


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "a") == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
