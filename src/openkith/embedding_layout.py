"""Ready embeddings in the layout that SpeakerRPL was released with, evaluated without any audio.

::

    emb_train/<id>/*.npy                    clips that enrol; known people are the ids 0 to N-1
    emb_test/<id>/*.npy                     probes; an id of N or more is an unknown speaker
    emb_train_unknown_control/<id>/*.npy    optional: clips of other people, unknown samples for tuning

Each file holds one embedding, (d,) or (1, d), of floating-point numbers. So embeddings of any encoder can be measured,
whether openkith has it or not (Chen et al., SLT 2024, arXiv 2409.15742).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import OpenSetMetrics, open_set_report
from openkith.openset.model import Progress, check_method, fit_open_set
from openkith.scoring import Calibration, EmbeddingSet, Scorer, hold_out
from openkith.scoring.base import FloatArray
from openkith.tuning import TuneConfig, tune

__all__ = [
    "CONTROL",
    "DEFAULT_METHODS",
    "RELEASED",
    "TEST",
    "TRAIN",
    "EmbeddingLayout",
    "LayoutResult",
    "evaluate_layout",
    "read_layout",
]

TRAIN = "emb_train"
TEST = "emb_test"
CONTROL = "emb_train_unknown_control"
RELEASED = "released"
"""The recipe as it was released: 100 epochs of SGD on the clips as they are, one adapter."""
DEFAULT_METHODS = ("cosine", RELEASED)

_ID = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True, eq=False)
class EmbeddingLayout:
    """The embeddings of one folder.

    Attributes:
        folder: Where they are.
        enrolment: Clips of the known people, labels 0 to N-1.
        control: Clips of other people to learn from; None: none are given.
        probes: (p, d) float32.
        labels: (p,) known person of each probe, -1 for an unknown one.
    """

    folder: Path
    enrolment: EmbeddingSet
    control: EmbeddingSet | None
    probes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def n_known(self) -> int:
        """N, how many people are known."""
        return self.enrolment.n_speakers


@dataclass(frozen=True)
class LayoutResult:
    """One method on one folder.

    Attributes:
        method: Its name.
        unknown_samples: Whether it saw the clips of other people in ``emb_train_unknown_control``.
        metrics: Of the raw scores; actual DCF and Cllr of the ratios that held-out enrolment clips give, NaN where
            there are too few.
        tune_seconds: Wall time of fitting and calibrating.
    """

    method: str
    unknown_samples: bool
    metrics: OpenSetMetrics
    tune_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "method": self.method,
            "unknown_samples": self.unknown_samples,
            **asdict(self.metrics),
            "tune_seconds": self.tune_seconds,
        }


def read_layout(folder: str | Path, known: int | None = None) -> EmbeddingLayout:
    """Read a folder of ready embeddings. Nothing in it is unpickled.

    Args:
        folder: It holds ``emb_train`` and ``emb_test``, and may hold ``emb_train_unknown_control``.
        known: N; ids of N and more in ``emb_train`` are passed over. None: as many as ``emb_train`` has folders.

    Raises:
        ConfigError: ``known`` is less than 1.
        InputError: A folder or file is missing or has something else in it; the message names it.
        NotEnoughDataError: An id from 0 to N-1 has no clip, or there is nothing to test.
    """
    folder = Path(folder)
    if known is not None and known < 1:
        raise ConfigError(f"known is {known}; give 1 or more")
    for needed in (folder, folder / TRAIN, folder / TEST):
        if not needed.is_dir():
            raise InputError(f"{needed}: no such folder; give a folder that holds {TRAIN} and {TEST}")
    train = _numbered(folder / TRAIN)
    n_known = len(train) if known is None else known
    absent = [number for number in range(n_known) if not train.get(number)]
    if absent or not n_known:
        raise NotEnoughDataError(
            f"{folder / TRAIN}: no embedding of id {absent[0] if absent else 0}; the known people are the ids 0 to "
            f"{max(0, n_known - 1)}, and each needs a folder with a .npy file: add it, or give another --known"
        )
    reader = _Reader()
    enrolment = reader.stack({number: train[number] for number in range(n_known)})
    probes = reader.stack(_numbered(folder / TEST))
    if probes is None or enrolment is None:
        raise NotEnoughDataError(
            f"{folder / TEST}: no .npy file in any of its folders; add embeddings to test"
        )
    control = reader.stack(_named(folder / CONTROL)) if (folder / CONTROL).is_dir() else None
    return EmbeddingLayout(
        folder=folder,
        enrolment=EmbeddingSet.plain(*enrolment),
        control=None if control is None else EmbeddingSet.plain(*control),
        probes=probes[0],
        labels=np.where(probes[1] < n_known, probes[1], -1),
    )


def evaluate_layout(
    layout: EmbeddingLayout,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[LayoutResult]:
    """Measure methods with and without unknown samples.

    Args:
        layout: What `read_layout` gave.
        methods: "released", "auto", or keys of `openkith.openset.model.METHODS`.
        seed: Of everything random.
        progress: Called with what is being done, steps done and steps in all.

    Returns:
        For each method a result without unknown samples, and one with them where the folder has them. A method that
        cannot do without has the second only.

    Raises:
        ConfigError: No such method.
        NotEnoughDataError: A method needs unknown samples and the folder has none, or too few people are known.
    """
    for method in methods:
        check_method(method, speech=False, also=[RELEASED])
    results = []
    cohorts = [None] if layout.control is None else [None, layout.control]
    for i, method in enumerate(methods):
        for j, cohort in enumerate(cohorts):
            if progress:
                kind = "without" if cohort is None else "with"
                progress(
                    f"{method}, {kind} unknown samples", len(cohorts) * i + j, len(cohorts) * len(methods)
                )
            try:
                results.append(_run(layout, method, cohort, seed))
            except NotEnoughDataError:
                if cohort is not None or layout.control is None:
                    raise
    return results


def _run(layout: EmbeddingLayout, method: str, cohort: EmbeddingSet | None, seed: int) -> LayoutResult:
    started = time.perf_counter()
    if method == RELEASED:
        scores, llrs = _released(layout, cohort, seed)
    else:
        model = fit_open_set(method, layout.enrolment, cohort, seed=seed)
        scores = llrs = model.llrs(layout.probes)
    seconds = time.perf_counter() - started
    metrics = open_set_report(scores, layout.labels, llrs)
    if llrs is None:
        metrics = replace(metrics, act_dcf=math.nan, cllr=math.nan)
    return LayoutResult(method, cohort is not None, metrics, seconds)


class _ReleasedRecipe:
    """The released recipe as a back end, so that clips can be held out of it to calibrate."""

    name = RELEASED

    def __init__(self, seed: int, needs_cohort: bool) -> None:
        self.seed = seed
        self.needs_cohort = needs_cohort

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Tune; the cohort is the unknown samples."""
        self._head = tune(
            enrolment.embeddings,
            enrolment.labels,
            unknown=None if cohort is None else cohort.embeddings,
            config=TuneConfig.released(seed=self.seed),
        )
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to (p, N)."""
        return np.asarray(self._head.score(embeddings), np.float32)


def _released(
    layout: EmbeddingLayout, cohort: EmbeddingSet | None, seed: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Raw scores of the probes (p, N), and ratios of them where enough clips can be held out."""

    def make() -> Scorer:  # held-out clips ask it to fit and to score, never to be saved
        return cast(Scorer, _ReleasedRecipe(seed, needs_cohort=cohort is not None))

    scores = make().fit(layout.enrolment, cohort).score(layout.probes)
    try:
        calibration = Calibration.fit(hold_out(make, layout.enrolment, cohort))
    except NotEnoughDataError:  # as with a single clip of each person
        return scores, None
    return scores, calibration.llr(scores)


