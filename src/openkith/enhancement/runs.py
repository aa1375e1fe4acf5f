"""The folder of a training: the enhancer that it has given so far, and what this does to scores and distances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from openkith.config import from_dict
from openkith.enhancement.analysis import (
    Analysis,
    PairDistances,
    TrialScores,
    compare_distances,
    compare_scores,
    write_analysis,
)
from openkith.enhancement.curves import ABOUT, read_about
from openkith.enhancement.data import Transform, distances, pair_cosines
from openkith.enhancement.drawing import make_distribution
from openkith.enhancement.enhancer import Enhancer, NetSpec
from openkith.enhancement.learned import enhancer_of
from openkith.enhancement.list_forms import DistributionList
from openkith.enhancement.material import Test, Trees, read_material, read_tests
from openkith.enhancement.settings import EnhancementConfig
from openkith.enhancement.trainer import ENHANCER
from openkith.enhancement.tree import EmbeddingTree, MappedEmbeddings
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.losses import enhancement_loss_class
from openkith.training import list_checkpoints
from openkith.training.logs import Progress

__all__ = ["MOST_PAIRS", "analyse_run", "load_enhancer", "read_run"]

MOST_PAIRS = 100_000
"""Of one speaker's utterances, whose distances are measured."""


def load_enhancer(path: str | Path) -> tuple[Enhancer, str]:
    """An enhancer, and the name of the checkpoint it is of where its training has not ended; else an empty name.

    Args:
        path: The folder of an enhancer, of a training, or of a checkpoint in it.

    Raises:
        InputError: None of these, or a training without a checkpoint.
    """
    path = Path(path)
    if (path / ENHANCER).is_dir():
        return Enhancer.load(path / ENHANCER), ""
    run = next((each for each in (path, path.parent.parent) if (each / ABOUT).is_file()), None)
    if run is None or (run == path and not list_checkpoints(path)):
        return Enhancer.load(path), ""
    checkpoint = path if run != path else list_checkpoints(run)[-1]
    config, spec = read_run(run)
    material = None
    if config.centre_output:
        cls = enhancement_loss_class(config.loss.name)
        material = read_material(config, cls.needs, None, Trees(config.data.cache))
    return enhancer_of(checkpoint, config, spec, material), checkpoint.name


def read_run(run: str | Path) -> tuple[EnhancementConfig, NetSpec]:
    """Configuration and network of a training.

    Raises:
        InputError: It is no folder of a training.
    """
    about = read_about(run)
    try:
        return from_dict(EnhancementConfig, about["config"]), from_dict(NetSpec, about["net"])
    except (ConfigError, KeyError) as error:
        raise InputError(f"{Path(run) / ABOUT}: damaged ({error}); train again") from error


def analyse_run(run: str | Path, *, progress: Progress | None = None) -> Analysis:
    """Scores of a training's test lists, and distances between utterances of their speakers, before and after.

    The pairs are drawn as those of a distribution list, from the tree of the first test list, and of its speakers only;
    without a test list, from the tree that is learned from. The result is kept in the folder of the training, too.

    Args:
        run: The folder of a training, which may still be running; then its last checkpoint is taken.
        progress: Called with what is being done, steps done and steps in all.

    Raises:
        InputError: It is no such folder, or has no checkpoint yet.
        KithError: A list or tree of it can no longer be read.
    """
    run = Path(run)
    config, _ = read_run(run)
    enhancer, checkpoint = load_enhancer(run)
    trees = Trees(config.data.cache, progress)
    tests = read_tests(config.data, trees)
    scores = []
    for number, test in enumerate(tests.values()):
        if progress is not None:
            progress(f"scoring {test.name}", number, len(tests))
        scores.append(_scores(test, enhancer.transform))
    if tests:
        first = next(iter(tests.values()))
        tree, embeddings = first.trials.tree, first.embeddings
        heard: npt.NDArray[np.int64] | None = np.unique(tree.speaker_of[first.trials.pairs])
    else:
        assert config.data.embeddings is not None
        (tree, embeddings), heard = trees.open(config.data.embeddings), None
    sigma = float(config.loss.options.get("sigma", 1.0))
    analysis = Analysis(
        enhancer=enhancer.fingerprint,
        checkpoint=checkpoint,
        scores=tuple(scores),
        distances=_distances(tree, heard, embeddings, enhancer.transform, sigma, config.train.seed),
    )
    write_analysis(run, analysis)
    return analysis


def _scores(test: Test, transform: Transform) -> TrialScores:
    before, after = (pair_cosines(test.trials.pairs, test.embeddings, each) for each in (None, transform))
    return compare_scores(test.name, test.trials.same_speaker, before, after)


def _distances(
    tree: EmbeddingTree,
    heard: npt.NDArray[np.int64] | None,
    embeddings: MappedEmbeddings,
    transform: Transform,
    sigma: float,
    seed: int,
) -> tuple[PairDistances, ...]:
    """By each measure; empty where a tree has no pairs of both kinds."""
    try:
        found = make_distribution(tree, seed)
    except NotEnoughDataError:
        return ()
    rows = _chosen(found, heard, seed)
    if not len(rows):
        return ()
    pairs, speakers, same = found.pairs[rows], found.speakers[rows], found.same_recording[rows]
    before, after = (distances(pairs, embeddings, each) for each in (None, transform))
    return tuple(
        compare_distances(measure, speakers, same, before[measure], after[measure], sigma)
        for measure in before
    )


def _chosen(found: DistributionList, heard: npt.NDArray[np.int64] | None, seed: int) -> npt.NDArray[np.int64]:
    """Pairs of the speakers that are tested, of so many speakers as `MOST_PAIRS` allows."""
    rng = np.random.default_rng(seed)
    there = np.unique(found.speakers) if heard is None else np.intersect1d(found.speakers, heard)
    counts = np.bincount(found.speakers, minlength=len(found.names))
    order = rng.permutation(there)
    most = max(1, int(np.searchsorted(np.cumsum(counts[order]), MOST_PAIRS, side="right")))
    return np.flatnonzero(np.isin(found.speakers, order[:most]))
