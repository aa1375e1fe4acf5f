"""doctor and models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.wheels import models_folder

Run = Callable[..., Any]


def test_doctor(kith: Run, gallery: Path) -> None:
    result = kith("doctor")
    assert result.exit_code == 0, result.stdout
    topics = [line.split()[1] for line in result.stdout.splitlines()[1:-1]]
    assert {"python", "torch", "encoder", "cohort", "migrations", "gallery", "disk"} <= set(topics)
    assert f"{gallery}: nothing there yet" in result.stdout
    assert not gallery.exists()
    assert result.stdout.splitlines()[-1] == "all is well"


def test_doctor_in_a_bare_place(start: Run, tmp_path: Path) -> None:
    """No weights, no network, no home: as after installing a wheel."""
    bare = {
        "HOME": str(tmp_path),
        "KITH_MODELS": str(tmp_path / "models"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
    }
    done = start("doctor", "--json", env=bare, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["healthy"] is True
    [encoder] = [check for check in data["checks"] if check["topic"] == "encoder"]
    assert (encoder["state"], encoder["values"]["cached"]) == ("note", False)
    assert not (tmp_path / "models").exists()


def test_doctor_of_a_broken_gallery(kith: Run, gallery: Path) -> None:
    gallery.write_text("not a gallery\n" * 10)
    result = kith("doctor")
    assert result.exit_code == 2
    assert "problem  gallery" in result.stdout
    assert "see the problems above" in result.stdout
    data = json.loads(kith("doctor", "--json").stdout)
    assert data["healthy"] is False


def test_models_list(kith: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    text = kith("models", "list").stdout
    assert "not fetched yet" in text
    data = json.loads(kith("models", "list", "--json").stdout)["models"]
    [ge2e] = [model for model in data if model["name"] == "ge2e"]
    assert (ge2e["dim"], ge2e["cached"], ge2e["size"]) == (256, False, None)
    assert (ge2e["licence"], ge2e["source"]) == ("Apache-2.0", "Resemblyzer==0.1.4")
    assert any(model["name"] == "bands" and model["source"] is None for model in data)
    [campplus] = [model for model in data if model["name"] == "campplus"]
    assert (campplus["eer"], campplus["encoder"]) == (0.803, "campplus")
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "0.803 %" in lines["campplus"]
    assert "none published" in lines["bands"]


def test_models_info(kith: Run, only_line: Run) -> None:
    text = kith("models", "info", "eres2netv2").stdout
    for part in (
        "192",
        "Apache-2.0",
        "71768231 bytes",
        "0eb4057106b2573d",
        "modelscope:iic/",
        "not published for",
    ):
        assert part in text
    data = json.loads(kith("models", "info", "resnet34", "--json").stdout)
    assert (data["dim"], data["eer"], data["licence"]) == (256, 0.797, "CC-BY-4.0")
    assert (
        "https://huggingface.co/Wespeaker/wespeaker-voxceleb-resnet34-LM"
        in kith("models", "info", "resnet34").stdout
    )
    assert "unknown" in kith("models", "info", "bands").stdout
    assert "no model is named 'nobody'; there are: " in only_line(kith("models", "info", "nobody"))


def test_models_pull(kith: Run, ge2e: Any) -> None:  # noqa: ARG001
    """Here already: nothing is fetched, and the file is checked."""
    path = models_folder() / "ge2e.safetensors"
    assert kith("models", "pull", "ge2e").stdout == f"ge2e: {path}\n"
    data = json.loads(kith("models", "pull", "ge2e", "--json").stdout)
    assert (data["cached"], data["path"], data["size"]) == (True, str(path), path.stat().st_size)


def test_models_pull_what_is_not_there(kith: Run, only_line: Run) -> None:
    line = only_line(kith("models", "pull", "bands"))
    assert "no published weights are named 'bands'; there are: " in line
    assert "ge2e" in line


def test_models_pull_of_damaged_weights(
    kith: Run, only_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    (tmp_path / "ge2e.safetensors").write_bytes(b"x" * 100)
    assert "damaged weights" in only_line(kith("models", "pull", "ge2e"))


def test_models_pull_offline(
    kith: Run, only_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    monkeypatch.setenv("KITH_OFFLINE", "1")
    for name in ("ge2e", "eres2netv2", "wavlm", "resnetse34v2", "hf:some/model", "http://127.0.0.1:9/a.pt"):
        assert "the network is switched off (KITH_OFFLINE)" in only_line(kith("models", "pull", name))
    assert list(tmp_path.iterdir()) == []


def test_models_pull_from_an_address_without_a_server(
    kith: Run, only_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("openkith.encoders.weights.downloads.PAUSE_SECONDS", 0.0)
    assert "Connection refused" in only_line(kith("models", "pull", "http://127.0.0.1:9/a.pt"))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was handed to the export, which is tested where it is; it only writes a file here."""
    from openkith.encoders.graphs.export import ExportReport

    calls: list[Any] = []

    def export_onnx(encoder: Any, path: Path) -> ExportReport:
        calls.append(encoder)
        path.write_bytes(b"graph")
        return ExportReport(path, 2.5e-7, 1e-4, 9, "samples", 5)

    monkeypatch.setattr("openkith.encoders.graphs.export.export_onnx", export_onnx)
    return calls


def test_models_export(kith: Run, exported: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "bands.onnx"
    text = kith("models", "export", "bands", out).stdout
    assert str(out) in text
    assert "max cosine distance 2.5e-07" in text
    assert out.read_bytes() == b"graph"
    data = json.loads(kith("models", "export", "bands", out, "--json").stdout)
    assert (data["max_cosine_distance"], data["path"]) == (2.5e-07, str(out))
    assert [encoder.name for encoder in exported] == ["bands", "bands"]


def test_models_export_into_no_folder(kith: Run, only_line: Run, exported: list[Any], tmp_path: Path) -> None:
    assert "none" in only_line(kith("models", "export", "bands", tmp_path / "none" / "bands.onnx"))
    assert not exported


def test_models_export_of_what_has_none(kith: Run, only_line: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert "has no export to ONNX" in only_line(kith("models", "export", "bands", tmp_path / "bands.onnx"))
    assert list(tmp_path.glob("*.onnx")) == []


def test_models_export_of_ge2e(kith: Run, ge2e: Any, tmp_path: Path) -> None:  # noqa: ARG001
    pytest.importorskip("onnxscript")
    data = json.loads(kith("models", "export", "ge2e", tmp_path / "ge2e.onnx", "--json").stdout)
    assert data["max_cosine_distance"] < 1e-4
    assert (tmp_path / "ge2e.onnx").stat().st_size == data["size"]
