"""Cohorts out of corpora: which stretches, of whom, and what is left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openkith.cohort_building
from openkith.audio import Audio, load, save
from openkith.cohort_building import build_cohort, write_cohort
from openkith.data import Row, write_manifest
from openkith.encoders.clips.clip_cache import embed_cached
from openkith.encoders.clips.copies import COPY_CONDITIONS, embed_with_copies
from openkith.errors import ConfigError, InputError, ManifestError, NotEnoughDataError
from openkith.scoring import find_cohort, load_cohort
from openkith.scoring.base import one_view
from openkith.scoring.cohort import user_cohort_path


@pytest.fixture
def corpus(tmp_path: Path, record: Callable[..., Path]) -> Path:
    """Four speakers: 9 s in one recording; two recordings of 5 and 2 s; five of 2 s; one of 0.6 s."""
    root = tmp_path / "corpus"
    for name, lengths in (("ann", [9]), ("ben", [5, 2]), ("cleo", [2] * 5), ("dan", [0.6])):
        for take, seconds in enumerate(lengths):
            record(sum(map(ord, name)), take, root / name / f"{take}.wav", seconds=seconds)
    return root


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, float]]:
    """(speaker's folder, stem, seconds) of every stretch that is embedded; filled as that happens."""
    seen: list[tuple[str, int, float]] = []

    def note(encoder: Any, clips: list[Audio], **options: Any) -> Any:
        for clip in clips:
            path = Path(clip.source)
            seen.append((path.parent.name, int(path.stem), round(clip.seconds, 3)))
        return embed_cached(encoder, clips, **options)

    monkeypatch.setattr(openkith.cohort_building, "embed_cached", note)
    return seen


def test_stretches(corpus: Path, bands: Any, cut: list[Any]) -> None:
    steps: list[tuple[str, int, int]] = []
    built = build_cohort(corpus, bands, copies=False, progress=lambda *step: steps.append(step))
    assert cut == [
        *(("ann", 0, 4.0), ("ann", 0, 4.0)),  # the last second is no stretch
        *(("ben", 0, 4.0), ("ben", 1, 2.0)),
        *(("cleo", 0, 2.0), ("cleo", 2, 2.0), ("cleo", 4, 2.0)),  # from all over
        ("dan", 0, 0.6),
    ]
    assert (built.speakers, built.stretches, built.skipped) == (4, 8, ())
    cohort = built.cohort
    assert cohort.labels.tolist() == [0, 0, 1, 1, 2, 2, 2, 3]
    assert cohort.clips.tolist() == list(range(8))
    assert not cohort.copies.any()
    assert 0 < built.seconds <= 20.6
    second = load(corpus / "ann" / "0.wav", start=4.0, end=8.0)
    [expected] = embed_with_copies(bands, [second], copies=False)
    np.testing.assert_array_equal(one_view(cohort.embeddings)[1], expected.embedding)
    assert steps[0] == ("embedding speakers", 0, 4)
    assert steps[-1] == ("done", 4, 4)


def test_copies(corpus: Path, bands: Any) -> None:
    built = build_cohort(corpus, bands)
    assert len(built.cohort) == 8 * (1 + len(COPY_CONDITIONS))
    assert built.cohort.copies.sum() == 8 * len(COPY_CONDITIONS)
    assert len(np.unique(built.cohort.groups)) > 2
    again = build_cohort(corpus, bands)
    np.testing.assert_array_equal(again.cohort.embeddings, built.cohort.embeddings)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (2.0, [("ann", 0, 2.0), ("ben", 0, 2.0), ("cleo", 0, 2.0), ("dan", 0, 0.6)]),
        (
            8.0,
            [
                *(("ann", 0, 4.0), ("ann", 0, 4.0), ("ben", 0, 4.0), ("ben", 1, 2.0)),
                *(("cleo", 0, 2.0), ("cleo", 4, 2.0), ("dan", 0, 0.6)),
            ],
        ),
    ],
)
def test_seconds_of_each(
    corpus: Path, bands: Any, cut: list[Any], seconds: float, expected: list[Any]
) -> None:
    build_cohort(corpus, bands, copies=False, max_seconds=seconds)
    assert cut == expected


