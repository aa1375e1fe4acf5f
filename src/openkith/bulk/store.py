"""The folder that embeddings are written to, shard after shard, so that a kill at any moment loses nothing.

::

    config.json        the encoder and the options; another run into the folder must have the same
    index.tsv          one line per utterance: where its embedding lies, seconds, quality
    errors.tsv         one line per file that could not be embedded, and why
    journal.jsonl      one line per finished shard: how long the tables were then
    embeddings-00000.safetensors ...   (npy-tree: speaker/recording/file.npy; kaldi: xvector.0.ark ... and xvector.scp)
    .parts/            what is embedded and in no shard yet; gone when the run is done

A group of utterances that was embedded is a file in ``.parts``, complete before it has its name. When all groups of a
shard are there, the shard is written; then its lines are appended to the tables; then a line of the journal says that
it is finished; then its parts are removed. Whoever opens the folder again cuts the tables to what the last line of the
journal says, and finds in ``.parts`` what need not be embedded again. Shards are finished in the order of the list, so
that the files are the same however many processes embed, and however often the run was killed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from openkith.bulk.formats import SCP, get_format, put
from openkith.bulk.parts import SUFFIX, Outcome, read_part
from openkith.bulk.tables import read_table
from openkith.errors import ConfigError, EncoderMismatchError, InputError
from openkith.locks import try_lock

__all__ = [
    "CONFIG",
    "ERRORS",
    "INDEX",
    "INDEX_COLUMNS",
    "JOURNAL",
    "EmbeddingStore",
    "StoreConfig",
    "committed_sizes",
    "read_config",
]

CONFIG, INDEX, ERRORS, JOURNAL, PARTS = "config.json", "index.tsv", "errors.tsv", "journal.jsonl", ".parts"
KIND = "embeddings"
VERSION = 1
INDEX_COLUMNS = (
    *("utterance", "path", "speaker", "shard", "row"),
    *("seconds", "speech_seconds", "snr_db", "clipped", "bandwidth_hz"),
)
ERROR_COLUMNS = ("path", "reason", "utterance")
_LOCKED_BYTE = 1 << 40  # far behind the journal's end: on Windows a locked byte cannot be read


@dataclass(frozen=True)
class StoreConfig:
    """What all embeddings of a folder share.

    Attributes:
        encoder: Its name.
        fingerprint: Of the encoder.
        dim: d.
        format: A key of `openkith.bulk.formats.FORMATS`.
        source: What was embedded, absolute.
        crops: Crops of each clip; None: the whole clip.
        crop_seconds: Length of a crop; None without crops.
        vad: What told speech, which alone was embedded; "none": all was.
        quality: Whether noise, clipping and bandwidth were measured.
        precision: Of the encoder's arithmetic.
    """

    encoder: str
    fingerprint: str
    dim: int
    format: str
    source: str
    crops: int | None = None
    crop_seconds: float | None = None
    vad: str = "webrtc"
    quality: bool = True
    precision: str = "float32"


class EmbeddingStore:
    """The folder, open for writing by this process alone.

    Args:
        folder: Made if it is not there.
        config: What it will hold, or holds.

    Attributes:
        done: Ids that are in the index or among the errors.
        n_embedded: How many are in the index.
        n_bad: How many are among the errors.

    Raises:
        EncoderMismatchError: It holds embeddings of another encoder.
        ConfigError: It was begun with other options, or of another source.
        InputError: Something else is in it, another process writes there, or its tables were changed by hand.
    """

    done: set[str]

    def __init__(self, folder: str | Path, config: StoreConfig) -> None:
        self.folder = Path(folder)
        self.config = config
        self._format = get_format(config.format)
        self._tables = (INDEX, ERRORS, SCP) if config.format.startswith("kaldi") else (INDEX, ERRORS)
        self._headers = {
            INDEX: "\t".join(INDEX_COLUMNS) + "\n",
            ERRORS: "\t".join(ERROR_COLUMNS) + "\n",
            SCP: "",
        }
        try:
            self._open()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self.folder}: cannot be written ({reason}); give another --out") from error

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    @property
    def parts(self) -> Path:
        """Where groups are kept until their shard is written."""
        return self.folder / PARTS

    def found_parts(self) -> dict[str, Path]:
        """The utterances whose outcome an earlier run left in a part: id to its file."""
        found: dict[str, Path] = {}
        for path in sorted(self.parts.glob(f"*{SUFFIX}")):
            outcomes = read_part(path)
            if outcomes is None:  # of a disk that went away in the middle
                path.unlink(missing_ok=True)
            else:
                found.update(dict.fromkeys((outcome.utterance for outcome in outcomes), path))
        return found

    def commit(self, outcomes: Sequence[Outcome]) -> None:
        """Write the next shard, and say in the journal that it is finished.

        Args:
            outcomes: Of all its utterances, in the order of the list.
        """
        good = [outcome for outcome in outcomes if outcome.vector is not None]
        bad = [outcome for outcome in outcomes if outcome.vector is None]
        lines = dict.fromkeys(self._tables, "")
        if good:
            vectors = np.stack([outcome.vector for outcome in good if outcome.vector is not None])
            written = self._format.write(self.folder, self._shards, [o.utterance for o in good], vectors)
            for outcome, (shard, row) in zip(good, written.places, strict=True):
                measured = outcome.measures.cells() if outcome.measures else []
                cells = [outcome.utterance, outcome.path, outcome.speaker, shard, str(row), *measured]
                lines[INDEX] += "\t".join(cells) + "\n"
            if written.scp:
                lines[SCP] = written.scp
        lines[ERRORS] = "".join(f"{o.path}\t{o.error}\t{o.utterance}\n" for o in bad)
        for name, text in lines.items():
            self._append(name, text)
        self._shards += bool(good)
        self.n_embedded += len(good)
        self.n_bad += len(bad)
        self.done.update(outcome.utterance for outcome in outcomes)
        self._note()

    def retry(self) -> None:
        """Forget the errors, so that their files are tried again."""
        bad = _column(self.folder / ERRORS, "utterance")
        self._sizes[ERRORS] = len(self._headers[ERRORS].encode())
        self._note()
        self._cut(ERRORS)
        self.done.difference_update(bad)
        self.n_bad = 0

    def finish(self) -> None:
        """Remove what only an interrupted run needs."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        present = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        if present and not (self.folder / CONFIG).is_file() and [p.name for p in present] != [JOURNAL]:
            raise InputError(f"{self.folder}: has something else in it; give a new folder to --out")
        self._journal = (self.folder / JOURNAL).open("ab+")
        try:
            if not try_lock(self._journal, _LOCKED_BYTE):
                raise InputError(
                    f"{self.folder}: another run writes there; wait for it, or give another --out"
                )
            if (self.folder / CONFIG).is_file():
                check_same(self.folder, read_config(self.folder), self.config)
            else:
                about = {"kind": KIND, "version": VERSION, **asdict(self.config)}
                put(self.folder / CONFIG, json.dumps(about, indent=1).encode() + b"\n")
            self.parts.mkdir(exist_ok=True)
            self._recover()
        except BaseException:
            self._journal.close()
            raise

    def _recover(self) -> None:
        """Cut the tables to what the journal's last line says, and read which utterances are done."""
        state, end = _last_line(self.folder / JOURNAL)
        self._journal.truncate(end)
        self._shards = int(state.get("shards", 0))
        self._sizes = {name: int(state.get(name, 0)) for name in self._tables}
        for name in self._tables:
            self._cut(name)
        embedded, bad = (_column(self.folder / name, "utterance") for name in (INDEX, ERRORS))
        self.n_embedded, self.n_bad = len(embedded), len(bad)
        self.done = {*embedded, *bad}

    def _cut(self, name: str) -> None:
        """Make a table as long as it was when the last shard was finished; begin it where it is new."""
        path = self.folder / name
        size = path.stat().st_size if path.exists() else 0
        if size < self._sizes[name]:
            raise InputError(
                f"{path}: is shorter than the run left it; put it back as it was, or begin in a new folder"
            )
        with path.open("ab") as file:
            file.truncate(self._sizes[name])
        if not self._sizes[name]:
            self._append(name, self._headers[name])

    def _append(self, name: str, text: str) -> None:
        if text:
            with (self.folder / name).open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
                self._sizes[name] = file.tell()

    def _note(self) -> None:
        line = json.dumps({"shards": self._shards, **self._sizes})
        self._journal.write(line.encode() + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())


