"""What each part of the fused head is worth on real speech: each removed in turn.

    python benchmarks/ablation.py ../shared/speech [--manifests home-noisy digits-0 ...]

EER / known-vs-unknown EER in percent, one seed, of scores without calibration; test rows are only scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from openkith.data import read_manifest
from openkith.encoders import load_encoder
from openkith.encoders.clips.clip_cache import usual_cache
from openkith.evaluation import ClipStore
from openkith.metrics import open_set_report
from openkith.openset.model import METHODS
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring import EmbeddingSet, ViewFusion, find_cohort

MANIFESTS = ("home-short", "home-noisy", "crowd-40", "digits-0", "digits-1", "digits-2")


def without(name: str, in_space: bool, n_people: int) -> ViewFusion:
    """The fusion less the back ends of one name."""
    fusion = METHODS["fusion"](n_people, 0, None)
    assert isinstance(fusion, ViewFusion)
    fusion.parts = tuple(
        part for part in fusion.parts if (part.make().name, part.in_space) != (name, in_space)
    )
    return fusion


def variants(
    enrolment: EmbeddingSet, cohort: EmbeddingSet, probes: np.ndarray, n_people: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores (p, C) of each."""

    def all_of_it() -> ViewFusion:
        return without("", False, n_people)

    yield "all of it", all_of_it().fit(enrolment, cohort).score(probes)
    for label, name, in_space in (
        ("without adapters", "speaker-rpl+", True),
        ("without PLDA", "plda", True),
        ("without whitened AS-norm", "as-norm", True),
        ("without plain AS-norm", "as-norm", False),
    ):
        yield label, without(name, in_space, n_people).fit(enrolment, cohort).score(probes)
    for label, view in (("plain view alone", 0), ("averaged view alone", 1)):
        yield label, all_of_it().fit(enrolment.view(view), cohort.view(view)).score(probes[:, view])
    for index, left_out in enumerate(("levelled", "denoised", "dereverberated"), start=2):
        kept = [view for view in range(probes.shape[1]) if view != index]
        fewer = [replace(each, embeddings=each.embeddings[:, kept]) for each in (enrolment, cohort)]
        yield f"without the {left_out} view", all_of_it().fit(*fewer).score(probes[:, kept])
    yield "without copies of enrolment", all_of_it().fit(enrolment.originals(), cohort).score(probes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--manifests", nargs="+", default=MANIFESTS)
    options = parser.parse_args()
    encoder = load_encoder(threads=1)
    store, cohort = ClipStore(encoder, usual_cache()), find_cohort(encoder.fingerprint)
    assert cohort is not None
    for name in options.manifests:
        manifest = read_manifest(options.folder / f"{name}.tsv")
        names = manifest.speakers
        enrolled = store.get(manifest.enroll, copies=True)
        enrolment, _ = embedding_set(
            [clip.arrays() for clip in enrolled], [names.index(row.speaker) for row in manifest.enroll]
        )
        probes = np.stack([clip.views for clip in store.get(manifest.test, copies=False)])
        truth = np.array([names.index(row.speaker) if row.speaker in names else -1 for row in manifest.test])
        for label, scores in variants(enrolment, cohort, probes, len(names)):
            report = open_set_report(scores.astype(np.float64), truth)
            print(
                f"{name:11} {label:29} {100 * report.eer:5.2f} / {100 * report.detection_eer:5.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