def test_a_batch_at_a_time(corpus: Path, bands: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_cohort(corpus, bands, copies=False)
    monkeypatch.setattr(openkith.cohort_building, "_BATCH_SPEAKERS", 1)
    one_by_one = build_cohort(corpus, bands, copies=False)
    np.testing.assert_array_equal(one_by_one.cohort.embeddings, whole.cohort.embeddings)
    np.testing.assert_array_equal(one_by_one.cohort.labels, whole.cohort.labels)


def test_what_is_not_usable_is_left_out(corpus: Path, bands: Any, cut: list[Any]) -> None:
    """Another recording of the speaker takes its place; a speaker without any is not in the cohort."""
    (corpus / "cleo" / "2.wav").write_bytes(b"\0" * 100)
    (corpus / "dan" / "0.wav").write_bytes(b"")
    shutil.copytree(corpus / "ann", corpus / "zoe")
    built = build_cohort(corpus, bands, copies=False)
    assert [c for c in cut if c[0] == "cleo"] == [("cleo", 0, 2.0), ("cleo", 4, 2.0), ("cleo", 1, 2.0)]
    assert (built.speakers, sorted(set(built.cohort.labels.tolist()))) == (4, [0, 1, 2, 3])
    assert len(built.skipped) == 2
    assert "2.wav" in built.skipped[0]
    assert "empty file" in built.skipped[1]


def test_a_stretch_without_speech_is_left_out(corpus: Path, bands: Any) -> None:
    path = corpus / "ann" / "0.wav"
    samples = load(path).samples.copy()
    samples[: 4 * 16_000] = 1e-3 * np.random.default_rng(0).standard_normal(4 * 16_000)
    save(path, samples)
    built = build_cohort(corpus, bands, copies=False)
    assert built.cohort.labels.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert len(built.skipped) == 1
    assert "no speech" in built.skipped[0]


def test_too_few_speakers(corpus: Path, bands: Any) -> None:
    for name in ("ann", "ben"):
        shutil.rmtree(corpus / name)
    with pytest.raises(NotEnoughDataError, match="with usable speech: 2, and a cohort needs 3"):
        build_cohort(corpus, bands, copies=False)
    (corpus / "dan" / "0.wav").write_bytes(b"")
    with pytest.raises(NotEnoughDataError, match=r"speech: 1, .*first left out: .*dan.*empty"):
        build_cohort(corpus, bands, copies=False)


def test_negative_rows_of_a_manifest(corpus: Path, bands: Any, cut: list[Any], tmp_path: Path) -> None:
    """A cut of a recording is cut on from where it begins; rows of other roles only where they are asked for."""
    path = tmp_path / "m.tsv"
    rows = [
        Row(corpus / "ann" / "0.wav", "ann", "negative", 0.5, 8.7),
        *(Row(corpus / "cleo" / f"{take}.wav", "cleo", "negative") for take in range(2)),
        Row(corpus / "dan" / "0.wav", "dan", "negative"),
        Row(corpus / "ben" / "0.wav", "ben", "enroll"),
        Row(corpus / "ben" / "1.wav", "ben", "test"),
    ]
    write_manifest(path, rows)
    built = build_cohort(path, bands, copies=False)
    assert built.speakers == 3
    assert cut[:2] == [("ann", 0, 4.0), ("ann", 0, 4.0)]
    second = load(corpus / "ann" / "0.wav", start=4.5, end=8.5)
    [expected] = embed_with_copies(bands, [second], copies=False)
    np.testing.assert_array_equal(one_view(built.cohort.embeddings)[1], expected.embedding)
    assert build_cohort(path, bands, copies=False, all_rows=True).speakers == 4
    write_manifest(path, rows[4:])
    with pytest.raises(ManifestError, match="field 'role': no row is 'negative'"):
        build_cohort(path, bands)


def test_what_is_refused(corpus: Path, bands: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_seconds is 0"):
        build_cohort(corpus, bands, max_seconds=0)
    with pytest.raises(ManifestError, match="cannot read"):
        build_cohort(tmp_path / "nope", bands)
    with pytest.raises(InputError, match="cannot write"):
        write_cohort(corpus, bands, tmp_path / "no" / "c.safetensors", copies=False)


def test_written_and_found(corpus: Path, bands: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITH_COHORTS", str(tmp_path / "kept"))
    assert find_cohort(bands.fingerprint) is None
    written = write_cohort(corpus, bands, copies=False)
    assert written.found
    assert written.path == user_cohort_path(bands.fingerprint)
    assert (written.speakers, written.stretches, written.embeddings) == (4, 8, 8)
    cohort = find_cohort(bands.fingerprint)
    assert cohort is not None
    assert cohort.n_speakers == 4
    shutil.rmtree(corpus / "dan")
    elsewhere = write_cohort(corpus, bands, tmp_path / "c.safetensors", copies=False, origin="my people, CC0")
    assert not elsewhere.found
    assert load_cohort(elsewhere.path)[1] == bands.fingerprint
    assert json.loads(json.dumps(elsewhere.to_dict()))["path"] == str(tmp_path / "c.safetensors")
    write_cohort(corpus, bands, copies=False)  # in the place of the first, and seen at once
    cohort = find_cohort(bands.fingerprint)
    assert cohort is not None
    assert cohort.n_speakers == 3


@pytest.mark.slow
def test_the_shipped_cohort_is_built_so(speech: Path, ge2e: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first speakers of it, from the manifest that it was built from."""
    from openkith.scoring import shipped_cohort

    shipped = shipped_cohort(ge2e.fingerprint)
    assert shipped is not None
    people = openkith.cohort_building._people

    def first_four(*args: Any) -> dict[str, Any]:
        return dict(sorted(people(*args).items())[:4])

    monkeypatch.setattr(openkith.cohort_building, "_people", first_four)
    built = build_cohort(speech / "home-clean.tsv", ge2e).cohort
    first = shipped.select(shipped.labels < 4)
    np.testing.assert_array_equal(built.groups, first.groups)
    np.testing.assert_array_equal(built.clips, first.clips)
    np.testing.assert_allclose(built.view(0).embeddings, first.view(0).embeddings, atol=2e-3)


def test_building_again_reads_what_was_embedded(
    corpus: Path, bands: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_CLIP_CACHE", str(tmp_path / "cache"))
    first = build_cohort(corpus, bands)

    def fail(*_: object) -> object:
        raise AssertionError("embedded again")

    monkeypatch.setattr("openkith.encoders.clips.copies.embed_views", fail)
    again = build_cohort(corpus, bands)
    assert np.array_equal(first.cohort.embeddings, again.cohort.embeddings)
