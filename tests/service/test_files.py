"""The files of the page, and nothing else."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import pytest


def test_the_page_and_all_that_it_names(client: Any) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    named = set(re.findall(r'(?:src|href)="/?(page/[^"#?]+)"', page.text))
    assert named
    for path in named:
        part = client.get(f"/{path}")
        assert part.status_code == 200, path
        assert part.content
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)


def test_types(client: Any) -> None:
    folder = resources.files("openkith.service") / "page"
    for entry in folder.iterdir():
        if entry.is_file():
            kind = client.get(f"/page/{entry.name}").headers["content-type"]
            assert kind.split(";")[0] in {
                *("text/html", "text/javascript", "text/css", "image/svg+xml", "image/png"),
                "application/json",
            }


def test_unchanged(client: Any) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/"),
        *(
            "/page/js",
            "/page/js/",
            "/page/index.html%00",
            "/page/..\\app.py",
            "/app.py",
        ),
    ],
)
def test_there_is_nothing_else(client: Any, path: str) -> None:
    assert client.get(path).status_code == 404
