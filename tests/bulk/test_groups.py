"""A group of utterances, some of which cannot be embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio
from openkith.bulk import groups
from openkith.bulk.groups import EmbedOptions, embed_group
from openkith.bulk.listing import Item, list_input

Noise = Callable[..., Path]


class Picky:
    """Chokes on clips of a length, however many others come with them."""

    name, dim, sample_rate, fingerprint = "picky", 2, 16_000, "picky/1"

    def __init__(self, gives: object) -> None:
        self.gives = gives

    def embed(self, clips: Sequence[Audio]) -> np.ndarray:
        out = np.ones((len(clips), 2), np.float32)
        for i, clip in enumerate(clips):
            if len(clip.samples) == 8000:
                if isinstance(self.gives, Exception):
                    raise self.gives
                out[i] = self.gives
        return out


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (RuntimeError("shapes\ndo not match"), "shapes do not match"),
        (ValueError(), "ValueError"),
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
    ],
)
def test_an_encoder_that_fails_on_one_clip(tmp_path: Path, noise: Noise, gives: object, said: str) -> None:
    for clip, seconds in enumerate((0.3, 0.5, 0.4)):
        noise(tmp_path / "c" / "ann" / f"{clip}.wav", clip, seconds)
    encoder: Any = Picky(gives)
    first, bad, last = embed_group(encoder, list_input(tmp_path / "c"), EmbedOptions())
    assert (bad.utterance, bad.vector, bad.measures) == ("ann/1.wav", None, None)
    assert said in bad.error
    assert "\n" not in bad.error
    for good in (first, last):
        assert (good.error, good.vector is None) == ("", False)


def test_much_audio_is_embedded_in_parts(
    tmp_path: Path, noise: Noise, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_MOST_SECONDS", 0.5)
    sizes: list[int] = []
    embed = fake.embed
    monkeypatch.setattr(fake, "embed", lambda clips: (sizes.append(len(clips)), embed(clips))[1])
    for clip in range(5):
        noise(tmp_path / "c" / "ann" / f"{clip}.wav", clip)
    outcomes = embed_group(fake, list_input(tmp_path / "c"), EmbedOptions())
    assert sizes == [2, 2, 1]
    assert [outcome.utterance for outcome in outcomes] == [f"ann/{clip}.wav" for clip in range(5)]


def test_files_that_cannot_be_read(tmp_path: Path, noise: Noise, fake: Any) -> None:
    """Each has an outcome in its place, with the reason in one line and without its path."""
    (tmp_path / "empty.wav").touch()
    (tmp_path / "noise.wav").write_bytes(b"\0" * 99)
    items = [
        Item("gone", tmp_path / "gone.wav", ""),
        Item("good", noise(tmp_path / "good.wav", 0), "ann"),
        Item("empty", tmp_path / "empty.wav", ""),
        Item("noise", tmp_path / "noise.wav", ""),
        Item("cut", tmp_path / "good.wav", "", 5.0, 6.0),
    ]
    outcomes = embed_group(fake, items, EmbedOptions())
    assert [outcome.utterance for outcome in outcomes] == [item.utterance for item in items]
    assert [outcome.error.split(";")[0].split(" (")[0] for outcome in outcomes[:4]] == [
        *("no such file", "", "empty file", "not audio that openkith can read")
    ]
    assert outcomes[4].vector is None
    assert not any(str(tmp_path) in outcome.error or "\n" in outcome.error for outcome in outcomes)
