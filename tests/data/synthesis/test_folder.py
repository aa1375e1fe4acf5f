"""Synthetic speech on disk: all of it or nothing, and nothing of the user's is replaced unasked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from openkith.audio.io import Audio
from openkith.data import read_corpus, read_manifest
from openkith.data.synthesis import STYLES, Style, SyntheticClip, write_styles, write_unknown
from openkith.errors import ConfigError, InputError, KithError


def hum(pitch: float) -> Audio:
    return Audio((0.1 * np.sin(np.arange(8000) * pitch / 2546)).astype(np.float32), "<hum>")


class Hums:
    """A source of hums, which may end in an error."""

    name: ClassVar[str] = "hums"
    voices = 4

    def __init__(self, fail_after: int = 999, error: BaseException | None = None) -> None:
        self.fail_after, self.error = fail_after, error or KithError("the source broke")

    def unknown_speakers(self, n: int, clips: int = 2, seed: int = 0) -> Iterator[SyntheticClip]:
        for index in range(n * clips):
            if index == self.fail_after:
                raise self.error
            yield SyntheticClip(f"v{index // clips}", "negative", "", hum(100 + index + 50 * seed))

    def styles(
        self, speaker: str, recordings: Sequence[Audio], styles: Sequence[Style], seed: int = 0
    ) -> Iterator[SyntheticClip]:
        for k, style in enumerate(styles):
            for i, _ in enumerate(recordings):
                yield SyntheticClip(speaker, "enroll", "", hum(100 + 10 * k + i + seed), style.name)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_unknown_speakers(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    manifest = write_unknown(tmp_path / "a" / "b", Hums(), 2, 2, progress=lambda *step: steps.append(step))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert manifest == read_manifest(tmp_path / "a" / "b" / "unknown.tsv")
    assert [(row.speaker, row.role) for row in manifest.rows] == [("v0", "negative")] * 2 + [
        ("v1", "negative")
    ] * 2
    assert list(content(tmp_path / "a" / "b")) == [
        "unknown.tsv",
        "v0/1.wav",
        "v0/2.wav",
        "v1/1.wav",
        "v1/2.wav",
    ]
    info = soundfile.info(str(manifest.rows[0].path))
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert [clip.speaker for clip in read_corpus(tmp_path / "a" / "b")] == ["v0", "v0", "v1", "v1"]


def test_as_many_as_the_source_has(tmp_path: Path) -> None:
    assert len(write_unknown(tmp_path, Hums(), clips=1).rows) == 4


def test_styles(tmp_path: Path) -> None:
    manifest = write_styles(
        tmp_path, Hums(), "ann/../x", [hum(1), hum(2)], [STYLES["sad"], STYLES["fast"]], force=False
    )
    assert manifest.speakers == ("ann/../x",)
    assert [row.path.relative_to(tmp_path).as_posix() for row in manifest.enroll] == [
        f"ann_.._x/{name}.wav" for name in ("sad-1", "sad-2", "fast-1", "fast-2")
    ]
    assert (tmp_path / "styles-ann_.._x.tsv").is_file()
    for nothing in ({"recordings": []}, {"styles": []}):
        given = {"recordings": [hum(1)], "styles": [STYLES["sad"]], **nothing}
        with pytest.raises(ConfigError, match="give one or more"):
            write_styles(tmp_path / "none", Hums(), "ann", **given)


def test_both_kinds_in_one_folder(tmp_path: Path) -> None:
    write_unknown(tmp_path, Hums(), 1, 1)
    write_styles(tmp_path, Hums(), "ann", [hum(1)], [STYLES["sad"]])
    assert list(content(tmp_path)) == ["ann/sad-1.wav", "styles-ann.tsv", "unknown.tsv", "v0/1.wav"]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    write_unknown(tmp_path, Hums(), 2, 1)
    before = content(tmp_path)
    with pytest.raises(
        InputError, match=r"unknown\.tsv: exists already; give --force to replace it, or another"
    ):
        write_unknown(tmp_path, Hums(), 1, 1, seed=1)
    (tmp_path / "unknown.tsv").unlink()
    with pytest.raises(InputError, match=r"v0.1\.wav: exists already; give --force"):
        write_unknown(tmp_path, Hums(), 1, 1, seed=1)
    del before["unknown.tsv"]
    assert content(tmp_path) == before


def test_force_replaces_all_of_the_earlier_run_and_nothing_else(tmp_path: Path) -> None:
    write_unknown(tmp_path, Hums(), 3, 1)
    (tmp_path / "v1" / "notes.txt").write_text("mine")
    (tmp_path / "mine.wav").write_bytes(b"mine")
    first = (tmp_path / "v0" / "1.wav").read_bytes()
    write_unknown(tmp_path, Hums(), 1, 1, seed=1, force=True)
    assert list(content(tmp_path)) == ["mine.wav", "unknown.tsv", "v0/1.wav", "v1/notes.txt"]
    assert (tmp_path / "v0" / "1.wav").read_bytes() != first


def test_force_deletes_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "other" / "x.wav"
    outside.parent.mkdir()
    outside.write_bytes(b"mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "unknown.tsv").write_text("path\tspeaker\trole\n../other/x.wav\tx\tnegative\n")
    write_unknown(out, Hums(), 1, 1, force=True)
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize("error", [KithError("broke"), KeyboardInterrupt()])
def test_an_interrupt_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    out = tmp_path / "out"
    with pytest.raises(type(error)):
        write_unknown(out, Hums(3, error), 2, 2)
    assert not out.exists()
    write_unknown(out, Hums(), 2, 1)
    before = content(out)
    with pytest.raises(type(error)):
        write_unknown(out, Hums(3, error), 2, 2, seed=1, force=True)
    assert content(out) == before
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_two_speakers_whose_names_make_one_folder(tmp_path: Path) -> None:
    class Two(Hums):
        def unknown_speakers(self, n: int, clips: int = 2, seed: int = 0) -> Iterator[SyntheticClip]:  # noqa: ARG002
            yield SyntheticClip("a:b", "negative", "", hum(100))
            yield SyntheticClip("a_b", "negative", "", hum(120))

    manifest = write_unknown(tmp_path, Two(), 2, 1)
    assert [row.speaker for row in manifest.rows] == ["a:b", "a_b"]
    assert len({row.path.read_bytes() for row in manifest.rows}) == 2


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file; give a folder"):
        write_unknown(tmp_path / "file", Hums(), 1, 1)
    with pytest.raises(InputError, match="cannot be written"):
        write_unknown(tmp_path / "file" / "below", Hums(), 1, 1)
