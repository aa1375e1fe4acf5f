"""The registry of encoders, third parties' by entry point, and torch's threads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
from openkith.errors import ConfigError


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


def test_our_own_are_listed() -> None:
    assert "ge2e" in encoder_names()
    assert encoder_names() == sorted(set(encoder_names()))


@pytest.mark.usefixtures("third_party")
def test_a_third_party_is_listed_and_loaded() -> None:
    assert encoder_names() == ["broken", "ge2e", "loudness", "renamed"]
    encoder = load_encoder("loudness", weights="w.bin", threads=2)
    assert isinstance(encoder, Loudness)
    assert isinstance(encoder, Encoder)
    assert encoder.given == ("w.bin", 2)


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
    assert str(caught.value) == "no encoder is named 'resnet'; there are: broken, ge2e, loudness, renamed"


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
