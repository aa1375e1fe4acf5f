"""Training of enhancement networks on lists, and the enhancer that comes of it.

Speaker Embedding Enhancement Model, 2022: from the embedding of one utterance a network learns what the embedding of
many would be. It sees embeddings only, which stay on the disk: a million utterances need little more memory than a
thousand.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from openkith.config import to_dict
from openkith.enhancement.curves import ABOUT
from openkith.enhancement.data import (
    Entries,
    FloatArray,
    Transform,
    batch_factory,
    collate,
    mean_embedding,
    pair_cosines,
)
from openkith.enhancement.enhancer import NetSpec
from openkith.enhancement.learned import (
    Learned,
    enhancer_of,
    learn_from,
    mean_output,
    net_spec,
    start_learned,
    transform_of,
)
from openkith.enhancement.material import Material, Test, Trees, read_material, read_tests
from openkith.enhancement.settings import EnhancementConfig
from openkith.errors import ConfigError, InputError
from openkith.losses import enhancement_loss_class
from openkith.metrics import eer
from openkith.scoring.base import normalise
from openkith.training import (
    Trained,
    is_first_process,
    list_checkpoints,
    train,
)
from openkith.training.logs import Progress

__all__ = ["ENHANCER", "error_rate", "train_enhancer"]

KIND = "enhancement"
ENHANCER = "enhancer"
"""In the folder of a training that has ended: the enhancer."""


def train_enhancer(
    config: EnhancementConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Learn an enhancer.

    The folder gets checkpoints, ``steps.csv``, ``epochs.csv``, ``about.json``, and at the end ``enhancer``.

    Args:
        config: What from, and how.
        folder: Where it is written.
        resume: Go on from the folder's last checkpoint.
        progress: See `openkith.training.train`.

    Raises:
        ConfigError: A path is not given, or an option does not fit.
        KithError: Something cannot be read or does not belong together; or as `openkith.training.train`.
    """
    folder = Path(folder)
    if list_checkpoints(folder) and not resume:
        raise ConfigError(f"{folder}: has checkpoints of a training; resume it, or give another folder")
    if config.final == "best" and config.data.test_list is None:
        raise ConfigError("final is best, and nothing is measured; give data.test_list, or final: last")
    cls = enhancement_loss_class(config.loss.name)
    needs_targets = "targets" in cls.uses or "others" in cls.uses
    trees = Trees(config.data.cache, progress)
    material = read_material(config, cls.needs, cls.target_type if needs_targets else None, trees)
    tests = read_tests(config.data, trees)
    input_mean, targets = _centred(config, material)
    model = start_learned(config, material, input_mean)
    spec = net_spec(config, material)
    if is_first_process():
        _begin(folder, config, spec, material, tests)
    trained = train(
        model,
        learn_from,
        Entries(material.entries, material.embeddings, targets),
        config.train,
        folder,
        collate=collate,
        batches=batch_factory(material.entries, config.train, config.per_speaker or cls.together),
        evaluate=_Evaluate(tests, material, config.centre_output) if tests else None,
        progress=progress,
        resume=resume,
        about={"kind": KIND, "net": spec.as_dict(), "encoder": material.encoder},
    )
    if is_first_process():
        chosen = trained.best if config.final == "best" and trained.best else trained.checkpoint
        enhancer_of(chosen, config, spec, material).save(folder / ENHANCER)
    return trained


class _Evaluate:
    """Equal error rates on the test lists."""

    def __init__(self, tests: Mapping[str, Test], material: Material, centre_output: bool) -> None:
        self._tests, self._material, self._centre_output = tests, material, centre_output

    def __call__(self, model: Learned) -> dict[str, float]:
        transform = transform_of(model)
        if self._centre_output:
            transform = transform_of(model, mean_output(self._material, transform))
        return {measure: error_rate(test, transform) for measure, test in self._tests.items()}


def error_rate(test: Test, transform: Transform | None) -> float:
    """The equal error rate of cosine on a test list, of embeddings that go through a transform, or as they are."""
    scores, same = pair_cosines(test.trials.pairs, test.embeddings, transform), test.trials.same_speaker
    return eer(scores[same], scores[~same])


def _centred(config: EnhancementConfig, material: Material) -> tuple[FloatArray | None, FloatArray | None]:
    """What is taken off embeddings, and the targets."""
    if not config.centre:
        return None, material.targets
    mean = mean_embedding(material.files, material.embeddings)
    if material.targets is None:
        return mean, None
    return mean, normalise(material.targets - material.targets.mean(axis=0))


def _begin(
    folder: Path, config: EnhancementConfig, spec: NetSpec, material: Material, tests: Mapping[str, Test]
) -> None:
    """Write what is trained on what, and how good embeddings are without it."""
    about = {
        "kind": KIND,
        "net": spec.as_dict(),
        "loss": config.loss.name,
        "epochs": config.train.epochs,
        "speakers": len(material.entries.names),
        "entries": len(material.entries),
        "utterances": len(material.files),
        "lists": {measure: test.name for measure, test in tests.items()},
        "raw": {measure: error_rate(test, None) for measure, test in tests.items()},
        "config": to_dict(config),
    }
    path = folder / ABOUT
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / ENHANCER, ignore_errors=True)  # of fewer epochs, where a training goes on
        try:
            temporary.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
