"""A tuned head: its scores by definition, and its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.errors import InputError
from openkith.tuning import Diagnostics, TuneConfig, TunedHead, tune
from openkith.tuning import head as head_module

QUICK: dict[str, Any] = {"steps": 10, "members": 2, "hidden": (12, 10), "out": 8}


@pytest.fixture(scope="module")
def tuned(home: Any) -> TunedHead:
    return tune(home.clips, home.labels, home.unknown, TuneConfig(**QUICK))


def by_definition(tuned: TunedHead, x: NDArray[Any]) -> NDArray[np.float64]:
    """-x . P of each member, (S, p, C)."""
    members = []
    for s in range(tuned.members):
        h = x.astype(np.float64)
        *inner, last = (weight[s].numpy().astype(np.float64) for weight in tuned.adapter.weights)
        for weight in inner:
            h = h @ weight
            h = np.maximum((h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5), 0)
        members.append(-(h @ last) @ tuned.loss.points[s].numpy().T)
    return np.array(members)


class TestScore:
    def test_by_definition(self, tuned: TunedHead, home: Any) -> None:
        scores = tuned.score(home.probes)
        np.testing.assert_allclose(scores, by_definition(tuned, home.probes).mean(0), rtol=1e-6, atol=1e-6)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(
            tuned.member_scores(home.probes), by_definition(tuned, home.probes), rtol=1e-9, atol=1e-9
        )

    def test_lines(self, tuned: TunedHead, home: Any) -> None:
        slopes, intercepts = np.array([0.5, 3.0]), np.array([1.0, -2.0])
        lined = TunedHead(
            tuned.names, tuned.config, tuned.adapter, tuned.loss, slopes, intercepts, tuned.diagnostics
        )
        members = by_definition(tuned, home.probes)
        expected = (slopes[:, None, None] * members + intercepts[:, None, None]).mean(0)
        np.testing.assert_allclose(lined.score(home.probes), expected, rtol=1e-6, atol=1e-6)

    def test_each_probe_alone(self, tuned: TunedHead, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = tuned.score(home.probes)
        alone = np.concatenate([tuned.score(home.probes[i : i + 1]) for i in range(len(home.probes))])
        np.testing.assert_allclose(alone, whole, rtol=2e-7)
        monkeypatch.setattr(head_module, "_MOST_ROWS", 7)
        np.testing.assert_allclose(tuned.score(home.probes), whole, rtol=2e-7)
        monkeypatch.setattr(head_module, "_MOST_VALUES", 1)
        np.testing.assert_allclose(tuned.score(home.probes), whole, rtol=2e-7)
        assert tuned.score(home.probes[:0]).shape == (0, 5)

    def test_refused(self, tuned: TunedHead) -> None:
        with pytest.raises(InputError, match=r"^probes: embeddings of shape \(2, 3\); give \(n, 16\)"):
            tuned.score(np.zeros((2, 3)))
        with pytest.raises(InputError, match=r"^probes: row 1 has NaN"):
            tuned.score(np.array([[0.0] * 16, [np.nan] * 16]))


HEADS: dict[str, dict[str, Any]] = {
    "default": {},
    "batch norm": {"norm": "batch"},
    "residual": {"adapter": "residual", "out": None},
    "no last layer": {"out": 0},
    "v2": {"loss": "speaker-rpl-v2", "fusion": "calibrated", "selection": "first", "keep": 1},
    "background": {"unknown_term": "background"},
    "softmax": {"loss": "softmax"},
    "a-softmax": {"loss": "a-softmax"},
    "points": {"loss": "rpl", "loss_options": {"points_per_speaker": 2}},
}


class TestFolder:
    @pytest.mark.parametrize("kind", HEADS)
    def test_the_same_scores_bit_by_bit(self, kind: str, home: Any, tmp_path: Path) -> None:
        names = [f"person {label}" for label in home.labels]
        head = tune(home.clips, names, home.unknown, TuneConfig(**{**QUICK, **HEADS[kind]}))
        head.save(tmp_path / "deep" / "head")
        loaded = TunedHead.load(tmp_path / "deep" / "head")
        np.testing.assert_array_equal(loaded.score(home.probes), head.score(home.probes))
        assert loaded.names == head.names == tuple(f"person {i}" for i in range(5))
        assert loaded.config == head.config
        assert loaded.diagnostics == head.diagnostics
        assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["head"]
        assert sorted(path.name for path in (tmp_path / "deep" / "head").iterdir()) == [
            "config.json",
            "head.safetensors",
        ]

    def test_an_earlier_head_is_replaced(self, tuned: TunedHead, home: Any, tmp_path: Path) -> None:
        tuned.save(tmp_path / "head")
        other = tune(home.clips, home.labels, home.unknown, TuneConfig(**{**QUICK, "seed": 1}))
        other.save(tmp_path / "head")
        loaded = TunedHead.load(tmp_path / "head")
        np.testing.assert_array_equal(loaded.score(home.probes), other.score(home.probes))
        assert [path.name for path in tmp_path.iterdir()] == ["head"]

    def test_nothing_half_written(
        self, tuned: TunedHead, home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tuned.save(tmp_path / "head")
        real = Path.replace

        def fails(self: Path, target: Path) -> Path:
            if self.name == "new":
                raise OSError(28, "No space left on device")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", fails)
        with pytest.raises(
            InputError, match=r"head: cannot be written .No space left on device.; give another"
        ):
            tuned.save(tmp_path / "head")
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["head"]
        np.testing.assert_array_equal(
            TunedHead.load(tmp_path / "head").score(home.probes), tuned.score(home.probes)
        )

    def test_something_else_is_there(self, tuned: TunedHead, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "photos").mkdir()
        for name in ("file", "photos"):
            with pytest.raises(InputError, match=f"{name}: there is something else; give a new folder"):
                tuned.save(tmp_path / name)
        assert (tmp_path / "file").read_text() == "mine"

    def test_names_that_cannot_be_saved(self, home: Any, tmp_path: Path) -> None:
        head = tune(home.clips, [("p", int(i)) for i in home.labels], None, TuneConfig(**QUICK))
        with pytest.raises(InputError, match=r"the name \('p', 0\) cannot be saved"):
            head.save(tmp_path / "head")
        assert not list(tmp_path.iterdir())

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no config.json there; give the folder of a tuned head"):
            TunedHead.load(tmp_path / "none")

    @pytest.mark.parametrize("damage", ["json", "arrays", "format", "people", "key"])
    def test_damaged(self, tuned: TunedHead, tmp_path: Path, damage: str) -> None:
        tuned.save(tmp_path / "head")
        config, arrays = tmp_path / "head" / "config.json", tmp_path / "head" / "head.safetensors"
        values = json.loads(config.read_text())
        if damage == "json":
            config.write_text("{")
        elif damage == "arrays":
            arrays.write_bytes(arrays.read_bytes()[:-50])
        else:
            changes = {
                "format": {"format": 99},
                "people": {"names": ["a", "b"]},
                "key": {"config": {"lo": 1}},
            }
            config.write_text(json.dumps({**values, **changes[damage]}))
        with pytest.raises(
            InputError, match=r"head: a damaged head, or of another version \(.*\); tune again"
        ) as e:
            TunedHead.load(tmp_path / "head")
        assert "\n" not in str(e.value)


def test_state_is_json_and_arrays(tuned: TunedHead) -> None:
    config, arrays = tuned.state()
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert {"adapter.weights.0", "loss.points", "loss.centres", "loss.radius", "slopes", "intercepts"} <= set(
        arrays
    )


def test_restoring_does_not_touch_torchs_generator(tuned: TunedHead) -> None:
    state = torch.get_rng_state()
    TunedHead.restore(*tuned.state())
    assert torch.equal(torch.get_rng_state(), state)


def test_diagnostics_are_kept(tuned: TunedHead) -> None:
    noted = TunedHead(
        tuned.names,
        tuned.config,
        tuned.adapter,
        tuned.loss,
        tuned.slopes,
        tuned.intercepts,
        replace(tuned.diagnostics, notes=("one",), added=2),
    )
    assert TunedHead.restore(*noted.state()).diagnostics == noted.diagnostics
    assert isinstance(noted.diagnostics, Diagnostics)
