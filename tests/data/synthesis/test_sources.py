"""The registry: every source by its name, of what a user gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openkith.data.synthesis import SOURCES, make_source
from openkith.data.synthesis.recordings import recordings_by_speaker
from openkith.errors import ConfigError

URL = {"url": "http://localhost:8880"}


def test_every_source_is_made_by_its_name(people: Path) -> None:
    found = recordings_by_speaker([people])
    made = [
        make_source("espeak", texts=["Hello."]),
        make_source("transform", found),
        make_source("server", found, ["a"], ["Hello."], URL),
    ]
    assert [source.name for source in made] == list(SOURCES)
    assert [source.voices for source in made] == [100, 8, 2]


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("espeek", {}, "source 'espeek' is unknown; use espeak, transform, server"),
        ("espeak", {"server": URL}, "espeak has no use for options of a server"),
        ("espeak", {"voices": ["a"]}, "espeak has no use for --voices"),
        ("transform", {"texts": ["a"]}, "transform has no use for --texts"),
        ("server", {}, "needs the address of one; give --url"),
    ],
)
def test_what_does_not_fit(name: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_source(name, **given)
