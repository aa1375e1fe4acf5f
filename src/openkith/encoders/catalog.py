"""The encoders that there are, and published weights for them: whence, under which licence, here or not.

What is said of a published model is what its publisher says; what is not known for sure is None. The equal error rates
are percent on the original trials of VoxCeleb1 (Vox1-O), by the publisher's own scoring without score normalisation:
nothing here was measured by openkith.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path

from openkith.encoders.base import ENCODERS, encoder_names, load_encoder
from openkith.encoders.weights import sources
from openkith.encoders.weights.downloads import Progress
from openkith.encoders.weights.hubs import Remote
from openkith.encoders.weights.published import PUBLISHED, load_weights
from openkith.errors import ConfigError
from openkith.wheels import models_folder

__all__ = [
    "ANY_WEIGHTS",
    "DEFAULT",
    "KNOWN",
    "Known",
    "Model",
    "find_known",
    "info",
    "models",
    "needs_fetching",
    "pull",
    "weights_path",
]

DEFAULT: str = signature(load_encoder).parameters["name_or_path"].default

#: What is fetched of a repository that the table does not have: everything that can be weights, and what describes it.
ANY_WEIGHTS = (
    *("*.json", "*.yaml", "*.safetensors", "*.bin", "*.pt", "*.ckpt", "*.model", "*.onnx", "avg_model"),
)
_WESPEAKER = "https://github.com/wenet-e2e/wespeaker/blob/master/examples/voxceleb/v2/README.md"
_TWO_LICENCES = "the licence is that of its card, WeSpeaker's manual has CC-BY-4.0 for models of VoxCeleb"


@dataclass(frozen=True)
class Known:
    """A published model.

    Attributes:
        name: For `load_encoder`.
        encoder: The registered encoder that reads it.
        weights: What `sources.fetch` takes; None for those in a wheel (see `PUBLISHED`).
        dim: Length of its embeddings.
        licence: Of the weights, an SPDX identifier; None where the publisher does not say.
        eer: Published equal error rate on Vox1-O in percent; None where none is published for these weights.
        eer_source: Where that stands.
        size: Of what is fetched, in bytes; None where it is not known.
        note: What else to know.
    """

    name: str
    encoder: str
    weights: str | None
    dim: int
    licence: str | None
    eer: float | None = None
    eer_source: str | None = None
    size: int | None = None
    note: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """What is needed of its repository; of a URL, there is only one."""
        remote = sources.parse(self.weights) if self.weights is not None else None
        return tuple(remote.published) if isinstance(remote, Remote) else ()

    @property
    def sha256(self) -> str | None:
        """Of its one file, where that is pinned."""
        if self.weights is None:
            return PUBLISHED[self.name].member_sha256
        remote = sources.parse(self.weights)
        return next(iter(remote.published.values()), None) if isinstance(remote, Remote) else None

    @property
    def source(self) -> str:
        """Where the weights come from, for people."""
        return self.weights or PUBLISHED[self.name].requirement


_MODELS = (
    Known("ge2e", "ge2e", None, 256, "Apache-2.0", note="the default; English, 2018"),
    Known(
        "wavlm",
        "wavlm",
        "microsoft/wavlm-base-plus-sv",
        512,
        "CC-BY-SA-3.0",
        note="the licence is the one that its card points to; its card's decision threshold is cosine 0.86",
    ),
    Known(
        "eres2netv2",
        "eres2netv2",
        "modelscope:iic/speech_eres2netv2_sv_zh-cn_16k-common",
        192,
        "Apache-2.0",
        size=71_768_231,
        note="200,000 Chinese speakers; the paper's 0.61 % are of other weights, which are not published",
    ),
    Known(
        "eres2netv2-w24s4ep4",
        "eres2netv2",
        "modelscope:iic/speech_eres2netv2w24s4ep4_sv_zh-cn_16k-common",
        192,
        "Apache-2.0",
        size=214_688_240,
        note="200,000 Chinese speakers; the wider network",
    ),
    Known(
        "eres2net",
        "eres2net",
        "modelscope:iic/speech_eres2net_sv_en_voxceleb_16k",
        192,
        None,
        note="VoxCeleb2",
    ),
    Known(
        "resnet34",
        "resnet34",
        "Wespeaker/wespeaker-voxceleb-resnet34-LM",
        256,
        "CC-BY-4.0",
        eer=0.797,
        eer_source="https://huggingface.co/Wespeaker/wespeaker-voxceleb-resnet34-LM",
        note="VoxCeleb2, large-margin fine-tuning",
    ),
    Known(
        "ecapa",
        "ecapa",
        "Wespeaker/wespeaker-ecapa-tdnn512-LM",
        192,
        "CC-BY-4.0",
        eer=0.878,
        eer_source="https://huggingface.co/Wespeaker/wespeaker-ecapa-tdnn512-LM",
        note="VoxCeleb2, large-margin fine-tuning; 512 channels",
    ),
    Known(
        "ecapa-1024",
        "ecapa",
        "Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024-LM",
        192,
        "Apache-2.0",
        eer=0.798,
        eer_source=_WESPEAKER,
        note=f"VoxCeleb2, large-margin fine-tuning; 1024 channels; {_TWO_LICENCES}",
    ),
    Known(
        "campplus",
        "campplus",
        "Wespeaker/wespeaker-voxceleb-campplus",
        512,
        "Apache-2.0",
        eer=0.803,
        eer_source=_WESPEAKER,
        size=29_292_449,
        note=f"VoxCeleb2; ONNX; {_TWO_LICENCES}",
    ),
    Known(
        "resnetse34v2",
        "resnetse34v2",
        "https://www.robots.ox.ac.uk/~joon/data/baseline_v2_smproto.model",
        512,
        None,
        eer=1.018,
        eer_source="https://github.com/clovaai/voxceleb_trainer/blob/master/README.md",
        note="VoxCeleb2; no licence is stated for the weights, the trainer's code is MIT",
    ),
)
#: Name to published model, sorted by name.
KNOWN: dict[str, Known] = {known.name: known for known in sorted(_MODELS, key=lambda known: known.name)}


@dataclass(frozen=True)
class Model:
    """A model that can be loaded by name.

    Attributes:
        name: For `load_encoder`.
        encoder: The registered encoder that reads it.
        dim: Length of its embeddings; None where the weights decide it, and for an encoder of another distribution,
            which is not imported to be listed.
        cached: Whether its published weights are on this machine.
        path: Where they are, or would be; None for an encoder that has none.
        size: Of what is fetched in bytes: as it is here, or else as published; None where neither is known.
        licence: Of the weights, an SPDX identifier.
        source: What they are published in.
        eer: Published equal error rate on Vox1-O, in percent.
        eer_source: Where that stands.
        sha256: Of the file, where it is pinned.
        note: What else to know.
    """

    name: str
    encoder: str
    dim: int | None = None
    cached: bool = False
    path: Path | None = None
    size: int | None = None
    licence: str | None = None
    source: str | None = None
    eer: float | None = None
    eer_source: str | None = None
    sha256: str | None = None
    note: str | None = None


def find_known(name: str) -> Known | None:
    """The published model of that name, or whose weights are named."""
    if name in KNOWN:
        return KNOWN[name]
    return next(
        (known for known in KNOWN.values() if known.weights in (name, name.removeprefix("hf:"))), None
    )


def weights_path(name: str) -> Path | None:
    """Where the published weights of a model are kept, cached or not; None if it has none."""
    known = find_known(name)
    if known is None:
        return None
    if known.weights is None:
        return models_folder() / f"{known.name}.safetensors"
    cached = sources.cached(known.weights, files=known.files)
    remote = sources.parse(known.weights)
    return cached or (remote if isinstance(remote, Path) else remote.folder)


def needs_fetching(name: str) -> bool:
    """Whether loading the model would download its weights."""
    known = find_known(name)
    if known is None:
        return False
    if known.weights is None:
        path = weights_path(name)
        return path is not None and not path.is_file()
    return sources.cached(known.weights, files=known.files) is None


def models() -> list[Model]:
    """Every published model and every encoder, sorted by name."""
    return [info(name) for name in sorted({*KNOWN, *encoder_names()})]


def info(name: str) -> Model:
    """What is known of one model.

    Raises:
        ConfigError: No published model and no encoder has that name.
    """
    known = find_known(name)
    if known is None:
        if name not in encoder_names():
            raise ConfigError(
                f"no model is named {name!r}; there are: {', '.join({*KNOWN, *encoder_names()})}"
            )
        return Model(name, name, _dim(name))
    path, cached = weights_path(known.name), not needs_fetching(known.name)
    return Model(
        name=known.name,
        encoder=known.encoder,
        dim=known.dim,
        cached=cached,
        path=path,
        size=_size(path) if path is not None and cached else known.size,
        licence=known.licence,
        source=known.source,
        eer=known.eer,
        eer_source=known.eer_source,
        sha256=known.sha256,
        note=known.note,
    )


def pull(name: str, progress: Progress | None = None) -> Model:
    """Fetch weights, unless they are here, and check them either way.

    Args:
        name: A published model, or what `sources.fetch` takes: the id of a model on a hub, or a URL.
        progress: Called with what is being done, bytes that are here and bytes in all.

    Raises:
        ConfigError: It is none of these.
        WeightsError: They cannot be had, or are not what was published.
    """
    known = find_known(name)
    if known is not None and known.weights is None:
        load_weights(PUBLISHED[known.name])
        return info(known.name)
    if known is None and not _is_remote(name):
        raise ConfigError(
            f"no published weights are named {name!r}; there are: {', '.join(KNOWN)}, and owner/name on Hugging "
            "Face, modelscope:owner/name, or a URL"
        )
    source = (known.weights if known is not None else None) or name
    path = sources.fetch(source, files=known.files if known else ANY_WEIGHTS, progress=progress)
    sources.check(source)
    if known is not None:
        return info(known.name)
    return Model(name, "", cached=True, path=path, size=_size(path), source=source)


def _is_remote(text: str) -> bool:
    return ("/" in text or ":" in text) and not isinstance(sources.parse(text), Path)


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a folder that are no hidden ones."""
    if path.is_file():
        return path.stat().st_size
    return sum(
        file.stat().st_size for file in path.glob("[!.]*") if file.is_file() and file.name != sources.RECORD
    )


def _dim(name: str) -> int | None:
    if name not in ENCODERS:
        return None
    module, _, attribute = ENCODERS[name].partition(":")
    found = getattr(getattr(import_module(module), attribute), "dim", None)
    return found if isinstance(found, int) else None
