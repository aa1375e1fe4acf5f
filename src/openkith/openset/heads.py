"""An open-set model as plain JSON and arrays, for the gallery or a folder, and back again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from openkith.errors import GalleryError, KithError
from openkith.neural_scoring.talker_method import TalkerMethod
from openkith.openset.enhancers import pack_enhancer, unpack_enhancer
from openkith.openset.model import HeldOutErrors, OpenSetModel, restore_scorer
from openkith.scoring.base import Arrays, EmbeddingSet, FloatArray, Listener, Scorer, guessed_conditions
from openkith.scoring.calibration import Calibration, HeldOutScores
from openkith.scoring.holdout import ORIGINAL_SHARE

__all__ = ["add_strangers", "pack_model", "unpack_model", "unpack_talkers"]

FORMAT = 3
_SCORER, _HELD_OUT, _ENHANCER, _TALKERS = "scorer/", "held_out/", "enhancer/", "talkers/"


def pack_model(
    model: OpenSetModel, extra: Mapping[str, Any], talkers: OpenSetModel | None = None
) -> tuple[dict[str, Any], Arrays]:
    """Configuration (JSON) and arrays of a model; its calibration is made again from the held-out scores.

    Args:
        model: A fitted model.
        extra: More configuration to keep with it.
        talkers: The multi-talker scorer for the same people, to be kept with it.
    """
    scorer_config, scorer_arrays = model.scorer.state()
    errors = {
        name: [None if math.isnan(rate) else rate for rate in (e.eer, e.detection_eer)]
        for name, e in model.errors.items()
    }
    config = {
        "format": FORMAT,
        "asked": model.asked,
        "method": model.method,
        "scorer": {"name": model.scorer.name, "config": scorer_config},
        "basis": list(model.held_out.basis),
        "errors": errors,
        "shape": list(model.shape),
        "enhancer": None,
        "talkers": None,
        **extra,
    }
    enhancer_arrays: Arrays = {}
    talker_arrays: Arrays = {}
    if talkers is not None:
        config["talkers"], talker_arrays = talkers.scorer.state()
    if model.enhancer is not None:
        config["enhancer"], enhancer_arrays = pack_enhancer(model.enhancer)
    parts = {_SCORER: scorer_arrays, _ENHANCER: enhancer_arrays, _TALKERS: talker_arrays}
    arrays = {
        f"{part}{key}": np.ascontiguousarray(value)
        for part, own in parts.items()
        for key, value in own.items()
    }
    for key, value in model.held_out.arrays().items():
        # Half the size, and far finer than the scores mean anything.
        small = value.astype(np.float32) if value.dtype == np.float64 else value
        arrays[f"{_HELD_OUT}{key}"] = small.astype(np.uint8) if small.dtype == np.bool_ else small
    return config, arrays


def unpack_model(
    config: Mapping[str, Any], arrays: Arrays, strangers: EmbeddingSet | None, **settings: Any
) -> OpenSetModel:
    """The model that `pack_model` was given, calibrated with these settings.

    Args:
        config, arrays: What `pack_model` returned.
        strangers: More clips of other people, which the model has not learned from, for the calibration.
        settings: Of `Calibration.fit`.

    Raises:
        GalleryError: Another version wrote it, or it is damaged.
    """
    if config.get("format") != FORMAT:
        raise GalleryError(
            f"the stored head has format {config.get('format')}, this version reads {FORMAT}; run: kith tune"
        )
    try:
        scorer = restore_scorer(config["scorer"]["name"], config["scorer"]["config"], _part(arrays, _SCORER))
        held = _part(arrays, _HELD_OUT)
        enhancer = None
        if config.get("enhancer") is not None:
            enhancer = unpack_enhancer(config["enhancer"], _part(arrays, _ENHANCER))
        held["copies"] = held["copies"].astype(np.bool_)
        held_out = HeldOutScores(**held, basis=tuple(config["basis"]))
        errors = {
            name: HeldOutErrors(*(math.nan if rate is None else rate for rate in rates))
            for name, rates in config["errors"].items()
        }
        _check(held_out, scorer.score(_some_probe(scorer, config["shape"])))
        asked, method, shape = config["asked"], config["method"], tuple(config["shape"])
    except (KithError, KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise GalleryError(
            f"the stored head is damaged, or of another version ({reason}); run: kith tune"
        ) from error
    calibration = Calibration.fit(held_out, **settings)
    model = OpenSetModel(asked, method, scorer, held_out, calibration, errors, shape, enhancer)
    return model if strangers is None else add_strangers(model, strangers, **settings)


def unpack_talkers(config: Mapping[str, Any], arrays: Arrays, **settings: Any) -> OpenSetModel | None:
    """The multi-talker scorer that `pack_model` was given, calibrated with these settings; None if it was given none.

    Raises:
        GalleryError: Another version wrote it, or it is damaged.
    """
    if config.get("talkers") is None:
        return None
    try:
        scorer = TalkerMethod.restore(config["talkers"], _part(arrays, _TALKERS))
        held_out = scorer.held_out()
    except (KithError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise GalleryError(
            f"the stored head is damaged, or of another version ({reason}); run: kith tune"
        ) from error
    calibration, name = Calibration.fit(held_out, **settings), TalkerMethod.name
    errors = {name: HeldOutErrors.of(held_out)}
    return OpenSetModel(name, name, scorer, held_out, calibration, errors, scorer.people.shape[1:])


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _some_probe(scorer: Scorer, shape: Sequence[int]) -> Any:
    """A silent probe; of a scorer that listens none."""
    return [] if isinstance(scorer, Listener) else np.zeros((1, *shape), np.float32)


def _check(held_out: HeldOutScores, probe: FloatArray) -> None:
    """Refuse arrays that do not belong together; ``probe`` is the score (p, C) of any probes."""
    n_people = len(held_out.basis)
    known = (held_out.labels, held_out.clips, held_out.copies, held_out.known_weights)
    unknown = (held_out.unknown_clips, held_out.unknown_weights)
    shapes = [probe.shape[1:] == (n_people,), held_out.pseudo.shape == held_out.pseudo_weights.shape]
    for scores, columns in ((held_out.known, known), (held_out.unknown, unknown)):
        shapes.append(scores.shape[1:] == (n_people,))
        shapes.extend(column.shape == scores.shape[:1] for column in columns)
    if held_out.has_conditions:
        for scores, conditions in (
            (held_out.known, held_out.known_conditions),
            (held_out.unknown, held_out.unknown_conditions),
        ):
            shapes.append(conditions.shape == (len(scores), held_out.known_conditions.shape[1]))
    if not all(shapes) or not np.isin(held_out.labels, np.arange(n_people)).all():
        raise ValueError("arrays that do not fit together")
    if not all(np.isfinite(array).all() for array in (probe, *held_out.arrays().values())):
        raise ValueError("values that are not finite")


def add_strangers(model: OpenSetModel, strangers: EmbeddingSet, **settings: Any) -> OpenSetModel:
    """The model, calibrated with the scores of more people whom it has not learned from.

    One that listens stays as it is: of these people nothing but embeddings is left.
    """
    if model.listens:
        return model
    held_out = model.held_out
    embeddings = model.enhanced(strangers.embeddings)
    conditions = guessed_conditions(model.scorer, embeddings)
    first = int(held_out.unknown_clips.max()) + 1 if len(held_out.unknown_clips) else 0
    more = replace(
        held_out,
        unknown=np.concatenate([held_out.unknown, model.scorer.score(embeddings)]),
        unknown_clips=np.concatenate([held_out.unknown_clips, strangers.clips + first]),
        unknown_weights=np.concatenate([held_out.unknown_weights, strangers.weights(ORIGINAL_SHARE)]),
        unknown_conditions=np.concatenate([held_out.unknown_conditions, conditions])
        if held_out.has_conditions
        else held_out.unknown_conditions,
    )
    return replace(model, held_out=more, calibration=Calibration.fit(more, **settings))
