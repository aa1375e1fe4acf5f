"""Synthetic speech: people who do not exist, and people who do in other moods.

Two kinds are made behind one protocol, `SpeechSource`: **unknown speakers**, who teach a tuned head what other people
sound like, and **speaking styles** of an enrolled person (older, younger, happy, sad, angry, tired, fast, slow), who
teach it what that person sounds like on other days. The sources::

    espeak      eSpeak's voices, out of text alone          extra synthesis
    transform   Praat's change of given recordings          extra synthesis
    server      any server of POST /v1/audio/speech         whatever it runs

The modules::

    base        the protocol, and a clip
    sentences   what is said
    styles      the speaking styles, and where a new person begins
    espeak, transform, server                               the sources
    http        one request to a speech server
    household   a household of synthetic people, for kith demo
    recordings  files, folders, manifests and galleries as recordings to start from
    folder      a folder of WAV files with its manifest
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openkith.data.corpus import Utterance
from openkith.data.synthesis.base import SpeechSource, SyntheticClip
from openkith.data.synthesis.espeak import (
    VOICES,
    EspeakSource,
    SyntheticVoice,
    espeak_voices,
    speak,
    unknown_speakers,
)
from openkith.data.synthesis.folder import write_styles, write_unknown
from openkith.data.synthesis.household import MEN, WOMEN, household, write_household
from openkith.data.synthesis.http import SpeechServer
from openkith.data.synthesis.sentences import SENTENCES, read_texts
from openkith.data.synthesis.server import ServerSource
from openkith.data.synthesis.styles import STYLES, Style, style_named
from openkith.data.synthesis.transform import TransformSource
from openkith.errors import ConfigError

__all__ = [
    "MEN",
    "SENTENCES",
    "SOURCES",
    "STYLES",
    "VOICES",
    "WOMEN",
    "EspeakSource",
    "ServerSource",
    "SpeechServer",
    "SpeechSource",
    "Style",
    "SyntheticClip",
    "SyntheticVoice",
    "TransformSource",
    "espeak_voices",
    "household",
    "make_source",
    "read_texts",
    "speak",
    "style_named",
    "unknown_speakers",
    "write_household",
    "write_styles",
    "write_unknown",
]

Recordings = Mapping[str, Sequence[Utterance]]


def _espeak(
    recordings: Recordings, voices: Sequence[str], texts: Sequence[str], server: Mapping[str, Any]
) -> SpeechSource:
    _refuse("espeak", recordings=recordings, voices=voices, server=server)
    return EspeakSource(texts)


def _transform(
    recordings: Recordings, voices: Sequence[str], texts: Sequence[str], server: Mapping[str, Any]
) -> SpeechSource:
    _refuse("transform", voices=voices, texts=texts is not SENTENCES, server=server)
    return TransformSource(recordings)


def _server(
    recordings: Recordings, voices: Sequence[str], texts: Sequence[str], server: Mapping[str, Any]
) -> SpeechSource:
    if "url" not in server:
        raise ConfigError(
            "the source server needs the address of one; give --url, such as http://localhost:8880"
        )
    return ServerSource(SpeechServer(**server), voices, recordings, texts)


SOURCES: dict[str, Callable[[Recordings, Sequence[str], Sequence[str], Mapping[str, Any]], SpeechSource]] = {
    EspeakSource.name: _espeak,
    TransformSource.name: _transform,
    ServerSource.name: _server,
}
"""How each source is made, by name, of recordings by speaker, names of voices, texts, and settings of a server."""


def make_source(
    name: str,
    recordings: Recordings | None = None,
    voices: Sequence[str] = (),
    texts: Sequence[str] | None = None,
    server: Mapping[str, Any] | None = None,
) -> SpeechSource:
    """A source by its name, of what a user gave.

    Args:
        name: A key of `SOURCES`.
        recordings: People to make others of, or to clone.
        voices: Names of a server's voices.
        texts: What is said; default `SENTENCES`.
        server: Fields of `SpeechServer`.

    Raises:
        ConfigError: The name is unknown, something is missing, or something is given that the source has no use for.
    """
    if name not in SOURCES:
        raise ConfigError(f"source {name!r} is unknown; use {', '.join(SOURCES)}")
    return SOURCES[name](recordings or {}, voices, SENTENCES if texts is None else texts, server or {})


def _refuse(source: str, **useless: Any) -> None:
    options = {
        "recordings": "--from",
        "voices": "--voices",
        "texts": "--texts",
        "server": "options of a server",
    }
    for name, value in useless.items():
        if value:
            raise ConfigError(
                f"the source {source} has no use for {options[name]}; leave that out, or choose another"
            )
