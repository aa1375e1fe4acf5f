"""The losses by name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import openkith.losses
from openkith.errors import ConfigError
from openkith.losses import LOSSES, Loss, loss_names, loss_options, make_loss

NAMES = [
    "softmax",
    "a-softmax",
    "am-softmax",
    "aam-softmax",
    "gcpl",
    "rpl",
    "arpl",
    "speaker-rpl",
    "speaker-rpl-v2",
]
SHARED = {"unknown_weight": 0.01, "unknown_term": "entropy", "known_energy": None, "unknown_energy": None}


def test_the_names() -> None:
    assert loss_names() == list(LOSSES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_made_by_name(name: str) -> None:
    loss = make_loss(name, 3, 4, members=2, generator=torch.Generator().manual_seed(0))
    assert isinstance(loss, Loss)
    assert type(loss).__name__ == LOSSES[name].partition(":")[2]
    assert (loss.n_speakers, loss.dim, loss.members) == (3, 4, 2)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("softmax", {}),
        ("a-softmax", {"margin": 4, "annealing": 0.0, "annealing_rate": 0.1, "annealing_floor": 5.0}),
        ("am-softmax", {"margin": 0.2, "scale": 15.0}),
        ("aam-softmax", {"margin": 0.5235987755982988, "scale": 15.0, "easy_margin": False}),
        ("gcpl", {"prototypes_per_speaker": 1, "gamma": 1.0, "weight": 0.1}),
        ("rpl", {"points_per_speaker": 1, "gamma": 1.0, "weight": 0.1}),
        ("arpl", {"gamma": 1.0, "weight": 0.1, "slack": 1.0}),
        ("speaker-rpl", {"weight": 5.0, "temperature": 1.0, "variant": "openkith"}),
        ("speaker-rpl-v2", {"weight": 5.0, "tau": 0.04, "alpha": 10.0, "anchor_pull": 0.1}),
    ],
)
def test_options_and_their_defaults(name: str, own: dict[str, Any]) -> None:
    assert loss_options(name) == {**own, **SHARED}
    loss = make_loss(name, 3, 4, **own, **SHARED)
    assert {key: getattr(loss, key) for key in own} == own


def test_options_arrive() -> None:
    loss = make_loss("aam-softmax", 3, 4, margin=0.3, scale=20.0, easy_margin=True, unknown_weight=0.5)
    assert (loss.margin, loss.scale, loss.easy_margin, loss.unknown_weight) == (0.3, 20.0, True, 0.5)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"^no loss is named 'speakerrpl'; there are: softmax, .*speaker-rpl-v2$"
    ):
        make_loss("speakerrpl", 3, 4)
    with pytest.raises(ConfigError, match="no loss is named 'x'"):
        loss_options("x")


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_named(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^loss '{name}' has no option 'colour'; there are: .*unknown_term"
    ):
        make_loss(name, 3, 4, colour="red")


def test_an_option_of_another_loss_is_unknown() -> None:
    """SpeakerRPL v2 derives from SpeakerRPL, and has neither its temperature nor its variants."""
    for option in ("temperature", "variant"):
        with pytest.raises(ConfigError, match=f"has no option '{option}'"):
            make_loss("speaker-rpl-v2", 3, 4, **{option: 1.0})


def test_public_names() -> None:
    for name in openkith.losses.__all__:
        assert getattr(openkith.losses, name).__doc__ or name == "LOSSES"
        assert name in dir(openkith.losses)
    with pytest.raises(AttributeError, match="no attribute 'Sofmax'"):
        openkith.losses.Sofmax  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(openkith.losses.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    for_checkers = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_checkers == openkith.losses._HOMES


def test_the_names_come_without_torch() -> None:
    code = (
        "import sys; from openkith.losses import loss_names; loss_names(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
