"""A corpus embedded into a folder, by as many processes as there are cores, and again from where it was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.vad import speech_mask
from openkith.bulk.formats import check_names
from openkith.bulk.groups import NO_VAD, EmbedOptions, embed_group, failed
from openkith.bulk.listing import Item, list_input
from openkith.bulk.parts import drop_parts, read_part, write_part
from openkith.bulk.store import CONFIG, ERRORS, EmbeddingStore, StoreConfig, check_same, read_config
from openkith.bulk.workers import EncoderSpec, Group, Identity, InProcess, Processes, Team
from openkith.encoders import Encoder
from openkith.errors import ConfigError, InputError
from openkith.openset.model import Progress

__all__ = ["BATCH", "SHARD_ROWS", "EmbedOptions", "EmbedSummary", "EncoderSpec", "embed_corpus"]

BATCH = 16
"""Utterances that are handed to the encoder together, and lost together when the power goes."""
SHARD_ROWS = 4096

T = TypeVar("T")


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did.

    Attributes:
        out: The folder.
        encoder, fingerprint, dim: Of the encoder.
        files: Utterances in the list.
        embedded: In the folder now.
        before: Of these, in the folder or its parts when the run began.
        bad: Among the errors now.
        errors: The file that lists them; None where there are none.
        seconds: Wall time of this run, of listing and loading too.
    """

    out: Path
    encoder: str
    fingerprint: str
    dim: int
    files: int
    embedded: int
    before: int
    bad: int
    errors: Path | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def embed_corpus(
    source: str | Path,
    out: str | Path,
    encoder: Encoder | EncoderSpec,
    options: EmbedOptions | None = None,
    *,
    workers: int = 1,
    batch: int = BATCH,
    shard_rows: int = SHARD_ROWS,
    retry: bool = False,
    progress: Progress | None = None,
) -> EmbedSummary:
    """Embed everything in a folder, manifest or Kaldi list, or what is missing of it.

    The files written are the same for any number of workers, and for a run that was killed and begun again. A file
    that cannot be embedded is listed among the errors and stops nothing; it is not tried again unless asked for.

    Args:
        source: See `openkith.bulk.listing.list_input`.
        out: The folder, see `openkith.bulk.store`; one that an earlier run began is gone on with.
        encoder: An encoder, or how to load one, which several workers need.
        options: Default: `EmbedOptions()`.
        workers: Processes that decode and embed. 1: this one.
        batch: Utterances handed to the encoder together.
        shard_rows: Utterances of a shard.
        retry: Try the files among the errors again.
        progress: Called with what is being done, files done and files in all.

    Raises:
        ManifestError: The source cannot be listed.
        ConfigError: A number is below 1, several workers have no way to load the encoder, or ``out`` was begun with
            other options.
        EncoderMismatchError: ``out`` holds embeddings of another encoder.
        InputError: ``out`` cannot be written, or not one file could be embedded.
        WeightsError: The encoder's weights, or the detector's, cannot be had.
        MissingDependencyError: The encoder or the detector needs an extra that is not installed.
    """
    started = time.perf_counter()
    options = options or EmbedOptions()
    for name, value in (("workers", workers), ("batch", batch), ("shard_rows", shard_rows)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")
    if workers > 1 and not isinstance(encoder, EncoderSpec):
        raise ConfigError("several workers load the encoder themselves; give an EncoderSpec, or workers=1")
    out = Path(out)
    report = progress or _unheard
    report("listing files", 0, 0)
    items = list_input(source)
    check_names(options.format, [item.utterance for item in items])
    precision = str(getattr(encoder, "precision", "float32"))
    wanted = os.path.abspath(source)  # noqa: PTH100  (without the disk, and without ..)
    if (out / CONFIG).is_file():  # before the encoder is loaded
        held = read_config(out)
        same = Identity(held.encoder, held.fingerprint, held.dim)
        check_same(out, held, _config(options, same, wanted, precision))
    report("loading the encoder", 0, 0)
    if options.vad != NO_VAD:  # what a detector needs is fetched, or found missing, once and now
        speech_mask(Audio(np.zeros(SAMPLE_RATE, np.float32), "<silence>"), options.vad)
    most = min(workers, -(-len(items) // batch))
    team: Team = InProcess(encoder) if most == 1 else Processes(_spec(encoder), most)
    try:
        with EmbeddingStore(out, _config(options, team.identity, wanted, precision)) as store:
            if retry:
                store.retry()
            before = store.n_embedded
            before += _fill(store, items, team, _Job(options, store.parts), batch, shard_rows, report)
            embedded, bad = store.n_embedded, store.n_bad
    finally:
        team.close()
    if not embedded:
        raise InputError(f"{source}: none of {len(items)} files could be embedded; {out / ERRORS} says why")
    return EmbedSummary(
        out=out,
        encoder=team.identity.name,
        fingerprint=team.identity.fingerprint,
        dim=team.identity.dim,
        files=len(items),
        embedded=embedded,
        before=before,
        bad=bad,
        errors=out / ERRORS if bad else None,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _Job:
    """What a process does with a group."""

    options: EmbedOptions
    parts: Path

    def run(self, encoder: Encoder, group: Group) -> Path:
        return write_part(self.parts, embed_group(encoder, group, self.options))

    def give_up(self, item: Item, reason: str) -> Path:
        return write_part(self.parts, [failed(item, InputError(reason))])


def _fill(
    store: EmbeddingStore,
    items: Sequence[Item],
    team: Team,
    job: _Job,
    batch: int,
    shard_rows: int,
    report: Progress,
) -> int:
    """Embed what is missing; returns how many embeddings an earlier run had left in parts."""
    missing = [item for item in items if item.utterance not in store.done]
    shards = list(_batches(missing, shard_rows))
    found = store.found_parts() if missing else {}
    kept = _good_in(set(found.values()), {item.utterance for item in missing})
    groups = (
        lost
        for shard in shards
        for group in _batches(shard, batch)
        if (lost := [item for item in group if item.utterance not in found])
    )
    waiting = iter(shards)
    head = next(waiting, None)

    def commit() -> None:
        """Write the shards whose turn it is and of which nothing is missing."""
        nonlocal head
        while head is not None and all(item.utterance in found for item in head):
            parts = {found.pop(item.utterance) for item in head}
            outcomes = {o.utterance: o for part in parts for o in read_part(part) or ()}
            store.commit([outcomes[item.utterance] for item in head])
            drop_parts(parts - set(found.values()))
            head = next(waiting, None)

    pace = _Pace(
        len(items) - len(missing) + sum(item.utterance in found for item in missing), len(items), report
    )
    commit()
    for done in team.run(job, groups):
        found.update(dict.fromkeys((item.utterance for item in done.group), done.part))
        pace.step(len(done.group))
        commit()
    store.finish()
    return kept


class _Pace:
    """How fast it goes, said with every step."""

    def __init__(self, done: int, total: int, report: Progress) -> None:
        self._first = self._done = done
        self._total, self._report = total, report
        self._started = time.perf_counter()
        report("embedding", done, total)

    def step(self, files: int) -> None:
        self._done += files
        rate = (self._done - self._first) / max(time.perf_counter() - self._started, 1e-9)
        left = round((self._total - self._done) / rate)
        self._report(f"embedding, {rate:.1f} files/s, {_clock(left)} left", self._done, self._total)


def _unheard(text: str, done: int, total: int) -> None:
    """Progress that nobody follows."""
    del text, done, total


def _clock(seconds: int) -> str:
    """Seconds as people read them on a clock: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _good_in(parts: Iterable[Path], wanted: set[str]) -> int:
    """How many utterances that are wanted are embedded in parts."""
    return sum(
        outcome.utterance in wanted and not outcome.error
        for part in parts
        for outcome in read_part(part) or ()
    )


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def _spec(encoder: Encoder | EncoderSpec) -> EncoderSpec:
    assert isinstance(encoder, EncoderSpec)
    return encoder


def _config(options: EmbedOptions, encoder: Identity, source: str, precision: str) -> StoreConfig:
    """What the folder says of itself."""
    return StoreConfig(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        format=options.format,
        source=source,
        crops=options.crops,
        crop_seconds=None if options.crops is None else options.crop_seconds,
        vad=options.vad,
        quality=options.quality,
        precision=precision,
    )
