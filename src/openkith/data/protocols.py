"""The papers' protocols as manifests: households out of a corpus, an open set out of a VoxCeleb trial list.

`household_manifests` follows Chen et al., SLT 2024 (arXiv 2409.15742) and IEEE TASLP 2025: 5, 10, 15, 20 target
speakers with a few clips each, ten or more unknown ones, three folds. Which speaker and which clip has which role the
papers leave open; here it follows from the seed:

- The speakers, sorted by name, are shuffled into a ring. Fold f (of F) begins at place ``f * (S // F)`` of the S
  speakers. From there come its unknown speakers, so that no two folds share one, then its targets: the first of those
  who have clips enough. A household of 5 is the first half of the household of 10 of the same fold.
- The others are negatives, whom a tuned head may learn from, taken from the far end of the ring: with a number of
  them given, households of every size in a fold have the same ones.
- Each speaker's clips are shuffled by the seed and the name. A target enrols with one clip of each of as many sessions
  as clips are asked for (or with several, where there are fewer sessions), and is tested on all clips of the other
  sessions: a VoxCeleb video, or an utterance that several microphones caught, is never on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from openkith.data.corpus import Corpus, Utterance, load_corpus, read_corpus, shuffle_clips
from openkith.data.manifest import UNKNOWN, Manifest, Row, write_manifest
from openkith.data.trees import TREES, place_in
from openkith.data.trials import Trial, read_trials
from openkith.errors import ConfigError, ManifestError, NotEnoughDataError

__all__ = ["Household", "OpenSetList", "household_manifests", "open_set_manifest", "write_manifests"]

Clips = dict[str, list[Utterance]]


@dataclass(frozen=True)
class Household:
    """How households are drawn from a corpus.

    Attributes:
        targets: Sizes of the households: how many speakers enrol.
        unknown: Speakers of each fold who are only tested.
        folds: How often, each time with other unknown speakers.
        enrol: Clips that each target enrols with.
        negatives: Speakers whom a head may learn from; None: all who are left.
        test_clips: At most so many test clips of each speaker; None: all.
        negative_clips: At most so many clips of each negative; None: all.
        style: Only clips of this style (keyword, emotion, dialect); None: what the tree's protocol uses, see
            `openkith.data.trees`.
        seed: Of the ring and of the order of clips.

    Raises:
        ConfigError: A number out of range, or a size of household twice.
    """

    targets: tuple[int, ...] = (5, 10, 15, 20)
    unknown: int = 10
    folds: int = 3
    enrol: int = 3
    negatives: int | None = None
    test_clips: int | None = None
    negative_clips: int | None = None
    style: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if not self.targets:
            raise ConfigError("targets is empty; give one size of household or more")
        if len(set(self.targets)) < len(self.targets):
            raise ConfigError(f"targets has a size twice: {' '.join(map(str, self.targets))}; give each once")
        least = {"unknown": 1, "folds": 1, "enrol": 1, "negatives": 0, "test_clips": 1, "negative_clips": 1}
        _check_least("targets", min(self.targets), 1)
        for name, limit in {**least, "seed": 0}.items():
            _check_least(name, getattr(self, name), limit)


@dataclass(frozen=True)
class OpenSetList:
    """How a trial list becomes an open set.

    Attributes:
        known: Speakers of the list who enrol; None: half of them, the odd one too.
        unknown: Speakers of the list who are only tested; None: all others.
        enrol: Clips that each known speaker enrols with, one of each video as far as there are videos.
        negatives: Speakers of the audio folder who are not in the list, whom a head may learn from.
        negative_clips: At most so many clips of each of them.
        seed: Of who is known and which clips enrol.

    Raises:
        ConfigError: A number out of range.
    """

    known: int | None = None
    unknown: int | None = None
    enrol: int = 3
    negatives: int = 0
    negative_clips: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"known": 1, "unknown": 1, "enrol": 1, "negatives": 0, "negative_clips": 1, "seed": 0}
        for name, limit in least.items():
            _check_least(name, getattr(self, name), limit)


def household_manifests(
    corpus: str | Path | Corpus, options: Household | None = None
) -> tuple[Manifest, ...]:
    """A manifest for each fold and size of household, named ``<corpus>-<targets>-fold<n>``.

    Args:
        corpus: A folder that `openkith.data.corpus.load_corpus` reads, or what it gave.
        options: How to draw; default: `Household`'s defaults.

    Raises:
        ManifestError: The corpus is malformed.
        NotEnoughDataError: Too few speakers or clips; the message says how many there are and are needed.
    """
    options = options or Household()
    corpus = corpus if isinstance(corpus, Corpus) else load_corpus(corpus)
    clips, enrol_styles = _styled(corpus, options.style)
    source, names = corpus.source, sorted(clips)
    needed = max(options.folds * options.unknown, max(options.targets) + options.unknown)
    if len(names) < needed:
        raise NotEnoughDataError(
            f"{source}: {len(names)} speakers, and {needed} are needed: {options.folds} folds with "
            f"{options.unknown} unknown speakers each, never the same, and in each fold up to "
            f"{max(options.targets)} targets beside them; give fewer unknown, folds or targets"
        )
    parted = {
        name: _part(shuffle_clips(clips[name], options.seed), options.enrol, enrol_styles) for name in names
    }
    able = {name for name in names if parted[name] is not None and name != UNKNOWN}
    ring = _shuffled(names, options.seed)
    title = source.resolve().name
    return tuple(
        Manifest(f"{title}-{size:02d}-fold{fold + 1}", tuple(rows), source)
        for size in options.targets
        for fold in range(options.folds)
        for rows in [_household(source, clips, parted, able, ring, size, fold, options)]
    )


def open_set_manifest(trials: str | Path, root: str | Path, options: OpenSetList | None = None) -> Manifest:
    """An open set out of a VoxCeleb trial list: some of its speakers enrol, the others are unknown.

    Each file of the list takes part once, but for what is left of the videos that a known speaker enrols with: no video
    is on both sides of enrolment and test.

    Args:
        trials: The list, see `openkith.data.trials`; each path has a folder ``idNNNNN``, which is the speaker, and
            in it a folder for the video.
        root: The folder that its paths are relative to.
        options: How to draw; default: `OpenSetList`'s defaults.

    Raises:
        ManifestError: A line of the list is wrong, its label contradicts its paths, or a file is not there.
        NotEnoughDataError: Too few speakers or videos.
    """
    options = options or OpenSetList()
    source, root = Path(trials), Path(root)
    if not root.is_dir():
        raise ManifestError(
            f"{root}: no such folder; give the one that the paths of {source} are relative to"
        )
    clips = _listed(read_trials(source), source, root)
    names = sorted(clips)
    parted = {name: _part(shuffle_clips(clips[name], options.seed), options.enrol) for name in names}
    known_wanted = (len(names) + 1) // 2 if options.known is None else options.known
    shuffled = _shuffled(names, options.seed)
    known = [name for name in shuffled if parted[name] is not None][:known_wanted]
    others = [name for name in shuffled if name not in known]
    unknown_wanted = max(1, len(names) - known_wanted) if options.unknown is None else options.unknown
    if len(known) < known_wanted or len(others) < unknown_wanted:
        able = sum(part is not None for part in parted.values())
        raise NotEnoughDataError(
            f"{source}: {len(names)} speakers, {able} of them with clips enough to enrol {options.enrol} and to test "
            f"another video; {known_wanted} known and {unknown_wanted} unknown are needed; ask for fewer"
        )
    unknown = others[:unknown_wanted]
    rows = [row for name in sorted(known) for row in _target_rows(parted[name], None)]
    rows += [row for name in sorted(unknown) for row in _rows(clips[name], "test")]
    if options.negatives:
        rows += _outsiders(root, set(names), options)
    return Manifest(f"{source.stem}-open-set", tuple(rows), source)


def write_manifests(folder: str | Path, manifests: Iterable[Manifest]) -> tuple[Path, ...]:
    """Write each manifest as ``<name>.tsv`` into a folder, which is made where there is none.

    Raises:
        ManifestError: The folder or a file cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(
            f"{folder}: cannot make this folder: {error.strerror or error}; choose another"
        ) from None
    paths = []
    for manifest in manifests:
        path = folder / f"{manifest.name}.tsv"
        write_manifest(path, manifest.rows)
        paths.append(path)
    return tuple(paths)


