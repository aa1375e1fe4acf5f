from __future__ import annotations

import numpy as np
import pytest

from openkith.errors import GalleryError
from openkith.gallery import NewClip
from openkith.gallery.records import MAX_NAME_CHARACTERS, clean_name

SHA = "0" * 64
EMBEDDING = {"embedding": np.ones(4, np.float32)}


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("alice", "alice"),
        ("  Alice Smith \n", "Alice Smith"),
        ("Zoe\u0308", "Zo\u00eb"),  # NFC
        ("\u0646\u200c\u0645", "\u0646\u200c\u0645"),  # a joiner inside a Persian word
        ("王芳", "王芳"),
        ("a" * MAX_NAME_CHARACTERS, "a" * MAX_NAME_CHARACTERS),
    ],
)
def test_clean_name(given: str, clean: str) -> None:
    assert clean_name(given, new=True) == clean


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ("a" * (MAX_NAME_CHARACTERS + 1), "101 characters"),
        ("al\nice", "control character"),
        ("al\x00ice", "control character"),
        ("al\u202eice", "control character"),  # would turn the line around on a terminal
        ("al\udcffice", "control character"),  # a byte that is not UTF-8
        ("unknown", "reserved"),
        (" Unknown ", "reserved"),
    ],
)
def test_names_that_are_refused(given: str, said: str) -> None:
    with pytest.raises(GalleryError, match=said) as caught:
        clean_name(given, new=True)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_reserved_name_may_be_asked_for() -> None:
    assert clean_name("unknown") == "unknown"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"arrays": {}}, "'embedding'"),
        ({"arrays": {"embedding": np.ones((1, 4), np.float32)}}, r"\(1, 4\)"),
        ({"arrays": {"embedding": np.ones(4)}}, "float64"),
        ({"arrays": {"embedding": np.ones(0, np.float32)}}, r"\(0,\)"),
        ({"arrays": {"embedding": np.array([1, np.nan], np.float32)}}, "NaN"),
    ],
)
def test_clips_that_are_refused(changes: dict[str, object], said: str) -> None:
    values = {"sha256": SHA, "seconds": 1.0, "quality": {}, "arrays": EMBEDDING, "source": "a.wav"} | changes
    with pytest.raises(GalleryError, match=said) as caught:
        NewClip(**values)  # type: ignore[arg-type]
    assert str(caught.value).startswith("a.wav: ")
