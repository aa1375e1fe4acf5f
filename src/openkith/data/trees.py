"""Folder trees of published corpora: what a file's place in the tree says about who speaks in it.

A tree gives each file a speaker, and where the tree tells, a session (clips of one session share more than the
speaker: a video, or one utterance caught by several microphones) and a style (keyword, emotion, dialect). Trees are
told by their files' names alone, none is opened. `TREES` is the registry, asked in its order; the last fits any
folder with a folder per speaker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import NamedTuple

from openkith.errors import ConfigError, ManifestError

__all__ = ["TREES", "Place", "Tree", "detect", "get_tree"]


class Place(NamedTuple):
    """What a file's place in its tree says.

    Attributes:
        speaker: Who speaks.
        session: Clips of one speaker and one session never stand on both sides of enrolment and test; empty where
            the tree does not tell, and then each clip is a session of its own.
        style: Keyword, emotion or dialect, in small letters; empty where the tree does not tell.
    """

    speaker: str
    session: str = ""
    style: str = ""


@dataclass(frozen=True)
class Tree:
    """A published folder tree.

    Attributes:
        name: Key in `TREES`.
        form: What its paths look like, for people.
        place: From a path relative to the corpus to its place; None where it does not fit.
        enrol_styles: Styles that people enrol with, where the corpus is made for testing the others; empty: any.
        style: The style that protocols use of it unless told otherwise; None: all.
        agrees: A look at all places together, where one alone proves little.
    """

    name: str
    form: str
    place: Callable[[PurePath], Place | None]
    enrol_styles: frozenset[str] = frozenset()
    style: str | None = None
    agrees: Callable[[Sequence[Place]], bool] = lambda _: True

    def fits(self, paths: Sequence[PurePath]) -> bool:
        """Whether every one of these relative paths is in this tree."""
        places = []
        for path in paths:  # the first that does not fit ends it: corpora have a million files
            place = self.place(path)
            if place is None:
                return False
            places.append(place)
        return bool(places) and self.agrees(places)


_VOXCELEB_ID = re.compile(r"id\d{5}", re.ASCII)
_KEYWORDS = frozenset({"hey_android", "hey_snapdragon", "hi_galaxy", "hi_lumina"})
_CAPTURE = re.compile(r"(?P<said>.+?)_?device\d+_?distance\d+_?(?P<dialect>dialect\d+)?.*", re.ASCII | re.I)
_EMOTIONS = {name: name for name in ("neutral", "angry", "happy", "sad", "surprise")} | {
    "surprised": "surprise"
}
_ESD_CLIP = re.compile(r"\d{4}_(?P<number>\d{6})", re.ASCII)
_ESD_SENTENCES = 350
_HIMIA_CLIP = re.compile(r"(?P<speaker>[A-Z]{1,2}\d{3,5})(_[^_]+)*_(?P<said>[^_]+)", re.ASCII)


def _voxceleb(path: PurePath) -> Place | None:
    """``wav/id10001/<video>/00001.wav``; the video is the session."""
    parts = path.parent.parts
    for depth, part in enumerate(parts):
        if _VOXCELEB_ID.fullmatch(part):
            return Place(part, "/".join(parts[depth + 1 :]))
    return None


def _qualcomm(path: PurePath) -> Place | None:
    """``hey_snapdragon/<speaker>/x.wav``; the keyword is the style."""
    parts = path.parent.parts
    for keyword, speaker in pairwise(parts):
        style = re.sub(r"[\s-]+", "_", keyword.lower())
        if style in _KEYWORDS:
            return Place(speaker, style=style)
    return None


def _three_d_speaker(path: PurePath) -> Place | None:
    """``train/<speaker>/<speaker>_<number>_Device01_Distance00_Dialect00.wav``.

    What stands before the device is what was said: the same words are caught by several devices at once.
    """
    capture = _CAPTURE.fullmatch(path.stem)
    if capture is None or not path.parent.name:
        return None
    return Place(path.parent.name, capture["said"], (capture["dialect"] or "").lower())


def _esd(path: PurePath) -> Place | None:
    """``0011/Angry/[train/]0011_000351.wav``; the emotion is the style.

    The 350 sentences are said again in each emotion, in one order, so that the number gives the sentence, and the
    sentence is the session: nobody is tested on the words of the enrolment.
    """
    parts = path.parent.parts
    for speaker, folder in pairwise(parts):
        style = _EMOTIONS.get(folder.lower())
        if style is not None:
            clip = _ESD_CLIP.fullmatch(path.stem)
            sentence = "" if clip is None else f"sentence {(int(clip['number']) - 1) % _ESD_SENTENCES + 1}"
            return Place(speaker, sentence, style)
    return None


def _hi_mia(path: PurePath) -> Place | None:
    """``<session>/SV0001_<device>_..._<utterance>.wav``: file names begin with the speaker, whatever the folders.

    What stands last is what was said: the same words are caught by several microphones at once.
    """
    clip = _HIMIA_CLIP.fullmatch(path.stem)
    return None if clip is None else Place(clip["speaker"], clip["said"])


def _himia_ids(places: Sequence[Place]) -> bool:
    """Ids as the corpus has them, each on several files: the running number of a recorder is no speaker."""
    counts = Counter(place.speaker for place in places)
    return len(counts) > 1 and min(counts.values()) > 1 and all(name.startswith("SV") for name in counts)


def _folders(path: PurePath) -> Place | None:
    """``<speaker>/x.wav``, at any depth."""
    return Place(path.parts[0]) if len(path.parts) > 1 else None


TREES: dict[str, Tree] = {
    tree.name: tree
    for tree in (
        Tree("voxceleb", "wav/idNNNNN/<video>/*.wav", _voxceleb),
        Tree("qualcomm", "hey_snapdragon/<speaker>/*.wav", _qualcomm, style="hey_snapdragon"),
        Tree("3d-speaker", "train/<speaker>/*_DeviceNN_DistanceNN_DialectNN.wav", _three_d_speaker),
        Tree("esd", "<speaker>/<Emotion>/*.wav", _esd, enrol_styles=frozenset({"neutral"})),
        Tree("hi-mia", "<session>/SVNNNN_*_<utterance>.wav", _hi_mia, agrees=_himia_ids),
        Tree("folders", "<speaker>/*.wav", _folders),
    )
}
FOLDERS = TREES["folders"]


def detect(paths: Sequence[PurePath]) -> Tree:
    """The first tree that all these relative paths fit; a folder per speaker where none does."""
    return next((tree for tree in TREES.values() if tree.fits(paths)), FOLDERS)


def get_tree(name: str) -> Tree:
    """A tree by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in TREES:
        raise ConfigError(f"no tree is named {name!r}; there are: {', '.join(TREES)}")
    return TREES[name]


def place_in(tree: Tree, path: PurePath, shown: object) -> Place:
    """The place of a path in a tree that was chosen.

    Raises:
        ManifestError: It does not fit.
    """
    place = tree.place(path)
    if place is None:
        if tree is FOLDERS:
            raise ManifestError(
                f"{shown}: is in no speaker's folder; move it into a folder with the speaker's name"
            )
        raise ManifestError(
            f"{shown}: does not fit the tree {tree.name} ({tree.form}); choose another --tree"
        )
    return place
