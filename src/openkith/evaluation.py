"""Manifests in, metrics out.

Every method learns from enroll and negative rows and from what ships with openkith, never from test rows; each test
row is scored alone, and none is dropped, however short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio, load
from openkith.audio.vad import trim_silence
from openkith.data import Manifest, Row, read_manifest
from openkith.data.draws import redraw_enrolment
from openkith.encoders import Encoder
from openkith.encoders.clips.clip_cache import ClipCache, embed_cached, usual_cache
from openkith.encoders.clips.copies import EmbeddedClip
from openkith.enhancement.enhancer import Enhancer
from openkith.errors import AudioError, ConfigError, InputError
from openkith.metrics import OpenSetMetrics, open_set_report
from openkith.openset.decision import Decision, decide
from openkith.openset.enhancers import OFF, ChosenEnhancer, candidate_enhancers
from openkith.openset.model import AUTO, OpenSetModel, check_encoder_of, check_method, fit_open_set
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring import EmbeddingSet, find_cohort
from openkith.scoring.base import one_view

__all__ = ["ClipStore", "Result", "evaluate"]

_BATCH = 64
Progress = Callable[[str, int, int], None]
_Key = tuple[Path, float | None, float | None]  # file and cut


@dataclass(frozen=True, eq=False)
class Result:
    """One method with one seed on one manifest, or on one draw of its enrolment clips.

    Attributes:
        manifest: Its name.
        method: What was asked for.
        chosen: What "auto" chose; otherwise the method; with ``+enhancer`` where embeddings go through one.
        seed: Of everything random.
        names: The C enrolled people.
        truth: (p) who really speaks in each probe.
        labels: (p,) index into ``names``, or -1 for an unknown speaker.
        probes: (p) file and cut of each probe.
        seconds: (p,) of speech.
        embeddings: (p, d), plain view.
        enrolment_embeddings: (n, d) of the enrolment clips.
        enrolment_labels: (n,).
        scores: (p, C) calibrated natural-log likelihood ratios.
        probabilities: (p, C + 1), last unknown.
        decisions: (p).
        threshold: On the best ratio.
        far: The false-accept rate that was asked for.
        metrics: Of the scores.
        tune_seconds: Wall time of fitting and calibrating, after embedding.
        score_seconds: Wall time of scoring all probes, after embedding; of a method that hears the speech itself, with
            reading it.
        draw: Of the enrolment clips; 0 is the manifest as it is.
    """

    manifest: str
    method: str
    chosen: str
    seed: int
    names: tuple[str, ...]
    truth: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probes: tuple[str, ...]
    seconds: npt.NDArray[np.float64]
    embeddings: npt.NDArray[np.float32]
    enrolment_embeddings: npt.NDArray[np.float32]
    enrolment_labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    decisions: tuple[Decision, ...]
    threshold: float
    far: float
    metrics: OpenSetMetrics
    tune_seconds: float
    score_seconds: float
    draw: int = 0

    @property
    def statuses(self) -> tuple[str, ...]:
        """Known, unsure or unknown, for each probe."""
        return tuple(decision.status for decision in self.decisions)

    @property
    def decided(self) -> tuple[str | None, ...]:
        """The name given to each probe, or None."""
        return tuple(decision.name if decision.status == "known" else None for decision in self.decisions)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, for each probe."""
        return tuple(decision.reason for decision in self.decisions)

    def to_dict(self) -> dict[str, Any]:
        """The row that ``kith evaluate --json`` prints: rates are fractions, None where not defined."""
        names = (
            *("eer", "detection_eer", "min_dcf", "act_dcf", "cllr", "oscr", "auroc", "tnr95", "accuracy"),
            *("fnir_at_fpir_1", "n_speakers", "n_known", "n_unknown"),
        )
        values = {name: getattr(self.metrics, name) for name in names}
        return {
            "manifest": self.manifest,
            "method": self.method,
            "chosen": self.chosen,
            "seed": self.seed,
            "draw": self.draw,
            **{name: None if value != value else value for name, value in values.items()},
            "tune_seconds": self.tune_seconds,
            "score_seconds": self.score_seconds,
        }


