"""The encoders that there are, and published weights for them."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from openkith.audio import Audio
from openkith.cli import app
from openkith.encoders import Encoder, catalog, encoder_names
from openkith.encoders.base import ENCODERS
from openkith.encoders.catalog import Model
from openkith.encoders.weights.hubs import Remote
from openkith.encoders.weights.known_models import KNOWN, Known
from openkith.encoders.weights.published import PUBLISHED
from openkith.encoders.weights.sources import parse
from openkith.errors import ConfigError, WeightsError
from openkith.wheels import models_folder

GUIDE = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")
CONTENT = b"weights" * 1000
FILE = "/net.pt"


@pytest.fixture
def published(web: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> Known:  # noqa: ARG001
    """A model of the table, whose weights this machine serves."""
    web.serve(FILE, CONTENT)
    known = Known(
        "mine", "onnx", web.url + FILE, 4, "MIT", eer=2.5, eer_source="here", size=7000, note="small"
    )
    monkeypatch.setitem(KNOWN, "mine", known)
    return known


def test_the_default_is_that_of_load_encoder() -> None:
    assert catalog.DEFAULT == "ge2e"


def test_models(models: Path, bands: Any) -> None:  # noqa: ARG001
    found = {model.name: model for model in catalog.models()}
    assert list(found) == sorted({*KNOWN, *encoder_names()})
    assert found["bands"] == Model("bands", "bands", 28)
    path = models / "ge2e.safetensors"
    ge2e = found["ge2e"]
    assert (ge2e.dim, ge2e.cached, ge2e.path, ge2e.size) == (256, False, path, None)
    assert (ge2e.licence, ge2e.source) == ("Apache-2.0", "Resemblyzer==0.1.4")
    campplus = found["campplus"]
    assert (campplus.encoder, campplus.dim, campplus.eer, campplus.size) == (
        "campplus",
        512,
        0.803,
        29_292_449,
    )
    assert campplus.path == models / "hf" / "Wespeaker--wespeaker-voxceleb-campplus"
    assert not any(model.cached for model in found.values())
    models.mkdir()
    path.write_bytes(b"12345")
    ge2e = catalog.info("ge2e")
    assert (ge2e.cached, ge2e.size) == (True, 5)


def test_an_encoder_of_another_distribution_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "encoder_names", lambda: ["theirs"])
    assert Model("theirs", "theirs") in catalog.models()


def test_no_such_model() -> None:
    with pytest.raises(ConfigError, match=r"^no model is named 'theirs'; there are: ") as caught:
        catalog.info("theirs")
    assert "ecapa-1024" in str(caught.value)
    assert "onnx" in str(caught.value)


def test_needs_fetching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    assert catalog.needs_fetching("ge2e")
    assert catalog.needs_fetching("wavlm")
    assert not catalog.needs_fetching("theirs")
    (tmp_path / "ge2e.safetensors").touch()
    assert not catalog.needs_fetching("ge2e")


def test_weights_path_is_where_they_are_loaded_from(ge2e: Any) -> None:  # noqa: ARG001
    path = catalog.weights_path("ge2e")
    assert path is not None
    assert path.parent == models_folder()
    assert path.is_file()
    assert catalog.weights_path("theirs") is None


def test_pull_of_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    asked = []

    def fetch(published: Any) -> None:
        asked.append(published)
        (tmp_path / f"{published.name}.safetensors").write_bytes(b"123")

    monkeypatch.setattr(catalog, "load_weights", fetch)
    model = catalog.pull("ge2e")
    assert asked == [PUBLISHED["ge2e"]]
    assert (model.cached, model.size) == (True, 3)


@pytest.mark.parametrize("name", ["theirs", "a/b/c", "no:thing"])
def test_pull_of_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, WeightsError)) as caught:
        catalog.pull(name)
    assert "owner/name" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pull_of_a_published_model(published: Known, web: Any) -> None:
    assert catalog.needs_fetching("mine")
    before = catalog.info("mine")
    assert (before.cached, before.size, before.note) == (False, 7000, "small")
    steps: list[tuple[str, int, int]] = []
    model = catalog.pull("mine", progress=lambda *step: steps.append(step))
    assert (model.name, model.encoder, model.cached, model.size) == ("mine", "onnx", True, len(CONTENT))
    assert model.path is not None
    assert model.path.read_bytes() == CONTENT
    assert steps
    assert not catalog.needs_fetching("mine")
    assert catalog.pull("mine") == catalog.info(published.weights or "") == model
    assert len(web.gets(FILE)) == 1
    model.path.write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match="damaged since it was fetched"):
        catalog.pull("mine")


def test_pull_of_anything_else(web: Any, models: Path) -> None:  # noqa: ARG001
    web.serve(FILE, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    model = catalog.pull(f"{web.url}{FILE}#sha256={digest}")
    assert (model.cached, model.size, model.encoder, model.licence) == (True, len(CONTENT), "", None)
    assert model.path is not None
    assert model.path.name == "net.pt"


def guide_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guide_has_the_table() -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in GUIDE.splitlines()
        if line.startswith("| `")
    ]
    table = {row[0].strip("`"): row for row in rows if len(row) == 6}
    assert set(table) == {*KNOWN, *ENCODERS}
    for name, known in KNOWN.items():
        _, _, dim, licence, eer, extras = table[name]
        assert dim == str(known.dim)
        assert licence == known.licence or (known.licence is None and licence in {"not known", "not stated"})
        assert eer == ("–" if known.eer is None else f"{known.eer:g} %")
        remote = parse(known.weights) if known.weights else None
        assert ("`hub`" in extras) == (isinstance(remote, Remote) and remote.kind == "hf")


def test_the_encoder_in_the_guide_is_one() -> None:
    [example] = [block for block in guide_blocks("python") if "class Loudness" in block]
    names: dict[str, Any] = {}
    exec(compile(example, "encoders.md", "exec"), names)
    encoder = names["Loudness"]()
    assert isinstance(encoder, Encoder)
    clip = Audio(np.full(16_000, 0.5, np.float32), "<array>")
    embeddings = encoder.embed([clip, clip])
    assert embeddings.shape == (2, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-6)
    assert encoder.embed([]).shape == (0, encoder.dim)
    spans, windows = encoder.embed_windows(clip)
    assert (spans.shape, windows.shape) == ((1, 2), (1, encoder.dim))
    features, times = encoder.frames(clip)
    assert len(features) == len(times)


@pytest.mark.parametrize("line", [line for block in guide_blocks("sh") for line in block.splitlines()])
def test_commands_of_the_guide_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    result = CliRunner().invoke(app, [*words[:2], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert all(word in result.output for word in words if word.startswith("--"))
