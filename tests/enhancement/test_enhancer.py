"""The transform of an enhancer, its files, and the one that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openkith.artefact import CONFIG_FILE
from openkith.audio import Audio, load, trim_silence
from openkith.audio.degrade import add_noise
from openkith.audio.rooms import convolve, draw_room, room_response
from openkith.data.manifest import read_manifest
from openkith.encoders.networks.ge2e import GE2E
from openkith.enhancement.enhancer import (
    SHIPPED,
    WEIGHTS_FILE,
    Enhancer,
    NetSpec,
    shipped_enhancer,
)
from openkith.errors import ConfigError, EncoderMismatchError, InputError
from openkith.metrics import eer

DIM = 6


def some_enhancer(name: str = "residual", activation: str | None = "relu", seed: int = 0) -> Enhancer:
    rng = np.random.default_rng(seed)
    spec = NetSpec(name, DIM, activation)
    weights = {
        key: rng.standard_normal(tuple(tensor.shape)) for key, tensor in spec.build().state_dict().items()
    }
    return Enhancer(
        weights,
        spec,
        input_mean=0.2 * rng.standard_normal(DIM),
        input_map=rng.standard_normal((DIM, DIM)),
        output_mean=rng.standard_normal(DIM),
        encoder="small/1",
        info={"loss": "mse"},
    )


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def embeddings() -> np.ndarray:
    return 3.0 * np.random.default_rng(7).standard_normal((5, DIM))


def test_a_residual_enhancer_is_its_formula(embeddings: np.ndarray) -> None:
    enhancer = some_enhancer()
    w = enhancer.weights
    z = unit((unit(embeddings) - enhancer.input_mean) @ enhancer.input_map)
    branch = (
        np.maximum(z @ w["hidden.weight"].T + w["hidden.bias"], 0.0) @ w["last.weight"].T + w["last.bias"]
    )
    y = z @ w["linear.weight"].T + w["linear.bias"] + branch - enhancer.output_mean
    enhanced = enhancer.transform(embeddings)
    assert enhanced.dtype == np.float32
    np.testing.assert_allclose(enhanced, unit(y), atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "elu", None])
def test_the_residual_network_in_numpy_is_that_of_torch(
    embeddings: np.ndarray, activation: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    enhancer = some_enhancer(activation=activation)
    enhanced = enhancer.transform(embeddings)
    monkeypatch.setattr("openkith.enhancement.enhancer._IN_NUMPY", {})
    np.testing.assert_allclose(enhanced, enhancer.transform(embeddings), atol=1e-5)


@pytest.mark.parametrize("name", ["v1", "v2", "v3", "v4"])
def test_a_published_network_gets_embeddings_as_they_are_and_drops_nothing(
    embeddings: np.ndarray, name: str
) -> None:
    torch.manual_seed(0)
    spec = NetSpec(name, DIM, "elu")
    net = spec.build()
    with torch.inference_mode():
        expected = net.eval()(torch.from_numpy(unit(embeddings).astype(np.float32))).numpy()
    net.train()
    np.testing.assert_allclose(Enhancer(net, spec).transform(embeddings), unit(expected), atol=1e-5)


def test_each_embedding_goes_through_by_itself(
    embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    enhancer = some_enhancer()
    alone = np.stack([enhancer.transform(row) for row in embeddings])
    np.testing.assert_allclose(enhancer.transform(embeddings), alone, atol=1e-6)
    views = np.stack([embeddings, embeddings[::-1]], axis=1)  # (n, V, d)
    np.testing.assert_allclose(enhancer.transform(views)[:, 1], alone[::-1], atol=1e-6)
    assert enhancer.transform(np.zeros((0, 3, DIM))).shape == (0, 3, DIM)
    monkeypatch.setattr("openkith.enhancement.enhancer._ROWS", 2)
    np.testing.assert_allclose(enhancer.transform(embeddings), alone, atol=1e-6)


def test_the_length_of_an_embedding_is_of_no_effect(embeddings: np.ndarray) -> None:
    enhancer = some_enhancer()
    np.testing.assert_allclose(enhancer.transform(embeddings), enhancer.transform(10 * embeddings), atol=1e-6)


def test_embeddings_of_another_encoder_are_refused(embeddings: np.ndarray) -> None:
    enhancer = some_enhancer()
    with pytest.raises(InputError, match=r"\(5, 4\); give \(..., 6\)"):
        enhancer.transform(embeddings[:, :4])
    embeddings[3, 0] = np.nan
    with pytest.raises(InputError, match="embedding 3 has NaN"):
        enhancer.transform(embeddings)


def test_arrays_that_do_not_fit_are_refused() -> None:
    spec = NetSpec("residual", DIM)
    with pytest.raises(InputError, match=r"input_mean is of shape \(3,\); give \(6,\)"):
        Enhancer(spec.build(), spec, input_mean=np.zeros(3))
    net = spec.build()
    with torch.no_grad():
        net.last.bias[0] = torch.nan
    with pytest.raises(InputError, match=r"last\.bias has NaN"):
        Enhancer(net, spec)


@pytest.mark.parametrize("name", ["residual", "v3"])
def test_what_is_read_again_gives_the_same_bit_by_bit(
    tmp_path: Path, embeddings: np.ndarray, name: str
) -> None:
    enhancer = some_enhancer(name)
    enhancer.save(tmp_path / "enhancer")
    again = Enhancer.load(tmp_path / "enhancer")
    np.testing.assert_array_equal(again.transform(embeddings), enhancer.transform(embeddings))
    assert again.fingerprint == enhancer.fingerprint
    assert (again.spec, again.encoder, again.info) == (enhancer.spec, "small/1", {"loss": "mse"})
    files = {path.name: path.read_bytes() for path in (tmp_path / "enhancer").iterdir()}
    again.save(tmp_path / "enhancer")
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "enhancer").iterdir()}


def test_parts_that_are_not_there_stay_away(tmp_path: Path) -> None:
    spec = NetSpec("residual", DIM)
    Enhancer(spec.build(), spec).save(tmp_path / "enhancer")
    again = Enhancer.load(tmp_path / "enhancer")
    assert again.input_mean is None
    assert again.input_map is None
    assert again.output_mean is None


def test_half_precision_is_half_the_size(tmp_path: Path, embeddings: np.ndarray) -> None:
    enhancer = some_enhancer("v4")
    enhancer.save(tmp_path / "whole")
    enhancer.save(tmp_path / "half", half=True)
    whole, half = ((tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    again = Enhancer.load(tmp_path / "half")
    np.testing.assert_allclose(again.transform(embeddings), enhancer.transform(embeddings), atol=0.02)
    again.save(tmp_path / "half", half=True)
    assert Enhancer.load(tmp_path / "half").fingerprint == again.fingerprint


def test_the_fingerprint_is_of_all_that_changes_an_embedding() -> None:
    enhancer = some_enhancer()
    seen = {
        enhancer.fingerprint,
        some_enhancer(seed=1).fingerprint,
        some_enhancer(activation="elu").fingerprint,
    }
    for part in ("input_mean", "input_map", "output_mean"):
        parts: dict[str, Any] = {
            name: getattr(enhancer, name) for name in ("input_mean", "input_map", "output_mean")
        }
        seen.add(Enhancer(enhancer.weights, enhancer.spec, **{**parts, part: None}).fingerprint)
    assert len(seen) == 6
    parts = {name: getattr(enhancer, name) for name in ("input_mean", "input_map", "output_mean")}
    assert (
        Enhancer(enhancer.weights, enhancer.spec, **parts, info={"a": 1}).fingerprint == enhancer.fingerprint
    )
    assert enhancer.fingerprint.startswith("enhancer:")


def _another_kind(config: dict[str, Any]) -> None:
    config["kind"] = "neural-scorer"


def _another_format(config: dict[str, Any]) -> None:
    config["format"] = 2


def _another_net(config: dict[str, Any]) -> None:
    config["net"]["name"] = "v9"


def _another_width(config: dict[str, Any]) -> None:
    config["net"]["options"] = {"hidden": 5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_another_kind, "neural-scorer of format 1"),
        (_another_format, "enhancer of format 2"),
        (_another_net, "v9"),
        (_another_width, "not those of net residual: hidden.bias, hidden.weight, last.weight"),
    ],
)
def test_what_is_no_enhancer_is_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    some_enhancer().save(tmp_path / "enhancer")
    file = tmp_path / "enhancer" / CONFIG_FILE
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=said) as raised:
        Enhancer.load(tmp_path / "enhancer")
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_damaged_and_absent_files_are_one_line(tmp_path: Path) -> None:
    some_enhancer().save(tmp_path / "enhancer")
    (tmp_path / "enhancer" / WEIGHTS_FILE).write_bytes(b"nothing")
    for folder in ("enhancer", "nowhere"):
        with pytest.raises(InputError, match="not an enhancer, or a damaged one") as raised:
            Enhancer.load(tmp_path / folder)
        assert "\n" not in str(raised.value)


class Named:
    """An encoder of which only the name is asked."""

    def __init__(self, name: str, fingerprint: str) -> None:
        self.name, self.fingerprint = name, fingerprint


def test_it_is_for_one_encoder() -> None:
    enhancer = some_enhancer()
    enhancer.check_encoder(Named("small", "small/1"))  # type: ignore[arg-type]
    with pytest.raises(EncoderMismatchError, match=r"for the encoder small/1, and this is small/2"):
        enhancer.check_encoder(Named("small", "small/2"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "fingerprint"), [("ge2e", "ge2e/-20dB/x"), ("wavlm", "wavlm/1")])
def test_none_ships_for_other_encoders(name: str, fingerprint: str) -> None:
    with pytest.raises(ConfigError, match=f"no enhancer ships for the encoder '{name}'"):
        shipped_enhancer(Named(name, fingerprint))  # type: ignore[arg-type]


def test_the_one_that_ships_is_small_and_says_where_it_is_from() -> None:
    folder = Path(str(resources.files("openkith.enhancement").joinpath(SHIPPED, "ge2e")))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
    enhancer = Enhancer.load(folder)
    assert enhancer.encoder.startswith("ge2e/")
    assert "CC BY 4.0" in enhancer.info["source"]
    assert enhancer.info["people"] <= 63
    x = np.random.default_rng(0).standard_normal((3, 256))
    np.testing.assert_allclose(np.linalg.norm(enhancer.transform(x), axis=1), 1.0, atol=1e-5)


def test_the_one_that_ships_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from importlib import resources\n"
        "from openkith.enhancement import Enhancer\n"
        "folder = resources.files('openkith.enhancement').joinpath('shipped', 'ge2e')\n"
        "Enhancer.load(str(folder)).transform(np.ones((2, 256)))\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_on_people_it_has_not_learned_from_short_and_noisy_clips_count_for_more(
    ge2e: GE2E, speech: Path
) -> None:
    """Crops of home and of strangers who are not negative, in noise and rooms of kinds that it has not learned.

    Home and strangers together: clean crops of strangers alone, each from one utterance, get worse, and
    docs/enhancement.md says so.
    """
    enhancer = shipped_enhancer(ge2e)
    rows = read_manifest(speech / "home-clean.tsv").rows
    negative = {row.speaker for row in rows if row.role == "negative"}
    folders = [*(speech / "home").iterdir(), *(speech / "strangers").iterdir()]
    rng = np.random.default_rng(0)
    clips, people, stretches, degraded = [], [], [], []
    for person in sorted(folder for folder in folders if folder.is_dir() and folder.name not in negative):
        speeches = [trim_silence(load(path)).samples for path in sorted(person.iterdir())]
        parts = [part[i : i + 32_000] for part in speeches for i in range(0, len(part) - 32_000, 32_000)]
        for number, part in enumerate(parts[:12]):
            hum = np.sign(np.sin(2 * np.pi * rng.uniform(60, 200) * np.arange(len(part)) / 16_000))
            room = convolve(part, room_response(draw_room(rng), rng))
            for samples in (part, add_noise(room, hum, rng.uniform(3, 15))):
                clips.append(Audio(samples, "<crop>"))
                people.append(person.name)
                stretches.append(number)
                degraded.append(samples is not part)
    who, where, noisy = np.array(people), np.array(stretches), np.array(degraded)
    i, j = np.triu_indices(len(who), 1)
    own = who[i] == who[j]
    keep = ~(own & (where[i] == where[j]))
    i, j, own = i[keep], j[keep], own[keep]
    clean = ~noisy[i] & ~noisy[j]

    def rates(embeddings: np.ndarray) -> tuple[float, float]:
        scores = (embeddings @ embeddings.T)[i, j]
        return eer(scores[own], scores[~own]), eer(scores[own & clean], scores[~own & clean])

    raw = ge2e.embed(clips)
    everything, among_clean = rates(raw)
    enhanced, enhanced_clean = rates(enhancer.transform(raw))
    assert enhanced < 0.7 * everything
    assert enhanced_clean < among_clean + 0.004  # 1600 pairs of one person: a standard error is 0.003
