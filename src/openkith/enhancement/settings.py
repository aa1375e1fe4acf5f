"""How an enhancer is trained: one frozen dataclass, to and from YAML, and the configurations that come with openkith.

The defaults, and the files in ``configs/``, are those of the Speaker Embedding Enhancement Model (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from openkith.errors import ConfigError
from openkith.training import TrainConfig

if TYPE_CHECKING:
    from openkith.losses.enhancement import EnhancementLoss

__all__ = [
    "CONFIGS",
    "DataConfig",
    "EnhancementConfig",
    "EnhancementTraining",
    "LossConfig",
    "NetConfig",
]

CONFIGS = Path(__file__).parent / "configs"
_CHECKED_WITH = 64  # dim and speakers of a network and a loss that are made for the sake of their errors


@dataclass(frozen=True)
class NetConfig:
    """The network.

    Attributes:
        name: A key of `openkith.enhancement.nets.NETS`.
        activation: A key of `openkith.enhancement.nets.ACTIVATIONS`; None: the network's own.
        options: Its other options, see `openkith.enhancement.nets.net_options`.
    """

    name: str = "v2"
    activation: str | None = "elu"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from openkith.enhancement.nets import build_net

        build_net(self.name, _CHECKED_WITH, self.activation, **self.options)


@dataclass(frozen=True)
class LossConfig:
    """What is learned.

    Attributes:
        name: A key of `openkith.losses.ENHANCEMENT_LOSSES`.
        options: Its options, such as sigma.
        weights: For a loss with a vector per speaker: a safetensors file or a checkpoint that has them, such as the
            classifier that the encoder was trained with; None: they start at random.
        weights_tensor: Its name in there, (speakers, d); None: the only tensor of that shape.
        weights_speakers: A text file with the name of a speaker a line, in the order of its rows; None: the speakers
            are those of the list, in the order of their names.
    """

    name: str = "mse"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    weights_tensor: str | None = None
    weights_speakers: Path | None = None

    def __post_init__(self) -> None:
        self.build(_CHECKED_WITH, _CHECKED_WITH)
        if self.weights is None and (self.weights_tensor or self.weights_speakers):
            raise ConfigError(
                "weights is not set, and the others say what is in it; give the file, or none of them"
            )

    def build(self, dim: int, n_speakers: int, **more: Any) -> EnhancementLoss:
        """The loss.

        Args:
            dim: d, length of an embedding.
            n_speakers: C, that are learned from.
            more: Options that are no plain values.

        Raises:
            ConfigError: No such loss or option.
        """
        from openkith.losses import build_enhancement_loss

        return build_enhancement_loss(self.name, dim, n_speakers, **self.options, **more)


@dataclass(frozen=True)
class DataConfig:
    """What is learned from, and what the error rates are of. Paths are relative to the folder of the command.

    Attributes:
        embeddings: A tree ``speaker/recording/file.npy``, as ``kith embed --format npy-tree`` writes it.
        list: Of it, in the form that the loss learns from; see ``kith enhance lists``.
        targets: Multi-utterance embeddings that ``kith enhance targets`` wrote; None: they are made of all utterances
            of ``embeddings``, of the type that the loss was published with.
        test_list: A test list; the equal error rate on it after each epoch is ``eer``. None: nothing is measured.
        test_embeddings: The tree that it is of; None: ``embeddings``.
        second_list: A test list of a second corpus; the equal error rate on it is ``second_eer``.
        second_embeddings: The tree that it is of; None: ``embeddings``.
        cache: Where the trees are packed, each as one file, so that they need not fit into memory; None: in a hidden
            folder in each tree.
    """

    embeddings: Path | None = None
    list: Path | None = None
    targets: Path | None = None
    test_list: Path | None = None
    test_embeddings: Path | None = None
    second_list: Path | None = None
    second_embeddings: Path | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.second_list is not None and self.test_list is None:
            raise ConfigError("second_list is set and test_list is not; give the one list as test_list")


@dataclass(frozen=True)
class EnhancementTraining(TrainConfig):
    """`openkith.training.TrainConfig` with the values of 2022 as defaults."""

    epochs: int = 40
    batch_size: int = 200
    learning_rate: float = 1e-5
    schedule: Literal["constant", "exponential", "steps", "plateau"] = "exponential"
    decay: float = 0.99
    log_every: int = 10


@dataclass(frozen=True)
class EnhancementConfig:
    """How an enhancer is trained.

    Attributes:
        data: What it is learned from.
        net: The network.
        loss: What is learned.
        per_speaker: Embeddings of a speaker that stand together in a batch of a normal or triplet list; None: what
            the loss needs.
        centre: Take the mean of all utterances off what goes in, and the mean of all targets off these, and scale both
            to unit length again; else the network has to learn the mean, which is most of an embedding.
        centre_output: In the end, take off the mean of what the network makes of the utterances learned from.
        final: Which checkpoint becomes the enhancer: the last one, or the one of the best measure on the test list,
            whose error rate is then too good to be quoted.
        train: The rest.

    Raises:
        ConfigError: A value is out of range.
    """

    data: DataConfig = field(default_factory=DataConfig)
    net: NetConfig = field(default_factory=NetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    per_speaker: int | None = None
    centre: bool = False
    centre_output: bool = False
    final: Literal["last", "best"] = "last"
    train: EnhancementTraining = field(default_factory=EnhancementTraining)

    def __post_init__(self) -> None:
        if self.per_speaker is not None and self.per_speaker < 1:
            raise ConfigError(f"per_speaker is {self.per_speaker}; give 1 or more, or leave it out")
