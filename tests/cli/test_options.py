"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from openkith.cli.options import first_task, given, open_encoder, open_recognizer, parse_share


@pytest.mark.parametrize(
    ("text", "share"), [("0.1%", 0.001), ("1 %", 0.01), ("0.001", 0.001), ("100%", 1.0), ("5e-3", 0.005)]
)
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "one", "1%%", "0,1%", "1 2"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a share"):
        parse_share(text)


def test_given() -> None:
    assert given(a=1, b=None, c=False, d=0.0) == {"a": 1, "c": False, "d": 0.0}


def test_first_task_tells_of_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    assert first_task("tuning", None) == "fetching the weights of ge2e, once"
    assert first_task("tuning", "another") == "tuning"
    (tmp_path / "ge2e.safetensors").touch()
    assert first_task("tuning", "ge2e") == "tuning"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, bands: Any) -> list[dict[str, Any]]:
    """How encoders were asked for."""
    calls: list[dict[str, Any]] = []

    def load_encoder(**options: Any) -> Any:
        calls.append(options)
        return bands

    monkeypatch.setattr("openkith.encoders.load_encoder", load_encoder)
    return calls


def test_open_encoder_passes_on_what_was_given(loaded: list[dict[str, Any]], bands: Any) -> None:
    assert open_encoder(None, None) is bands
    open_encoder("wavlm", 2, "cuda", "bfloat16")
    assert loaded == [
        {},
        {"name_or_path": "wavlm", "threads": 2, "device": "cuda", "precision": "bfloat16"},
    ]


def test_a_recogniser_on_a_device(loaded: list[dict[str, Any]], bands: Any, tmp_path: Path) -> None:
    with open_recognizer(str(tmp_path / "a.db"), "bands", 1) as recognizer:
        assert recognizer.encoder.fingerprint == bands.fingerprint
    assert loaded == []  # the recogniser loads it by itself, when it needs it
    with open_recognizer(str(tmp_path / "a.db"), "bands", 1, device="cpu") as recognizer:
        assert recognizer.encoder is bands
    assert loaded == [{"name_or_path": "bands", "threads": 1, "device": "cpu"}]


@pytest.mark.parametrize(
    "command",
    ["enroll", "reembed", "tune", "calibrate", "identify", "verify", "evaluate", "demo", "cohort build"],
)
def test_where_an_encoder_is_chosen_so_are_device_and_precision(
    kith: Callable[..., Any], command: str
) -> None:
    text = kith(*command.split(), "--help").stdout
    assert all(f"--{name}" in text for name in ("encoder", "device", "precision", "threads"))


@pytest.mark.parametrize("choice", [("--device", "cuda"), ("--precision", "bfloat16")])
def test_a_choice_that_the_encoder_does_not_have(
    kith: Callable[..., Any],
    only_line: Callable[..., str],
    clips: dict[tuple[int, int], Path],
    choice: tuple[str, str],
) -> None:
    line = f"kith: encoder 'bands' has no choice of {choice[0].removeprefix('--')}; leave it out"
    assert only_line(kith(*choice, "enroll", "ann", clips[0, 0])) == line
    assert only_line(kith("enroll", "ann", clips[0, 0], *choice)) == line
