"""Commands of the papers' protocols: manifests out of corpora and trial lists, and ready embeddings measured."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from openkith.cli.decisions import SeedOption
from openkith.cli.options import JsonOption, given
from openkith.cli.output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from openkith.data import Manifest

__all__ = ["COMMAND_CLASSES", "ManyTargets", "embeddings", "household", "voxceleb"]

SHOWN = ("eer", "detection_eer", "oscr", "accuracy", "min_dcf", "act_dcf")
SHORT = ("EER", "k/u EER", "OSCR", "acc.", "minDCF", "actDCF")

EnrolOption = Annotated[
    int | None,
    typer.Option("--enrol", metavar="N", help="Clips that each enrols with. Default: 3.", show_default=False),
]


class ManyTargets(TyperCommand):
    """A command whose ``--targets`` takes all numbers that follow it: ``--targets 5 10 15 20``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say the option again before each further number, as the parser wants it."""
        return super().parse_args(ctx, repeated(args, "--targets"))


def repeated(args: list[str], option: str) -> list[str]:
    """The words of a command line, with ``option`` before each of the whole numbers that follow it."""
    words: list[str] = []
    following = False
    for i, word in enumerate(args):
        if word == "--":
            return words + args[i:]
        if following and word.isdecimal() and words[-1] != option:
            words.append(option)
        following = word == option or (following and word.isdecimal())
        words.append(word)
    return words


COMMAND_CLASSES: dict[str, type[TyperCommand]] = {"household": ManyTargets}
"""Commands that parse their words in their own way."""


def household(
    corpus: Annotated[
        Path,
        typer.Argument(metavar="CORPUS", help="A folder with a folder per speaker.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT", help="Folder for the manifests. Default: <CORPUS>-household.", show_default=False
        ),
    ] = None,
    targets: Annotated[
        list[int] | None,
        typer.Option(
            "--targets",
            metavar="N...",
            help="Sizes of the households. Default: 5 10 15 20.",
            show_default=False,
        ),
    ] = None,
    unknown: Annotated[
        int | None,
        typer.Option(
            "--unknown",
            metavar="N",
            help="Speakers only tested, in each fold. Default: 10.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", metavar="N", help="Default: 3.", show_default=False)
    ] = None,
    enrol: EnrolOption = None,
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives",
            metavar="N",
            help="Speakers whom a head may learn from. Default: all who are left.",
            show_default=False,
        ),
    ] = None,
    test_clips: Annotated[
        int | None,
        typer.Option(
            "--test-clips", metavar="N", help="At most so many of each speaker.", show_default=False
        ),
    ] = None,
    negative_clips: Annotated[
        int | None,
        typer.Option(
            "--negative-clips", metavar="N", help="At most so many of each negative.", show_default=False
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            "--style",
            metavar="NAME",
            help="Only clips of one keyword, emotion or dialect.",
            show_default=False,
        ),
    ] = None,
    tree: Annotated[
        str | None,
        typer.Option(
            "--tree",
            metavar="NAME",
            help="The corpus's form. Default: told by its files.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build households out of a corpus: a manifest for each size and fold, for kith evaluate."""
    from openkith.data.corpus import load_corpus
    from openkith.data.protocols import Household, household_manifests, write_manifests

    options = Household(
        **given(
            targets=tuple(targets) if targets else None,
            unknown=unknown,
            folds=folds,
            enrol=enrol,
            negatives=negatives,
            test_clips=test_clips,
            negative_clips=negative_clips,
            style=style,
            seed=seed,
        )
    )
    with progress("listing the corpus", quiet=as_json) as step:
        loaded = load_corpus(corpus, tree)
        step("drawing households", 0, 0)
        manifests = household_manifests(loaded, options)
        folder = Path(f"{corpus.resolve().name}-household") if out is None else out
        paths = write_manifests(folder, manifests)
    if as_json:
        print_json(
            {
                "corpus": loaded.source,
                "tree": loaded.tree,
                "options": options,
                "manifests": [_counts(path, each) for path, each in zip(paths, manifests, strict=True)],
            }
        )
        return
    say(f"{loaded.source}: {len(loaded.utterances)} clips, read as {loaded.tree}")
    _print_manifests(paths, manifests)