def read_config(folder: Path) -> StoreConfig:
    """What a folder of embeddings says of itself.

    Raises:
        InputError: It is no such folder, is damaged, or another version wrote it.
    """
    path = folder / CONFIG
    try:
        about = json.loads(path.read_text("utf-8"))
        if about.pop("kind") != KIND or about.pop("version") != VERSION:
            raise ValueError("another kind or version")
        return StoreConfig(**about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not a folder of kith embed ({reason}); give another folder") from error


def check_same(folder: Path, held: StoreConfig, wanted: StoreConfig) -> None:
    """Refuse to add to a folder what does not belong with what it holds.

    Raises:
        EncoderMismatchError: Another encoder.
        ConfigError: Another option or source.
    """
    if (held.encoder, held.fingerprint) != (wanted.encoder, wanted.fingerprint):
        raise EncoderMismatchError(
            f"{folder}: holds embeddings of {held.encoder} ({held.fingerprint}), and this encoder is {wanted.encoder} "
            f"({wanted.fingerprint}); give another --out"
        )
    # The format last: unless told, it follows from the crops.
    for field in sorted(fields(StoreConfig), key=lambda field: field.name == "format"):
        before, now = getattr(held, field.name), getattr(wanted, field.name)
        if before != now:
            raise ConfigError(
                f"{folder}: was begun with {field.name} {before!r}, and this run has {now!r}; give the same, or "
                "another --out"
            )


def committed_sizes(folder: Path) -> dict[str, int]:
    """How many bytes of each table belong to finished shards; empty where there is no journal."""
    state, _ = _last_line(folder / JOURNAL)
    return {name: int(size) for name, size in state.items() if name != "shards"}


def _column(path: Path, name: str) -> list[str]:
    columns, rows = read_table(path, needed=(name,))
    at = columns.index(name)
    return [cells[at] for _, cells in rows]


def _last_line(path: Path) -> tuple[dict[str, Any], int]:
    """The journal's last whole line, and where it ends."""
    try:
        content = path.read_bytes()
    except OSError:
        return {}, 0
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return {}, 0
    try:
        state = json.loads(whole.splitlines()[-1])
        return {name: int(value) for name, value in state.items()}, len(whole)
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); begin in a new folder") from None
