"""Released checkpoints, as the tests write them: shapes, prefixes, which points are which, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openkith.errors import InputError
from openkith.tuning import TunedHead, load_released, tune


def adapter_state(
    seed: int = 0, dim: int = 16, hidden: tuple[int, ...] = (20, 12, 10), out: int = 8
) -> dict[str, Tensor]:
    """Weights (out, in) under the released names."""
    generator = torch.Generator().manual_seed(seed)
    widths = [dim, *hidden, out]
    names = ("fc1", "fc1_1", "fc1_2", "reducedim")
    return {
        f"{name}.weight": torch.randn(b, a, generator=generator) / a**0.5
        for name, a, b in zip(names, widths[:-1], widths[1:], strict=True)
    }


def criterion_state(people: int = 5, out: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    points = 0.1 * torch.randn(people, out, generator=generator)
    return {
        "points": points,
        "radius": torch.tensor([0.7]),
        "Dist.centers": points.clone(),
        "Dist2.centers": 0.1 * torch.randn(people, out, generator=generator),
    }


def written(
    folder: Path, adapter: dict[str, Any] | None = None, criterion: dict[str, Any] | None = None
) -> tuple[Path, Path]:
    """Two files as torch.save writes them."""
    paths = folder / "adapter.pth", folder / "adapter_criterion.pth"
    torch.save(adapter_state() if adapter is None else adapter, paths[0])
    torch.save(criterion_state() if criterion is None else criterion, paths[1])
    return paths


def by_definition(adapter: dict[str, Tensor], points: Tensor, x: Tensor, last: bool = True) -> Tensor:
    """Linear, instance norm and ReLU three times; linear; minus the product with the points."""
    for name in ("fc1", "fc1_1", "fc1_2"):
        x = torch.nn.functional.linear(x, adapter[f"{name}.weight"])
        x = torch.relu((x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt())
    if last:
        x = torch.nn.functional.linear(x, adapter["reducedim.weight"])
    return -x @ points.T


def test_scores_by_definition(home: Any, tmp_path: Path) -> None:
    head = load_released(*written(tmp_path))
    expected = by_definition(adapter_state(), criterion_state()["points"], torch.from_numpy(home.probes))
    np.testing.assert_allclose(head.score(home.probes), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert head.names == tuple(f"released-{i}" for i in range(5))
    assert (head.config.variant, head.config.hidden, head.config.out) == ("released", (20, 12, 10), 8)
    assert torch.equal(head.loss.centres[0], criterion_state()["Dist2.centers"])
    assert head.loss.radius.tolist() == pytest.approx([0.7])


def test_prefix_classifier_and_nesting(home: Any, tmp_path: Path) -> None:
    plain = load_released(*written(tmp_path))
    state = {f"module.{key}": value for key, value in adapter_state().items()}
    state["module.fc2.weight"] = torch.ones(5, 8)
    head = load_released(*written(tmp_path, {"state_dict": state, "epoch": 3}), names=list("abcde"))
    np.testing.assert_array_equal(head.score(home.probes), plain.score(home.probes))
    assert head.names == tuple("abcde")
    assert any("fc2.weight ignored, a classifier" in note for note in head.diagnostics.notes)


def test_without_a_last_layer(home: Any, tmp_path: Path) -> None:
    adapter = {key: value for key, value in adapter_state().items() if "reducedim" not in key}
    head = load_released(*written(tmp_path, adapter, criterion_state(out=10)))
    points = criterion_state(out=10)["points"]
    expected = by_definition(adapter, points, torch.from_numpy(home.probes), last=False)
    np.testing.assert_allclose(head.score(home.probes), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert head.config.out == 0


class TestPoints:
    def test_the_second_set(self, tmp_path: Path) -> None:
        """Dist.centers is the points themselves, and Dist2.centers the second set; or else Dist.centers is."""
        state = criterion_state()
        head = load_released(*written(tmp_path, criterion=state))
        assert "Dist2.centers taken for the second set" in " ".join(head.diagnostics.notes)
        other = {**state, "Dist.centers": state["points"] + 1}
        head = load_released(*written(tmp_path, criterion=other))
        assert torch.equal(head.loss.centres[0], state["points"] + 1)
        assert torch.equal(head.loss.points[0], state["points"])
        assert "Dist.centers taken for the second set of points, Dist2.centers left out" in " ".join(
            head.diagnostics.notes
        )

    def test_what_may_be_missing(self, tmp_path: Path) -> None:
        state = criterion_state()
        only = {key: state[key] for key in ("Dist.centers", "Dist2.centers")}
        head = load_released(*written(tmp_path, criterion=only))
        assert torch.equal(head.loss.points[0], state["Dist.centers"])
        assert torch.equal(head.loss.centres[0], state["Dist2.centers"])
        head = load_released(*written(tmp_path, criterion={"points": state["points"]}))
        assert not head.loss.centres.any()
        assert "no second set of points" in " ".join(head.diagnostics.notes)


def test_as_initial_for_a_new_household(home: Any, tmp_path: Path) -> None:
    released = load_released(*written(tmp_path, adapter_state(hidden=(128, 64, 64))))
    head = tune(home.clips, home.labels, home.unknown, initial=released)
    assert head.config == released.config
    assert head.diagnostics.steps == 100  # a new household: the whole recipe, 15 clips in one batch an epoch
    assert head.diagnostics.added == 5
    assert (head.score(home.probes).argmax(axis=1) == home.truth).mean() > 0.9
    head.save(tmp_path / "head")
    loaded = TunedHead.load(tmp_path / "head")
    np.testing.assert_array_equal(loaded.score(home.probes), head.score(home.probes))


class TestRefused:
    def test_not_there_and_not_a_checkpoint(self, tmp_path: Path) -> None:
        adapter, criterion = written(tmp_path)
        with pytest.raises(InputError, match=r"none.pth: no such file; give a released .pth checkpoint"):
            load_released(tmp_path / "none.pth", criterion)
        (tmp_path / "text.pth").write_text("hello")
        with pytest.raises(
            InputError, match=r"text.pth: not a PyTorch checkpoint of tensors \(.*\)"
        ) as error:
            load_released(adapter, tmp_path / "text.pth")
        assert "\n" not in str(error.value)

    def test_no_code_is_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "ran",))

        adapter, criterion = written(tmp_path)
        torch.save({"fc1.weight": Evil()}, adapter)
        with pytest.raises(InputError, match="not a PyTorch checkpoint of tensors"):
            load_released(adapter, criterion)
        assert not (tmp_path / "ran").exists()

    def test_nothing_matches(self, tmp_path: Path) -> None:
        adapter, criterion = written(tmp_path)
        with pytest.raises(
            InputError, match=r"none of fc1.weight, .* is in it; it looks like a criterion, swap"
        ):
            load_released(criterion, adapter)
        torch.save({"encoder.weight": torch.ones(3, 3)}, adapter)
        with pytest.raises(
            InputError, match=r"adapter.pth: none of fc1.weight, .* is in it; give the adapter"
        ):
            load_released(adapter, criterion)
        torch.save([1, 2], adapter)
        with pytest.raises(InputError, match=r"none of fc1.weight"):
            load_released(adapter, criterion)
        adapter, _ = written(tmp_path)
        with pytest.raises(
            InputError, match=r"neither points nor Dist.centers is in it; it looks like an adapter"
        ):
            load_released(adapter, adapter)
        torch.save({"radius": torch.zeros(1)}, criterion)
        with pytest.raises(InputError, match=r"neither points nor Dist.centers is in it; give the"):
            load_released(adapter, criterion)

    def test_layers(self, tmp_path: Path) -> None:
        state = adapter_state()
        del state["fc1_1.weight"]
        with pytest.raises(InputError, match=r"adapter.pth: fc1_1.weight missing"):
            load_released(*written(tmp_path, state))
        with pytest.raises(InputError, match=r"fc1_2.weight has shape \(10, 7\); expected \(out, 12\)"):
            load_released(*written(tmp_path, {**adapter_state(), "fc1_2.weight": torch.ones(10, 7)}))
        with pytest.raises(InputError, match=r"fc1.weight has shape \(20,\); expected \(out, in\)"):
            load_released(*written(tmp_path, {**adapter_state(), "fc1.weight": torch.ones(20)}))
        with pytest.raises(InputError, match=r"layer9.weight is not of a released SpeakerRPL head"):
            load_released(*written(tmp_path, {**adapter_state(), "layer9.weight": torch.ones(2, 2)}))

    def test_shapes_that_do_not_go_together(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match="points of length 9, and the adapter gives 8; give the two files of one"
        ):
            load_released(*written(tmp_path, criterion=criterion_state(out=9)))
        state = criterion_state()
        with pytest.raises(InputError, match=r"the second set of points has shape \(4, 8\)"):
            load_released(*written(tmp_path, criterion={**state, "Dist2.centers": torch.ones(4, 8)}))
        with pytest.raises(InputError, match=r"points has shape \(8,\)"):
            load_released(*written(tmp_path, criterion={"points": torch.ones(8)}))
        with pytest.raises(InputError, match=r"radius has shape \(5,\); expected a single number"):
            load_released(*written(tmp_path, criterion={**state, "radius": torch.ones(5)}))
        with pytest.raises(InputError, match="5 points and 2 names; give one name a point"):
            load_released(*written(tmp_path), names=["a", "b"])
