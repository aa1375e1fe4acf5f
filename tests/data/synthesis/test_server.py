"""Unknown speakers and styles by a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openkith.data.synthesis.http import SpeechServer
from openkith.data.synthesis.recordings import recordings_by_speaker, recordings_of
from openkith.data.synthesis.server import ServerSource
from openkith.data.synthesis.styles import STYLES
from openkith.errors import ConfigError


def test_voices_of_the_server(server: Any) -> None:
    source = ServerSource(SpeechServer(server.url), ["a", "b", "c", "b"])
    assert source.voices == 3
    clips = list(source.unknown_speakers(2, clips=2, seed=1))
    assert [clip.speaker for clip in clips] == [clips[0].speaker] * 2 + [clips[2].speaker] * 2
    assert len({clip.speaker for clip in clips}) == 2
    assert [server.wants(i)["voice"] for i in range(4)] == [clip.speaker for clip in clips]
    assert [server.wants(i)["input"] for i in range(4)] == [clip.text for clip in clips]
    assert all(clip.role == "negative" for clip in clips)
    assert clips[0].text != clips[1].text


def test_the_same_seed_asks_the_same(server: Any) -> None:
    for _ in range(2):
        list(ServerSource(SpeechServer(server.url), list("abcdef")).unknown_speakers(3, clips=1, seed=5))
    assert [server.wants(i) for i in range(3)] == [server.wants(i) for i in range(3, 6)]


def test_people_to_clone(server: Any, people: Path) -> None:
    source = ServerSource(
        SpeechServer(server.url, reference_field="ref"), ["default"], recordings_by_speaker([people])
    )
    assert source.voices == 2
    clips = list(source.unknown_speakers(2, clips=1))
    assert {clip.speaker for clip in clips} == {"ann", "ben"}
    assert server.wants(0)["voice"] == "default"
    assert server.wants(0)["ref"] != server.wants(1)["ref"]


def test_styles_of_a_person(server: Any, people: Path) -> None:
    source = ServerSource(SpeechServer(server.url, reference_field="ref"))
    recordings = recordings_of("ann", [people / "ann"])[:2]
    clips = list(source.styles("ann", recordings, [STYLES["sad"], STYLES["fast"]], seed=2))
    assert [(clip.speaker, clip.role, clip.style) for clip in clips] == [
        ("ann", "enroll", style) for style in ("sad", "sad", "fast", "fast")
    ]
    assert server.wants(0)["instructions"] == STYLES["sad"].instructions
    assert server.wants(2)["speed"] == pytest.approx(STYLES["fast"].tempo, rel=0.06)
    assert server.wants(0)["ref"] == server.wants(2)["ref"] != server.wants(1)["ref"]


def test_what_cannot_be(server: Any, people: Path) -> None:
    plain = SpeechServer(server.url)
    with pytest.raises(ConfigError, match="needs the names of the server's voices"):
        next(ServerSource(plain).unknown_speakers(1))
    with pytest.raises(ConfigError, match="3 people out of 2 voices of the server; ask for 1 to 2"):
        next(ServerSource(plain, ["a", "b"]).unknown_speakers(3))
    with pytest.raises(ConfigError, match="99 clips"):
        next(ServerSource(plain, ["a"]).unknown_speakers(1, clips=99))
    with pytest.raises(ConfigError, match="in the voice of ann only where it clones voices"):
        next(ServerSource(plain).styles("ann", recordings_of("ann", [people / "ann"]), [STYLES["sad"]]))
    assert not server.asked
