"""The registry of encoders, third parties' by entry point, and torch's threads."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from openkith.audio import Audio
from openkith.encoders import Encoder, base, encoder_names, load_encoder
from openkith.encoders.base import torch_threads
from openkith.encoders.weights.hubs import Remote
from openkith.encoders.weights.known_models import KNOWN
from openkith.encoders.weights.sources import parse
from openkith.errors import ConfigError, WeightsError


class Loudness:
    """What another distribution may bring: one number per clip."""

    name = "loudness"
    dim = 1
    sample_rate = 16_000
    fingerprint = "loudness/1"

    def __init__(self, weights: str | Path | None, threads: int | None) -> None:
        self.given = weights, threads

    def embed(self, clips: Sequence[Audio]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.ones((len(clips), 1), np.float32)

    def embed_windows(self, clip: Audio) -> tuple[Any, Any]:
        return np.array([[0.0, clip.seconds]]), self.embed([clip])

    def frames(self, clip: Audio) -> tuple[Any, Any]:
        return np.abs(clip.samples)[:, None], np.arange(len(clip.samples)) / 16_000


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution with three entry points: one that works, one broken, one named as our own."""
    module = ModuleType("kith_third_party")
    module.Loudness = Loudness  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kith_third_party", module)
    values = {
        "loudness": "kith_third_party:Loudness",
        "broken": "no_such_module_of_kith:Thing",
        "renamed": "kith_third_party:Loudest",
        "ge2e": "kith_third_party:Loudness",
    }

    def entry_points(*, group: str) -> list[EntryPoint]:
        assert group == "openkith.encoders"
        return [EntryPoint(name, value, group) for name, value in values.items()]

    monkeypatch.setattr(base, "entry_points", entry_points)


