"""The page about the API."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from openkith.service.reference import render


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_route_is_there_with_an_example(client: Any) -> None:
    page = client.get("/docs")
    api = client.get("/openapi.json").json()
    assert page.headers["content-type"].startswith("text/html")
    for path, operations in api["paths"].items():
        assert path in page.text
        for method, operation in operations.items():
            assert (
                operation["description"].splitlines()[0].replace("'", "&#x27;").replace('"', "&quot;")
                in page.text
            )
            assert f'class="{method}"' in page.text
    assert "/v1/stream" in page.text
    assert "curl -X POST http://localhost:8737/v1/verify?speaker_id=3" in page.text.replace("&#x27;", "")
    assert "-F clip=@clip.wav" in page.text


def test_it_is_well_formed_and_asks_nobody(client: Any) -> None:
    page = client.get("/docs")
    tags = Tags()
    tags.feed(page.text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    policy = page.headers["content-security-policy"]
    assert re.search(r"style-src 'self' 'sha256-[A-Za-z0-9+/=]{44}'", policy)


def test_text_is_escaped() -> None:
    api = {
        "info": {"title": "<b>", "version": "1"},
        "paths": {"/<x>": {"get": {"description": "<script>", "responses": {}}}},
        "components": {"schemas": {}},
    }
    page = render(api, 'http://"><script>')
    assert "<script>" not in page
    assert "<b>" not in page


def test_every_route_has_examples_and_problems(client: Any) -> None:
    api = client.get("/openapi.json").json()
    assert api["openapi"].startswith("3.1")
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            if path.startswith("/v1"):
                assert {"401", "403", "422", "429", "default"} <= set(operation["responses"])
                assert operation["security"] == [{"HTTPBearer": []}]
                for status in ("401", "default"):
                    content = operation["responses"][status]["content"]
                    assert set(content) == {"application/problem+json"}
