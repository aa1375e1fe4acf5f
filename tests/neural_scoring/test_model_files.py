"""Models in all the forms that they are kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from openkith.config import to_dict
from openkith.errors import ConfigError, InputError, WeightsError
from openkith.neural_scoring import NeuralScorer, load_scorer
from openkith.neural_scoring.enrol_model import EnrolModel, EnrolModelConfig, write_enrol_model
from openkith.neural_scoring.model_files import average_run, load_network, start_network
from openkith.neural_scoring.network import NetworkConfig, ScoringNetwork, WholeNetwork

SIZES = NetworkConfig(enrolment_dim=8, width=8, heads=2, feed_forward=8)


def make_network(seed: int) -> WholeNetwork:
    torch.manual_seed(seed)
    return WholeNetwork(SIZES).eval()


def write(state: dict[str, torch.Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path)
    return path


def write_run(run: Path, states: list[dict[str, torch.Tensor]], about: dict[str, object]) -> Path:
    """The checkpoints of a training, as far as a model is made of them."""
    for step, state in enumerate(states, start=1):
        folder = run / "checkpoints" / f"step-{step:08d}"
        write(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({**about, "training": {}}))
    return run


@pytest.fixture(scope="module")
def networks() -> list[WholeNetwork]:
    return [make_network(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def run(networks: list[WholeNetwork], tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = {"kind": "neural-scorer", "network": to_dict(SIZES)}
    states = [network.state_dict() for network in networks]
    return write_run(tmp_path_factory.mktemp("run"), states, about)


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=0)


def test_every_form_of_a_model(run: Path, networks: list[WholeNetwork], tmp_path: Path) -> None:
    NeuralScorer(make_network(2), device="cpu").save(tmp_path / "scorer")
    file = write(networks[2].state_dict(), tmp_path / "ns.safetensors")
    checkpoint = run / "checkpoints" / "step-00000003"
    for path in (run, checkpoint, tmp_path / "scorer", file):
        network = load_network(path, heads=2)
        assert_same(network, networks[2])
        assert network.config == SIZES
        assert not network.training
    first = run / "checkpoints" / "step-00000001"
    assert_same(load_network(first), networks[0])


def test_where_a_training_begins(run: Path, networks: list[WholeNetwork], tmp_path: Path) -> None:
    longer = NetworkConfig(enrolment_dim=8, width=8, heads=2, feed_forward=8, dropout=0.3, most_frames=600)
    network = start_network(run, longer)
    assert_same(network, networks[2])
    assert network.config == longer
    assert network.transformer_model.dropout.p == 0.3
    trained = {
        name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad
    }
    assert trained == {"testencoder", "scoring_linear1", "scoring_linear2", "mlp", "transformer_model"}
    encoder = {
        f"speaker_encoder.{name}": x
        for name, x in EnrolModel(2, EnrolModelConfig(dim=8)).speaker_encoder.state_dict().items()
    }
    fresh = start_network(write(encoder, tmp_path / "model.safetensors"), SIZES)
    for name in ("enrollmodel", "testencoder"):
        torch.testing.assert_close(
            fresh.state_dict()[f"{name}.speaker_encoder.conv1.weight"],
            encoder["speaker_encoder.conv1.weight"],
        )


@pytest.mark.parametrize(("name", "value"), [("heads", 4), ("width", 16), ("layers", 2)])
def test_other_sizes(run: Path, name: str, value: int) -> None:
    """Also heads, which no tensor tells."""
    with pytest.raises(ConfigError, match=rf"network\.{name} is {value}, and .* has "):
        start_network(run, NetworkConfig(**{**to_dict(SIZES), name: value}))


def test_the_mean_of_the_last(run: Path, networks: list[WholeNetwork], tmp_path: Path) -> None:
    assert average_run(run, tmp_path / "two", 2) == ("neural-scorer", 2)
    network = load_scorer(tmp_path / "two", device="cpu").network
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            mean = (networks[1].state_dict()[name] + networks[2].state_dict()[name]) / 2
            torch.testing.assert_close(tensor, mean, rtol=1e-6, atol=1e-6)
    assert average_run(run, tmp_path / "all") == ("neural-scorer", 3)
    with pytest.raises(ConfigError, match="last is 0"):
        average_run(run, tmp_path / "none", 0)
    with pytest.raises(WeightsError, match="no checkpoints to average"):
        average_run(tmp_path, tmp_path / "none")


def test_the_mean_of_enrolment_models(tmp_path: Path) -> None:
    states = [EnrolModel(3, EnrolModelConfig(dim=8)).state_dict() for _ in range(2)]
    run = write_run(tmp_path / "run", states, {"kind": "enrolment-model"})
    assert average_run(run, tmp_path / "out") == ("enrolment-model", 2)
    network = start_network(tmp_path / "out", SIZES)
    name = "speaker_encoder.fc.weight"
    found = network.state_dict()[f"enrollmodel.{name}"]
    torch.testing.assert_close(found, (states[0][name] + states[1][name]) / 2)
    (tmp_path / "file").write_text("something")
    with pytest.raises(InputError, match="there is a file"):
        average_run(run, tmp_path / "file")
    with pytest.raises(WeightsError, match="no checkpoint of neural scoring, but of enrolment-model"):
        load_network(run / "checkpoints" / "step-00000001")


def test_what_is_no_model(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [{"weight": torch.zeros(2)}], {"kind": "enhancer"})
    with pytest.raises(WeightsError, match="a training of enhancer"):
        average_run(other, tmp_path / "out")
    model = EnrolModel(2, EnrolModelConfig(dim=8))
    write_enrol_model(model.state_dict(), tmp_path / "alone" / "model.safetensors")
    with pytest.raises(WeightsError, match="an enrolment model alone"):
        load_network(tmp_path / "alone")
    NeuralScorer(ScoringNetwork(NetworkConfig(enrolment_dim=4, frame_dim=4, width=4)), device="cpu").save(
        tmp_path / "bare"
    )
    with pytest.raises(WeightsError, match="another encoder's embeddings"):
        load_network(tmp_path / "bare")
    broken = write_run(tmp_path / "broken", [{"weight": torch.zeros(2)}], {})
    (broken / "checkpoints" / "step-00000001" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: cannot be read"):
        load_network(broken / "checkpoints" / "step-00000001")
    odd = write_run(
        tmp_path / "odd", [{"weight": torch.zeros(2)}], {"kind": "neural-scorer", "network": {"widths": 3}}
    )
    with pytest.raises(WeightsError, match="unknown key 'widths'"):
        load_network(odd)
