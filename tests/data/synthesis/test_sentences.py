"""What is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from openkith.data.synthesis.sentences import read_texts
from openkith.errors import ConfigError, ManifestError


def test_texts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\nOne. \r\nZwei, größer.\n\nOne.\n", encoding="utf-8")
    assert read_texts(path) == ["One.", "Zwei, größer."]


def test_no_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n \n")
    with pytest.raises(ConfigError, match=r"texts\.txt: no texts"):
        read_texts(path)
    with pytest.raises(ManifestError, match="cannot read"):
        read_texts(tmp_path / "none.txt")
