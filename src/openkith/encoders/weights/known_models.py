"""Published models, as their publishers describe them: whence, under which licence, how good, how large.

What is not known for sure is None. The equal error rates are percent on the original trials of VoxCeleb1 (Vox1-O), by
the publisher's own scoring without score normalisation: nothing here was measured by openkith.
"""

from __future__ import annotations

from dataclasses import dataclass

from openkith.encoders.weights import sources
from openkith.encoders.weights.hubs import Remote
from openkith.encoders.weights.published import PUBLISHED

__all__ = ["KNOWN", "Known", "find_known"]

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


def find_known(name: str) -> Known | None:
    """The published model of that name, or whose weights are named."""
    if name in KNOWN:
        return KNOWN[name]
    return next(
        (known for known in KNOWN.values() if known.weights in (name, name.removeprefix("hf:"))), None
    )