class _Reader:
    """Reads embeddings, all of one length."""

    def __init__(self) -> None:
        self._first: tuple[Path, int] | None = None  # the file that set the length

    def stack(
        self, files: Mapping[int, Sequence[Path]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None:
        """(n, d) embeddings and (n,) labels, the keys of ``files``; None where there are no files."""
        labels = [number for number, paths in sorted(files.items()) for _ in paths]
        rows = [self.read(path) for _, paths in sorted(files.items()) for path in paths]
        return (np.stack(rows), np.array(labels, np.int64)) if rows else None

    def read(self, path: Path) -> npt.NDArray[np.float32]:
        """One embedding, (d,)."""
        try:  # mapped: the file's length is held against its header before anything is allocated
            array = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise InputError(
                f"{path}: no embedding: {reason}; save one with numpy.save as plain numbers"
            ) from None
        if array.dtype.kind != "f":
            raise InputError(
                f"{path}: numbers of type {array.dtype}; an embedding has floating-point numbers"
            )
        if array.shape not in ((array.size,), (1, array.size)) or not array.size:
            raise InputError(f"{path}: shape {array.shape}; a file holds one embedding, (d,) or (1, d)")
        with np.errstate(over="ignore"):  # a number too large for float32 is refused below
            values = np.array(array, np.float32).ravel()
        if not np.isfinite(values).all():
            raise InputError(f"{path}: has NaN or infinite values; leave this clip out")
        if self._first is None:
            self._first = (path, len(values))
        example, dim = self._first
        if len(values) != dim:
            raise InputError(
                f"{path}: {len(values)} numbers, and {example} has {dim}; embed all clips with one encoder"
            )
        return values


def _named(folder: Path) -> dict[int, list[Path]]:
    """The files of each folder that has some, numbered in the order of the folders' names."""
    return dict(enumerate(files for files in map(_files, _folders(folder)) if files))


def _numbered(folder: Path) -> dict[int, list[Path]]:
    """The files of each folder in it, by the number that is its name."""
    files: dict[int, list[Path]] = {}
    for here in _folders(folder):
        if not _ID.fullmatch(here.name):
            raise InputError(f"{here}: its name is no id; name people's folders 0, 1, 2 and so on")
        if int(here.name) in files:
            raise InputError(f"{here}: a second folder of id {int(here.name)}; keep one")
        files[int(here.name)] = _files(here)
    return files


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix == ".npy" and not path.name.startswith(".")
    )