class ClipStore:
    """Embeds the clips of manifests, each one once however many manifests and methods use it, and in whatever role.

    Args:
        encoder: Any encoder.
        cache: Where embedded clips are kept for the next time; None: nowhere.
    """

    def __init__(self, encoder: Encoder, cache: ClipCache | None = None) -> None:
        self.encoder = encoder
        self.cache = cache
        self._clips: dict[_Key, EmbeddedClip] = {}

    def get(
        self,
        rows: Sequence[Row],
        *,
        copies: bool,
        source: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[EmbeddedClip]:
        """The embedded clip of each row, with or without degraded copies.

        Copies are made when they are asked for first; the clip itself is not embedded again for them.

        Raises:
            AudioError: A file is not usable; the message names the row too, if it is told its manifest (``source``).
        """
        keys = [(row.path, row.start, row.end) for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if not self._has(key, copies)}
        for first in range(0, len(missing), _BATCH):
            batch = dict(list(missing.items())[first : first + _BATCH])
            audio = [_load(row, source) for row in batch.values()]

            def step(done: int, _: int, first: int = first) -> None:
                if progress:
                    progress(first + done, len(missing))

            embedded = embed_cached(
                self.encoder,
                audio,
                copies=copies,
                plain=[self._clips.get(key) for key in batch],
                cache=self.cache,
                progress=step,
            )
            self._clips.update(zip(batch, embedded, strict=True))
        found = [self._clips[key] for key in keys]
        return found if copies else [clip.alone() for clip in found]

    def _has(self, key: _Key, copies: bool) -> bool:
        clip = self._clips.get(key)
        return clip is not None and (clip.has_copies or not copies)


@dataclass(frozen=True, eq=False)
class _Material:
    """The embedded rows of one manifest."""

    names: tuple[str, ...]
    enrolment: EmbeddingSet
    halves: EmbeddingSet | None
    cohort: EmbeddingSet | None
    test: list[EmbeddedClip]


def evaluate(
    manifest: str | Path | Manifest,
    methods: Sequence[str] = (AUTO,),
    *,
    encoder: Encoder | None = None,
    store: ClipStore | None = None,
    seeds: int = 1,
    draws: int = 1,
    far: float = 0.01,
    enhancer: ChosenEnhancer = OFF,
    progress: Progress | None = None,
) -> list[Result]:
    """Enrol, tune and score one manifest.

    Args:
        manifest: A manifest or its path.
        methods: Keys of `openkith.openset.model.METHODS` or `SPEECH_METHODS`, or "auto".
        encoder: Default: the default encoder.
        store: Embedded clips, to share them between manifests; its encoder is used. Default: one that keeps them for
            the next time, see `openkith.encoders.clips.clip_cache`.
        seeds: Runs with seeds 0 to seeds - 1; a method without randomness gives the same each time.
        draws: Draws of the enrolment clips: the manifest as it is, and draws - 1 in which each person is enrolled with
            as many clips drawn from all of theirs, see `openkith.data.draws`.
        far: False-accept rate of the decisions; the metrics do not depend on it.
        enhancer: What embeddings go through first, see `openkith.recognizer.Recognizer`.
        progress: Called with what is being done, steps done and steps in all.

    Returns:
        One result per draw, method and seed, in that order.

    Raises:
        InputError: The manifest, a file in it, or a setting is not usable.
    """
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; give 1 or more")
    if draws < 1:
        raise ConfigError(f"draws is {draws}; give 1 or more")
    for method in methods:  # before anything is read or embedded
        check_method(method, speech=True)
    if not isinstance(manifest, Manifest):
        manifest = read_manifest(manifest)
    manifest.check_evaluable()
    if store is None:
        if encoder is None:
            from openkith.encoders import load_encoder

            encoder = load_encoder()
        store = ClipStore(encoder, usual_cache())
    for method in methods:
        check_encoder_of(method, store.encoder)
    enhancers = candidate_enhancers(enhancer, store.encoder)
    results: list[Result] = []
    total = draws * len(methods) * seeds
    for draw in range(draws):
        drawn = redraw_enrolment(manifest, draw)
        drawn.check_evaluable()
        material = _prepare(drawn, store, progress)
        for method, seed in product(methods, range(seeds)):
            if progress:
                which = f"seed {seed}" if draws == 1 else f"draw {draw}, seed {seed}"
                progress(f"{manifest.name}: {method}, {which}", len(results), total)
            results.append(_run(drawn, material, store.encoder, enhancers, method, seed, draw, far))
    return results


def _prepare(manifest: Manifest, store: ClipStore, progress: Progress | None) -> _Material:
    def embed(rows: Sequence[Row], copies: bool, what: str) -> list[EmbeddedClip]:
        def step(done: int, total: int) -> None:
            if progress:
                progress(f"{manifest.name}: embedding {what} clips", done, total)

        return store.get(rows, copies=copies, source=manifest.source, progress=step)

    names = manifest.speakers
    enrolled = embed(manifest.enroll, True, "enrolment")
    enrolment, halves = embedding_set(
        [clip.arrays() for clip in enrolled], [names.index(row.speaker) for row in manifest.enroll]
    )
    parts = [find_cohort(store.encoder.fingerprint)]
    if manifest.negative:
        negative = embed(manifest.negative, False, "negative")
        speakers = sorted({row.speaker for row in manifest.negative})
        labels = [speakers.index(row.speaker) for row in manifest.negative]
        parts.append(embedding_set([clip.arrays() for clip in negative], labels)[0])
    present = [part for part in parts if part is not None]
    cohort = EmbeddingSet.concatenate(present) if present else None
    return _Material(tuple(names), enrolment, halves, cohort, embed(manifest.test, False, "test"))


def _run(
    manifest: Manifest,
    material: _Material,
    encoder: Encoder,
    enhancers: Sequence[Enhancer | None],
    method: str,
    seed: int,
    draw: int,
    far: float,
) -> Result:
    started = time.perf_counter()
    model: OpenSetModel = fit_open_set(
        method,
        material.enrolment,
        material.cohort,
        halves=material.halves,
        seed=seed,
        far=far,
        enhancers=enhancers,
    )
    tuned = time.perf_counter()
    names = material.names
    embeddings = np.stack([clip.embedding for clip in material.test])
    if model.listens:  # one by one: the recordings of a whole manifest would fill the memory
        speech = (trim_silence(_load(row, manifest.source)) for row in manifest.test)
        llrs = np.concatenate([model.speech_llrs(encoder, [clip]) for clip in speech])
    else:
        llrs = model.llrs(np.stack([clip.views for clip in material.test]))
    scored = time.perf_counter()
    labels = np.array([names.index(row.speaker) if row.speaker in names else -1 for row in manifest.test])
    if not np.isfinite(llrs).all():
        raise InputError(
            f"{manifest.source}: method {method!r} gave scores that are not finite; check the audio"
        )
    seconds = np.array([clip.speech_seconds for clip in material.test])
    originals = material.enrolment.originals()
    return Result(
        manifest=manifest.name,
        method=method,
        chosen=model.label,
        seed=seed,
        names=names,
        truth=tuple(row.speaker for row in manifest.test),
        labels=labels,
        probes=tuple(_probe_name(row, manifest) for row in manifest.test),
        seconds=seconds,
        embeddings=embeddings,
        enrolment_embeddings=one_view(originals.embeddings),
        enrolment_labels=originals.labels,
        scores=llrs,
        probabilities=model.calibration.posteriors(llrs),
        decisions=tuple(
            decide(row, names, model.calibration, float(s), model.method)
            for row, s in zip(llrs, seconds, strict=True)
        ),
        threshold=model.calibration.threshold,
        far=far,
        metrics=open_set_report(llrs, labels),
        tune_seconds=tuned - started,
        score_seconds=scored - tuned,
        draw=draw,
    )


def _load(row: Row, source: Path | None) -> Audio:
    try:
        return load(row.path, start=row.start, end=row.end)
    except AudioError as error:
        if source is None or not row.line:
            raise
        raise AudioError(f"{source}:{row.line}: {error}") from error


def _probe_name(row: Row, manifest: Manifest) -> str:
    """The path, relative to the manifest where that works, and the cut."""
    try:
        path = row.path.relative_to(manifest.source.absolute().parent)
    except ValueError:
        path = row.path
    if row.start is None and row.end is None:
        return str(path)
    return f"{path} [{row.start or 0:g}-{'' if row.end is None else f'{row.end:g}'} s]"