class Asked:
    """An encoder that only keeps what it was asked for."""

    def __init__(
        self,
        weights: Any = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.given = {"weights": weights, "device": device, "precision": precision, "threads": threads}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every encoder of ours is one that only keeps what it was asked for."""
    module = ModuleType("kith_asked")
    module.Asked = Asked  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kith_asked", module)
    for name in base.ENCODERS:
        monkeypatch.setitem(base.ENCODERS, name, "kith_asked:Asked")


def given(*args: Any, **options: Any) -> dict[str, Any]:
    """What the encoder was asked for, without what is as usual."""
    usual = {"weights": None, "device": "auto", "precision": "float32", "threads": None}
    encoder: Any = load_encoder(*args, **options)
    return {key: value for key, value in encoder.given.items() if value != usual[key]}


def test_our_own_are_listed() -> None:
    assert {"ge2e", "wavlm", "eres2netv2", "resnet34", "resnet34-ns", "ecapa"} <= set(encoder_names())
    assert {"resnetse34v2", "campplus", "onnx"} <= set(encoder_names())
    assert encoder_names() == sorted(set(encoder_names()))


@pytest.mark.parametrize("name", sorted(base.ENCODERS))
def test_each_of_ours_is_a_class_of_that_name(name: str) -> None:
    module, _, attribute = base.ENCODERS[name].partition(":")
    found = getattr(import_module(module), attribute)
    assert found.name == name


@pytest.mark.usefixtures("asked")
def test_choices_are_passed_on() -> None:
    assert given("ge2e") == given() == {}
    choices = {"weights": "w.pt", "device": "cuda:1", "precision": "bfloat16", "threads": 3}
    assert given("wavlm", **choices) == choices
    assert given("wavlm", "w.pt", "cuda:1", "bfloat16", 3) == choices


@pytest.mark.usefixtures("asked")
def test_an_onnx_file(tmp_path: Path) -> None:
    file = tmp_path / "Model.ONNX"
    file.touch()
    assert given(file) == given(str(file)) == {"weights": file}
    with pytest.raises(ConfigError, match=r"none.onnx: no such file; give an .onnx file"):
        load_encoder(tmp_path / "none.onnx")
    with pytest.raises(ConfigError, match=r"^weights is 'w.pt', but .*Model.ONNX has its own"):
        load_encoder(file, weights="w.pt")


@pytest.mark.usefixtures("asked")
def test_a_folder_of_transformers(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architectures": ["UniSpeechSatForXVector"]}))
    assert given(tmp_path) == given(str(tmp_path), threads=None) == {"weights": tmp_path}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"architectures": ["WavLMForCTC"]}', "names no x-vector network"),
        ('{"architectures": "WavLMForXVector"}', "names no x-vector network"),
        ("{}", "names no x-vector network"),
        ("[]", "names no x-vector network"),
        ("{", "not readable as JSON"),
        ("\xff", "names no x-vector network"),
    ],
)
def test_a_folder_of_another_model(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(content if content != "\xff" else "{}")
    with pytest.raises(ConfigError, match=reason) as caught:
        load_encoder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("asked")
def test_published_models_are_loaded_by_name_or_source() -> None:
    wide = KNOWN["eres2netv2-w24s4ep4"]
    assert given("eres2netv2-w24s4ep4") == given(wide.weights) == {"weights": wide.weights}
    assert given("hf:Wespeaker/wespeaker-voxceleb-campplus") == {
        "weights": "Wespeaker/wespeaker-voxceleb-campplus"
    }
    assert given("ecapa-1024", weights="mine.pt") == {"weights": "mine.pt"}
    assert given("eres2netv2") == {}  # the class knows its own


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"ge2e"}))
def test_published_models_are_what_encoders_ask_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a source, an encoder wants the files that the table has: after a pull, loading needs no network."""
    known, calls = KNOWN[name], []

    def fetch(weights: Any, *, files: Sequence[str]) -> None:
        calls.append((weights, files))
        raise WeightsError("far enough")

    for package in ("transformers", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.setattr("openkith.encoders.weights.sources.fetch", fetch)
    with pytest.raises(WeightsError, match=r"^far enough$"):
        load_encoder(name)
    [(weights, files)] = calls
    assert weights == known.weights
    remote = parse(weights)
    assert isinstance(remote, Remote)
    there = [remote.inside] if remote.inside else [*remote.published, "README.md"]
    assert set(remote.wanted(there, files)) == set(there) - {"README.md"}


@pytest.mark.usefixtures("third_party")
def test_a_third_party_is_listed_and_loaded() -> None:
    assert {"broken", "ge2e", "loudness", "renamed"} <= set(encoder_names())
    encoder = load_encoder("loudness", weights="w.bin", threads=2)
    assert isinstance(encoder, Loudness)
    assert isinstance(encoder, Encoder)
    assert encoder.given == ("w.bin", 2)


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(("choice", "value"), [("device", "cuda"), ("precision", "bfloat16")])
def test_a_choice_that_a_third_party_does_not_have(choice: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^encoder 'loudness' has no choice of {choice}; leave it out$"):
        load_encoder("loudness", **{choice: value})


@pytest.mark.usefixtures("third_party")
def test_our_own_name_stays_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.ENCODERS, "ge2e", "openkith.encoders.base:nothing")
    with pytest.raises(AttributeError):  # ours was tried, not the entry point
        load_encoder("ge2e")


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(("name", "reason"), [("broken", "no_such_module_of_kith"), ("renamed", "Loudest")])
def test_a_broken_third_party_is_named(name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_encoder(name)
    assert str(caught.value).startswith(f"encoder '{name}' is installed but broken (")
    assert reason in str(caught.value)


@pytest.mark.usefixtures("third_party")
def test_an_unknown_encoder_lists_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        load_encoder("resnet")
    message = str(caught.value)
    assert message.startswith(f"no encoder is named 'resnet'; there are: {', '.join(encoder_names())}; ")
    assert "loudness" in message
    assert "\n" not in message


def test_the_registry_takes_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kith_other", ModuleType("kith_other"))
    sys.modules["kith_other"].Loudness = Loudness  # type: ignore[attr-defined]
    monkeypatch.setitem(base.ENCODERS, "other", "kith_other:Loudness")
    assert "other" in encoder_names()
    assert isinstance(load_encoder("other"), Loudness)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"^threads is {threads}; give 1 or more"):
        load_encoder("ge2e", threads=threads)


@pytest.fixture
def three_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_threads_are_restored() -> None:
    with torch_threads(2):
        assert torch.get_num_threads() == 2
        with torch_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_threads_are_restored_after_an_error() -> None:
    with pytest.raises(KeyError), torch_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_none_leaves_the_threads_alone() -> None:
    with torch_threads(None):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3
