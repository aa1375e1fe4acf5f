"""A folder of embeddings enhanced into another, and again from where it was stopped."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openkith.bulk.embedding import SHARD_ROWS
from openkith.bulk.formats import SCP, check_names
from openkith.bulk.parts import Measures, Outcome
from openkith.bulk.reading import Embeddings, read_embeddings
from openkith.bulk.store import CONFIG, INDEX, EmbeddingStore, StoreConfig, read_config
from openkith.bulk.tables import read_table
from openkith.errors import EncoderMismatchError
from openkith.openset.model import Progress

if TYPE_CHECKING:
    from openkith.enhancement.enhancer import Enhancer

__all__ = ["EnhanceSummary", "enhance_embeddings"]

_UNTOLD = "unknown"  # how clips were cut, where nothing tells
_ABOUT = ("path", *Measures._fields)


@dataclass(frozen=True)
class EnhanceSummary:
    """What a run did.

    Attributes:
        out: The folder.
        enhancer: Its fingerprint.
        format: A key of `openkith.bulk.formats.FORMATS`.
        dim: d.
        embeddings: In the folder now.
        before: Of these, there when the run began.
        seconds: Wall time of this run.
    """

    out: Path
    enhancer: str
    format: str
    dim: int
    embeddings: int
    before: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def enhance_embeddings(
    enhancer: Enhancer,
    source: str | Path,
    out: str | Path,
    *,
    shard_rows: int = SHARD_ROWS,
    progress: Progress | None = None,
) -> EnhanceSummary:
    """Enhance everything in a folder of embeddings, or what is missing of it; crops become one embedding each.

    The new folder has the format of the old one, the same utterances, and what the index tells of them; its fingerprint
    is the encoder's and the enhancer's, so that enhanced embeddings and others are never compared. A run that was
    killed and begun again writes the same files. See `openkith.bulk.store`.

    Args:
        enhancer: Any that was trained on this encoder's embeddings.
        source: A folder of ``kith embed``, an ``.scp`` file or its folder, or a tree of ``.npy``.
        out: Another folder; one that an earlier run began is gone on with.
        shard_rows: Utterances of a shard.
        progress: Called with what is being done, embeddings done and embeddings in all.

    Raises:
        EncoderMismatchError: The embeddings are of another encoder than the enhancer's.
        ConfigError: ``out`` was begun with other embeddings.
        InputError: The embeddings cannot be read, or ``out`` cannot be written or holds something else.
    """
    started = time.perf_counter()
    source, out = Path(source), Path(out)
    held = read_embeddings(source)
    if enhancer.encoder and held.fingerprint and enhancer.encoder != held.fingerprint:
        raise EncoderMismatchError(
            f"{source}: embeddings of {held.fingerprint}, and the enhancer is for {enhancer.encoder}; embed with that "
            "encoder, or train an enhancer for this one"
        )
    config = _config(enhancer, source, held)
    check_names(config.format, held.utterances)
    about = _about(held)
    with EmbeddingStore(out, config) as store:
        before = store.n_embedded
        missing = iter([number for number, name in enumerate(held.utterances) if name not in store.done])
        while shard := list(islice(missing, shard_rows)):
            vectors = enhancer.transform(held.gather(shard))
            store.commit(
                [_outcome(held, number, vector, about) for number, vector in zip(shard, vectors, strict=True)]
            )
            if progress is not None:
                progress("enhancing", store.n_embedded, len(held))
        store.finish()
        embedded = store.n_embedded
    return EnhanceSummary(
        out=out,
        enhancer=enhancer.fingerprint,
        format=config.format,
        dim=enhancer.dim,
        embeddings=embedded,
        before=before,
        seconds=time.perf_counter() - started,
    )


def _config(enhancer: Enhancer, source: Path, held: Embeddings) -> StoreConfig:
    """What the new folder says of itself."""
    if (source / CONFIG).is_file() and (source / INDEX).is_file():
        old = read_config(source)
        encoder, form, vad, quality, precision = old.encoder, old.format, old.vad, old.quality, old.precision
    else:
        is_kaldi = source.suffix == ".scp" or (source / SCP).is_file()
        encoder, form = _UNTOLD, "kaldi" if is_kaldi else "npy-tree"
        vad, quality, precision = _UNTOLD, False, _UNTOLD
    return StoreConfig(
        encoder=encoder,
        fingerprint="+".join(filter(None, [held.fingerprint, enhancer.fingerprint])),
        dim=enhancer.dim,
        format=form,
        source=os.path.abspath(source),  # noqa: PTH100  (without the disk, and without ..)
        vad=vad,
        quality=quality,
        precision=precision,
    )


def _about(held: Embeddings) -> dict[str, list[str]]:
    """Utterance to what the index tells of it, as `_ABOUT` has it; empty where there is no index."""
    if not (held.folder / INDEX).is_file():
        return {}
    columns, rows = read_table(held.folder / INDEX, needed=("utterance",))
    at = [columns.index(name) if name in columns else None for name in _ABOUT]
    name = columns.index("utterance")
    return {cells[name]: ["" if i is None else cells[i] for i in at] for _, cells in rows}


def _outcome(held: Embeddings, number: int, vector: Any, about: dict[str, list[str]]) -> Outcome:
    name = held.utterances[number]
    path, *cells = about.get(name) or [name]
    measures = Measures(*[float(cell) if cell else np.nan for cell in cells]) if cells else None
    return Outcome(name, path, held.speakers[number], vector, measures)
