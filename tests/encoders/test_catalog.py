"""The encoders that there are, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openkith.encoders import catalog
from openkith.encoders.weights import PUBLISHED, models_folder
from openkith.errors import ConfigError


def test_the_default_is_that_of_load_encoder() -> None:
    assert catalog.DEFAULT == "ge2e"


def test_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bands: Any) -> None:  # noqa: ARG001
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    own, ge2e = catalog.models()
    assert own == catalog.Model("bands", 28, False, None, None, None, None)
    path = tmp_path / "ge2e.safetensors"
    assert ge2e == catalog.Model("ge2e", 256, False, path, None, "Apache-2.0", "Resemblyzer==0.1.4")
    path.write_bytes(b"12345")
    ge2e = catalog.models()[1]
    assert (ge2e.cached, ge2e.size) == (True, 5)


def test_an_encoder_of_another_distribution_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "encoder_names", lambda: ["theirs"])
    assert catalog.models() == [catalog.Model("theirs", None, False, None, None, None, None)]


def test_needs_fetching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    assert catalog.needs_fetching("ge2e")
    assert not catalog.needs_fetching("theirs")
    (tmp_path / "ge2e.safetensors").touch()
    assert not catalog.needs_fetching("ge2e")


def test_weights_path_is_where_they_are_loaded_from(ge2e: Any) -> None:  # noqa: ARG001
    path = catalog.weights_path("ge2e")
    assert path is not None
    assert path.parent == models_folder()
    assert path.is_file()
    assert catalog.weights_path("theirs") is None


def test_pull(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    asked = []

    def fetch(published: Any) -> None:
        asked.append(published)
        (tmp_path / f"{published.name}.safetensors").write_bytes(b"123")

    monkeypatch.setattr(catalog, "load_weights", fetch)
    model = catalog.pull("ge2e")
    assert asked == [PUBLISHED["ge2e"]]
    assert (model.cached, model.size) == (True, 3)
    with pytest.raises(ConfigError, match="no published weights are named 'theirs'; there are: ge2e"):
        catalog.pull("theirs")