def voxceleb(
    trials: Annotated[
        Path,
        typer.Argument(
            metavar="TRIALS.txt", help="Lines of 'label enrol_path test_path'.", show_default=False
        ),
    ],
    root: Annotated[
        Path,
        typer.Argument(
            metavar="WAVROOT", help="The folder that its paths are relative to.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the manifest.", show_default=False)],
    known: Annotated[
        int | None,
        typer.Option(
            "--known", metavar="N", help="Speakers of the list who enrol. Default: half.", show_default=False
        ),
    ] = None,
    unknown: Annotated[
        int | None,
        typer.Option(
            "--unknown",
            metavar="M",
            help="Speakers of the list only tested. Default: the others.",
            show_default=False,
        ),
    ] = None,
    enrol: EnrolOption = None,
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives",
            metavar="N",
            help="Speakers of WAVROOT outside the list, whom a head may learn from. Default: none.",
            show_default=False,
        ),
    ] = None,
    negative_clips: Annotated[
        int | None,
        typer.Option(
            "--negative-clips", metavar="N", help="At most so many of each. Default: 10.", show_default=False
        ),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an open set out of a VoxCeleb trial list, no video both enrolling and testing."""
    from openkith.data.protocols import OpenSetList, open_set_manifest, write_manifests

    options = OpenSetList(
        **given(
            known=known,
            unknown=unknown,
            enrol=enrol,
            negatives=negatives,
            negative_clips=negative_clips,
            seed=seed,
        )
    )
    with progress("reading the list", quiet=as_json):
        manifest = open_set_manifest(trials, root, options)
        [path] = write_manifests(out, [manifest])
    if as_json:
        print_json({"trials": trials, "options": options, "manifests": [_counts(path, manifest)]})
    else:
        _print_manifests((path,), (manifest,))


def embeddings(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="With emb_train, emb_test and perhaps emb_train_unknown_control.",
            show_default=False,
        ),
    ],
    known: Annotated[
        int | None,
        typer.Option(
            "--known",
            metavar="N",
            help="Known people are the ids 0 to N-1. Default: as many as emb_train has.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="May be given several times. Default: cosine and released.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure methods on ready embeddings, with and without unknown samples."""
    from openkith.embedding_layout import evaluate_layout, read_layout
    from openkith.report.tables import MEASURES

    with progress("reading embeddings", quiet=as_json) as step:
        layout = read_layout(folder, known)
        results = evaluate_layout(
            layout, **given(methods=tuple(method) if method else None, seed=seed), progress=step
        )
    if as_json:
        print_json(
            {
                "folder": folder,
                "known": layout.n_known,
                "control_speakers": layout.control.n_speakers if layout.control else 0,
                "results": [result.to_dict() for result in results],
            }
        )
        return
    metrics = results[0].metrics
    say(f"{metrics.n_speakers} people; {metrics.n_known} known and {metrics.n_unknown} unknown probes")
    measures = {measure.field: measure for measure in MEASURES}
    print_table(
        {"method": "left", "unknown samples": "left", **dict.fromkeys(SHORT, "right"), "tune": "right"},
        [
            [
                result.method,
                "yes" if result.unknown_samples else "no",
                *(measures[name].show(getattr(result.metrics, name)) for name in SHOWN),
                f"{result.tune_seconds:.1f} s",
            ]
            for result in results
        ],
    )
    say("EER over all trials; k/u EER: known against unknown; costs at a prior of 10 %.", "dim")


def _counts(path: Path, manifest: Manifest) -> dict[str, Any]:
    """What a manifest holds."""
    known = set(manifest.speakers)
    return {
        "path": path,
        "targets": len(known),
        "unknown": len(manifest.unknown_speakers),
        "negatives": len({row.speaker for row in manifest.negative}),
        "enroll_clips": len(manifest.enroll),
        "known_tests": sum(row.speaker in known for row in manifest.test),
        "unknown_tests": sum(row.speaker not in known for row in manifest.test),
        "negative_clips": len(manifest.negative),
    }


def _print_manifests(paths: tuple[Path, ...], manifests: tuple[Manifest, ...]) -> None:
    rows = [_counts(path, manifest) for path, manifest in zip(paths, manifests, strict=True)]
    headers = (
        "manifest",
        "targets",
        "unknown",
        "negatives",
        "enrol",
        "known tests",
        "unknown tests",
        "negative clips",
    )
    print_table(
        {header: "right" if i else "left" for i, header in enumerate(headers)},
        [list(map(str, chain([row.pop("path")], row.values()))) for row in rows],
    )
