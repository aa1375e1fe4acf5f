"""A group of utterances decoded, measured and embedded, whatever is wrong with some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio, load, measure_quality, trim_silence
from openkith.audio.vad import DETECTORS, WEBRTC, speech_seconds
from openkith.bulk.formats import get_format
from openkith.bulk.listing import Item
from openkith.bulk.parts import Measures, Outcome
from openkith.bulk.tables import cell
from openkith.encoders import Encoder
from openkith.encoders.clips.crops import CROP_SECONDS, check_crops, embed_crops, mean_of_crops
from openkith.errors import ConfigError, InputError

__all__ = ["NO_VAD", "EmbedOptions", "embed_group", "failed"]

NO_VAD = "none"
_MOST_SECONDS = 300.0  # of audio in memory before it is embedded
_SHOWN = 200  # characters of a reason

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EmbedOptions:
    """What is embedded of an utterance, and what is written.

    Attributes:
        format: A key of `openkith.bulk.formats.FORMATS`. Unless told: an npy-tree where there are crops to keep, else
            safetensors.
        crops: The encoder over so many evenly spaced crops, see `openkith.encoders.clips.crops`: (crops, d) arrays in
            an npy-tree, their L2-normalised mean in other formats. None: over the whole clip.
        crop_seconds: Length of a crop.
        vad: A key of `openkith.audio.vad.DETECTORS`: only what it takes for speech is embedded, as enrolment does.
            "none": clips are embedded as they are, as published results on VoxCeleb have it.
        quality: Measure noise, clipping and bandwidth, for the index.

    Raises:
        ConfigError: No such format or detector, or crops that cannot be cut.
    """

    format: str = ""
    crops: int | None = None
    crop_seconds: float = CROP_SECONDS
    vad: str = WEBRTC
    quality: bool = True

    def __post_init__(self) -> None:
        if not self.format:
            object.__setattr__(self, "format", "safetensors" if self.crops is None else "npy-tree")
        get_format(self.format)
        if self.vad not in (*DETECTORS, NO_VAD):
            raise ConfigError(f"vad is {self.vad!r}; give one of: {', '.join((*DETECTORS, NO_VAD))}")
        check_crops(1 if self.crops is None else self.crops, self.crop_seconds)


def embed_group(encoder: Encoder, group: Sequence[Item], options: EmbedOptions) -> list[Outcome]:
    """Decode, measure and embed utterances, an outcome for each in their order; nothing is raised for a bad file."""
    outcomes: list[Outcome] = []
    heard: list[tuple[Item, Audio, Measures]] = []

    def embed_heard() -> None:
        outcomes.extend(_embed(encoder, heard, options))
        heard.clear()

    for item in group:
        try:
            clip, measures = _hear(item, options)
        except Exception as error:  # whatever is wrong with this file, the others go on
            outcomes.append(failed(item, error))
            continue
        heard.append((item, clip, measures))
        if sum(clip.seconds for _, clip, _ in heard) > _MOST_SECONDS:
            embed_heard()
    embed_heard()
    by_id = {outcome.utterance: outcome for outcome in outcomes}
    return [by_id[item.utterance] for item in group]


def _hear(item: Item, options: EmbedOptions) -> tuple[Audio, Measures]:
    """What is embedded of an utterance, and its measures."""
    clip = load(item.path, start=item.start, end=item.end)
    if options.quality:
        measures = Measures(**asdict(measure_quality(clip)))
    else:
        measures = Measures(clip.seconds, speech_seconds(clip))
    return (clip if options.vad == NO_VAD else trim_silence(clip, options.vad)), measures


def _embed(
    encoder: Encoder, heard: Sequence[tuple[Item, Audio, Measures]], options: EmbedOptions
) -> list[Outcome]:
    if not heard:
        return []
    try:
        vectors = _vectors(encoder, [clip for _, clip, _ in heard], options)
    except Exception as error:
        if len(heard) == 1:
            return [failed(heard[0][0], error)]
        return [outcome for one in heard for outcome in _embed(encoder, [one], options)]
    return [
        Outcome(item.utterance, cell(str(item.path)), item.speaker, vector, measures)
        if np.isfinite(vector).all()
        else failed(item, InputError("the encoder gave NaN or infinite values"))
        for (item, _, measures), vector in zip(heard, vectors, strict=True)
    ]


def _vectors(encoder: Encoder, clips: Sequence[Audio], options: EmbedOptions) -> FloatArray:
    """(n, d), or (n, crops, d) for a format that keeps them."""
    if options.crops is None:
        vectors = encoder.embed(clips)
    else:
        vectors = np.stack(
            [embed_crops(encoder, clip, options.crops, options.crop_seconds) for clip in clips]
        )
        if not get_format(options.format).one_file_each:
            vectors = mean_of_crops(vectors)
    return np.asarray(vectors, np.float32)


def failed(item: Item, error: Exception) -> Outcome:
    """The reason in one line, without the path, which stands beside it."""
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = reason.removeprefix(f"{item.path}: ")
    return Outcome(item.utterance, cell(str(item.path)), item.speaker, None, None, cell(reason)[:_SHOWN])
