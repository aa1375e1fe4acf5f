"""Training: every loss from its list, going on exactly, what comes of it, and how much memory it takes."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from openkith.enhancement.enhancer import Enhancer
from openkith.enhancement.nets import NETS
from openkith.enhancement.runs import load_enhancer
from openkith.enhancement.settings import EnhancementConfig
from openkith.enhancement.trainer import train_enhancer
from openkith.errors import ConfigError, EncoderMismatchError, InputError, WeightsError
from openkith.losses import ENHANCEMENT_LOSSES, EnhancementBatch, EnhancementLoss, enhancement_loss_class
from openkith.training import list_checkpoints, read_weights

sys.path.insert(0, str(Path(__file__).parents[1]))
from embedding_trees import DIM, names, write_tree

Config = Callable[..., EnhancementConfig]
TASK = Path(__file__).parent / "memory_task.py"


def column(run: Path, name: str) -> list[float]:
    with (run / "epochs.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("loss", list(ENHANCEMENT_LOSSES))
def test_every_loss_from_its_list(config: Config, tmp_path: Path, loss: str) -> None:
    form = enhancement_loss_class(loss).needs
    settings = config(f"loss.name={loss}", "train.epochs=5", "centre=true", form=form, test=False)
    trained = train_enhancer(settings, tmp_path)
    losses = column(tmp_path, "loss")
    assert losses[-1] < losses[0]
    assert trained.steps == 5 * (12 if form == "distribution" else 3)
    enhancer = Enhancer.load(tmp_path / "enhancer")
    assert (enhancer.dim, enhancer.info["loss"], enhancer.info["list"]) == (
        DIM,
        loss,
        f"learn_{form}_list.txt",
    )
    assert enhancer.input_mean is not None
    about = json.loads((tmp_path / "about.json").read_text())
    assert (about["speakers"], about["raw"]) == (12, {})


def test_going_on_gives_the_same(config: Config, tmp_path: Path) -> None:
    straight, halted = tmp_path / "straight", tmp_path / "halted"
    four = config("train.epochs=4", "net.options.dropout=0.2", "loss.name=supcon")
    train_enhancer(four, straight)
    train_enhancer(
        config("train.epochs=4", "train.max_steps=4", "net.options.dropout=0.2", "loss.name=supcon"), halted
    )
    assert len(column(halted, "loss")) == 1  # and a step of the second epoch
    with pytest.raises(ConfigError, match="has checkpoints of a training; resume it"):
        train_enhancer(four, halted)
    train_enhancer(four, halted, resume=True)
    for name in ("loss", "eer"):
        assert column(halted, name) == column(straight, name)
    assert Enhancer.load(halted / "enhancer").fingerprint == Enhancer.load(straight / "enhancer").fingerprint


def test_a_checkpoint_is_an_enhancer(config: Config, tmp_path: Path, corpus: Path) -> None:
    """While the training goes on, too, and with the mean of outputs, which no checkpoint has."""
    train_enhancer(config("centre=true", "centre_output=true", "train.epochs=3"), tmp_path)
    final, of = load_enhancer(tmp_path)
    assert of == ""
    (tmp_path / "enhancer").rename(tmp_path / "taken")
    last, of = load_enhancer(tmp_path)
    assert of == list_checkpoints(tmp_path)[-1].name
    assert last.fingerprint == final.fingerprint == load_enhancer(tmp_path / "taken")[0].fingerprint
    first, of = load_enhancer(list_checkpoints(tmp_path)[0])
    assert of == list_checkpoints(tmp_path)[0].name
    assert first.fingerprint != final.fingerprint
    x = np.stack([np.load(path) for path in sorted((corpus / "learn").glob("*/*/*.npy"))])
    assert final.output_mean is not None
    np.testing.assert_allclose(_outputs(tmp_path, x).mean(axis=0), final.output_mean, atol=1e-5)
    with pytest.raises(InputError, match="not an enhancer"):
        load_enhancer(corpus)


def _outputs(run: Path, x: np.ndarray) -> np.ndarray:
    """Of the last checkpoint, by hand."""
    state = {name: tensor.numpy() for name, tensor in read_weights(list_checkpoints(run)[-1]).items()}
    x = x / np.linalg.norm(x, axis=1, keepdims=True) - state["input_mean"]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    hidden = np.maximum(x @ state["net.hidden.weight"].T + state["net.hidden.bias"], 0)
    made = x @ state["net.linear.weight"].T + state["net.linear.bias"]
    return np.asarray(made + hidden @ state["net.last.weight"].T + state["net.last.bias"])


def test_the_best_or_the_last(config: Config, tmp_path: Path) -> None:
    """With so high a rate the error rate does not fall each time."""
    for final in ("best", "last"):
        train_enhancer(
            config(f"final={final}", "loss.name=mse", "train.learning_rate=0.3", "train.epochs=4"),
            tmp_path / final,
        )
    rates = column(tmp_path / "best", "eer")
    assert rates == column(tmp_path / "last", "eer")
    assert int(np.argmin(rates)) < 3
    steps = [path.name for path in list_checkpoints(tmp_path / "best")]
    assert Enhancer.load(tmp_path / "best" / "enhancer").info["checkpoint"] == steps[int(np.argmin(rates))]
    assert Enhancer.load(tmp_path / "last" / "enhancer").info["checkpoint"] == steps[-1]
    with pytest.raises(ConfigError, match="final is best, and nothing is measured"):
        train_enhancer(config("final=best", test=False), tmp_path / "none")


def test_softmax_from_a_classifier(config: Config, tmp_path: Path) -> None:
    vectors = torch.randn(14, DIM, generator=torch.Generator().manual_seed(0))
    order = ["zoe", *reversed(names("s", 12)), "ann"]
    save_file(
        {"projection.weight": vectors, "fc.weight": torch.zeros(DIM + 1, DIM)},
        tmp_path / "encoder.safetensors",
    )
    (tmp_path / "speakers.txt").write_text("\n".join(order) + "\n")
    start = (
        "loss.name=softmax",
        f"loss.weights={tmp_path / 'encoder.safetensors'}",
        f"loss.weights_speakers={tmp_path / 'speakers.txt'}",
        "train.max_steps=1",
        "train.learning_rate=1e-9",
    )
    train_enhancer(config(*start, "loss.weights_tensor=projection.weight", test=False), tmp_path / "run")
    (checkpoint,) = list_checkpoints(tmp_path / "run")
    kept = read_weights(checkpoint)["loss.classifier.vectors"]
    torch.testing.assert_close(kept, vectors[1:13].flip(0), atol=1e-6, rtol=0)
    with pytest.raises(WeightsError, match="2 tensors of shape"):
        train_enhancer(config(*start, test=False), tmp_path / "other")
    (tmp_path / "speakers.txt").write_text("\n".join(order[:-2]) + "\n")
    with pytest.raises(ConfigError, match="14 speakers, the names are 12, and none of them is 's00'"):
        train_enhancer(
            config(*start, "loss.weights_tensor=projection.weight", test=False), tmp_path / "other"
        )
    assert not (tmp_path / "other").exists()


class Turned(nn.Module):
    """A network of one's own."""

    def __init__(self, dim: int, *, start: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(start * torch.eye(dim))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(b, d) to (b, d)."""
        turned: Tensor = self.linear(embeddings)
        return turned


class Cubed(EnhancementLoss):
    """A loss of one's own."""

    target_type = "C"
    uses = ("targets",)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        assert batch.targets is not None
        return (batch.outputs - batch.targets).abs().pow(3).mean()


@pytest.fixture
def registered() -> Iterator[None]:
    NETS["turned"], ENHANCEMENT_LOSSES["cubed"] = Turned, Cubed
    yield
    del NETS["turned"], ENHANCEMENT_LOSSES["cubed"]


@pytest.mark.usefixtures("registered")
def test_a_net_and_a_loss_of_one_s_own(config: Config, tmp_path: Path) -> None:
    own = config(
        "net={name: turned, activation: null, options: {start: 0.5}}", "loss.name=cubed", "train.epochs=4"
    )
    train_enhancer(own, tmp_path)
    losses = column(tmp_path, "loss")
    assert losses[-1] < losses[0]
    enhancer = Enhancer.load(tmp_path / "enhancer")
    x = np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float32)
    y = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ enhancer.weights["linear.weight"].T
    np.testing.assert_allclose(enhancer.transform(x), y / np.linalg.norm(y, axis=1, keepdims=True), atol=1e-6)


