"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from openkith.cli.options import first_task, given, parse_share


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