def _styled(corpus: Corpus, style: str | None) -> tuple[Clips, Set[str]]:
    """The clips that take part, by speaker, and the styles that enrol (none: any)."""
    tree = TREES.get(corpus.tree)
    enrol_styles: Set[str] = frozenset()
    if style is None and tree is not None:
        enrol_styles = tree.enrol_styles
        style = tree.style
    clips: Clips = {}
    for utterance in corpus.utterances:
        if style is None or utterance.style == style.lower():
            clips.setdefault(utterance.speaker, []).append(utterance)
    if not clips:
        styles = sorted({utterance.style for utterance in corpus.utterances} - {""})
        raise NotEnoughDataError(
            f"{corpus.source}: no clip has the style {style!r}; there are: {', '.join(styles) or 'none'}"
        )
    return clips, enrol_styles


def _household(
    source: Path,
    clips: Clips,
    parted: dict[str, tuple[list[Utterance], list[Utterance]] | None],
    able: Set[str],
    ring: list[str],
    size: int,
    fold: int,
    options: Household,
) -> list[Row]:
    """The rows of one manifest: enrolment, tests, negatives, each sorted by speaker."""
    first = fold * (len(ring) // options.folds)
    turned = ring[first:] + ring[:first]
    unknown, rest = turned[: options.unknown], turned[options.unknown :]
    targets = [name for name in rest if name in able][:size]
    if len(targets) < size:
        raise NotEnoughDataError(
            f"{source}: fold {fold + 1} has {len(targets)} speakers beside its unknown ones with clips to enrol "
            f"{options.enrol} and to test another, and {size} are needed; give fewer targets, or a smaller --enrol"
        )
    left = [name for name in reversed(rest) if name not in set(targets)]
    if options.negatives is not None and len(left) < options.negatives:
        raise NotEnoughDataError(
            f"{source}: {len(ring)} speakers; {size} targets and {options.unknown} unknown leave {len(left)}, and "
            f"{options.negatives} negatives are needed; ask for fewer of either"
        )
    rows = [row for name in sorted(targets) for row in _target_rows(parted[name], options.test_clips)]
    for names, role, limit in (
        (unknown, "test", options.test_clips),
        (left[: options.negatives], "negative", options.negative_clips),
    ):
        rows += [
            row
            for name in sorted(names)
            for row in _rows(shuffle_clips(clips[name], options.seed)[:limit], role)
        ]
    return rows


def _part(
    clips: Sequence[Utterance], n: int, styles: Set[str] = frozenset()
) -> tuple[list[Utterance], list[Utterance]] | None:
    """One speaker's clips in two, n that enrol and those of other sessions; None where they are too few.

    Args:
        clips: In the order in which they are taken.
        n: Clips to enrol.
        styles: That enrol; none: any.
    """
    sessions: dict[str, list[Utterance]] = {}
    for index, clip in enumerate(clips):
        sessions.setdefault(clip.session or f"\0{index}", []).append(clip)
    usable = {
        session: [clip for clip in own if not styles or clip.style in styles]
        for session, own in sessions.items()
    }
    chosen = [session for session, own in usable.items() if own][:n]
    if len(chosen) == len(sessions):  # one must be left to be tested: the poorest
        chosen.remove(min(chosen, key=lambda session: len(usable[session])))
    rounds = max((len(usable[session]) for session in chosen), default=0)
    enrolled = [
        usable[session][turn] for turn in range(rounds) for session in chosen if turn < len(usable[session])
    ][:n]
    if len(enrolled) < n:
        return None
    return enrolled, [clip for session, own in sessions.items() if session not in chosen for clip in own]


def _target_rows(parted: tuple[list[Utterance], list[Utterance]] | None, limit: int | None) -> Iterator[Row]:
    if parted is not None:
        yield from _rows(parted[0], "enroll")
        yield from _rows(parted[1][:limit], "test")


def _rows(clips: Iterable[Utterance], role: str) -> Iterator[Row]:
    for clip in clips:
        try:
            yield Row(clip.path, clip.speaker, role, clip.start, clip.end)
        except ManifestError as error:
            raise ManifestError(f"{clip.path}: {error}") from None


def _listed(trials: Sequence[Trial], source: Path, root: Path) -> Clips:
    """The files of a list by speaker, each once."""
    tree = TREES["voxceleb"]
    found: dict[PurePath, Utterance] = {}
    for trial in trials:
        where = f"{source}:{trial.line}"
        pair = PurePath(trial.enrol), PurePath(trial.test)
        for path in pair:
            if path in found:
                continue
            place = place_in(tree, path, f"{where}: {path}")
            file = root / path
            if not os.path.isfile(file):  # noqa: PTH113  (Path.is_file() raises for a name too long)
                raise ManifestError(f"{where}: no file {file}; paths are relative to {root}, correct either")
            found[path] = Utterance(place.speaker, file, session=place.session)
        first, second = (found[path].speaker for path in pair)
        if (first == second) != trial.target:
            raise ManifestError(
                f"{where}: label {int(trial.target)}, and the folders say {first} and {second}; correct the line"
            )
    clips: Clips = {}
    for utterance in found.values():
        clips.setdefault(utterance.speaker, []).append(utterance)
    return clips


def _outsiders(root: Path, listed: Set[str], options: OpenSetList) -> list[Row]:
    """Negative rows of speakers of the audio folder who are not in the list."""
    clips: Clips = {}
    for utterance in read_corpus(root, "voxceleb"):
        if utterance.speaker not in listed:
            clips.setdefault(utterance.speaker, []).append(utterance)
    if len(clips) < options.negatives:
        raise NotEnoughDataError(
            f"{root}: {len(clips)} speakers who are not in the list, and {options.negatives} negatives are needed; "
            "ask for fewer, or add VoxCeleb's development part"
        )
    return [
        row
        for name in sorted(_shuffled(sorted(clips), options.seed)[: options.negatives])
        for row in _rows(shuffle_clips(clips[name], options.seed)[: options.negative_clips], "negative")
    ]


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    return [names[index] for index in np.random.default_rng(seed).permutation(len(names))]


def _check_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ConfigError(f"{name} is {value}; give {least} or more")