def test_embeddings_of_two_encoders(config: Config, tmp_path: Path) -> None:
    """Told by the config.json of kith embed, or by their lengths."""
    other = write_tree(tmp_path / "other", names("t", 8), seed=4)
    for root, print_ in ((other, "a/2"), (write_tree(tmp_path / "mine", names("s", 12)), "a/1")):
        (root / "config.json").write_text(json.dumps({"encoder": "a", "fingerprint": print_}))
    with pytest.raises(EncoderMismatchError, match=r"other: 16 numbers of a/2, and .*mine has 16 of a/1"):
        train_enhancer(
            config(f"data.embeddings={tmp_path / 'mine'}", f"data.test_embeddings={other}"), tmp_path / "run"
        )
    train_enhancer(config(f"data.embeddings={tmp_path / 'mine'}", "train.epochs=1"), tmp_path / "run")
    assert Enhancer.load(tmp_path / "run" / "enhancer").encoder == "a/1"
    for file in other.glob("*/*/*.npy"):
        np.save(file, np.ones(8, np.float32))
    with pytest.raises(EncoderMismatchError, match="8 numbers of a/2"):
        train_enhancer(config(f"data.test_embeddings={other}"), tmp_path / "other run")


def peaks(folder: Path, *words: int) -> list[int]:
    """MiB of a process that trains on so many utterances of 512 numbers; see `memory_task`."""
    command = [sys.executable, "-W", "error", str(TASK), str(folder), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """200 times the utterances, 800 MB of them: longer lists of numbers, and no more embeddings."""
    small, large = peaks(tmp_path, 20, 2_000, 400_000)
    assert large - small < 100


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_a_million_utterances_take_less_than_two_gigabytes(tmp_path: Path) -> None:
    """2 GB of embeddings, their names, their list read, their targets made, and a fifth of an epoch."""
    (peak,) = peaks(tmp_path, 400, 1_000_000, 0)
    assert peak < 1_500


def test_the_example_of_the_documentation(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network and a loss of one's own, word by word."""
    page = (Path(__file__).parents[2] / "docs" / "enhancement.md").read_text("utf-8")
    (example,) = [
        text for text in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "NETS[" in text
    ]
    for place, target in (("emb/vox2", "learn"), ("lists/vox2_normal_list.txt", "learn_normal_list.txt")):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).symlink_to(corpus / target)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETS, "linear", nn.Identity)
    monkeypatch.setitem(ENHANCEMENT_LOSSES, "log-cosh", Cubed)
    exec(compile(example, "enhancement.md", "exec"), {"__name__": "__main__"})
    losses = column(tmp_path / "runs" / "own", "loss")
    assert len(losses) == 40
    assert losses[-1] < losses[0]
    assert set(Enhancer.load(tmp_path / "runs" / "own" / "enhancer").weights) == {"map.weight"}
