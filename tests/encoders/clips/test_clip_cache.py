"""Embedded clips on disk: what is read is what was written, and nothing that goes wrong is an error."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import Audio
from openkith.encoders.clips import clip_cache
from openkith.encoders.clips.clip_cache import ClipCache, code_version, embed_cached, usual_cache
from openkith.encoders.clips.copies import EmbeddedClip, embed_with_copies

sys.path.insert(0, str(Path(__file__).parents[2]))
from voices import FakeEncoder, TwoViews, voice


def same(a: EmbeddedClip, b: EmbeddedClip) -> bool:
    arrays = all(
        getattr(a, name).dtype == getattr(b, name).dtype
        and np.array_equal(getattr(a, name), getattr(b, name))
        and getattr(a, name).shape == getattr(b, name).shape
        for name in ("views", "copies", "halves")
    )
    return arrays and (a.quality, a.speech_seconds) == (b.quality, b.speech_seconds)


@pytest.fixture
def cache(tmp_path: Path) -> ClipCache:
    return ClipCache(tmp_path / "clips")


def entries(cache: ClipCache) -> list[Path]:
    return sorted(cache.folder.glob("*.clip"))


def put(cache: ClipCache, take: int) -> Audio:
    clip = voice("ann", take)
    cache.put("fake/1", clip, embed_with_copies(FakeEncoder(), [clip], copies=False)[0])
    return clip


@pytest.mark.parametrize("copies", [True, False])
def test_what_is_read_is_what_was_embedded(cache: ClipCache, copies: bool) -> None:
    clips = [voice("ann"), voice("bob", seconds=0.5)]
    encoder = TwoViews()
    first = embed_cached(encoder, clips, copies=copies, cache=cache)
    count = encoder.embedded
    again = embed_cached(encoder, clips, copies=copies, cache=ClipCache(cache.folder))
    assert encoder.embedded == count
    assert len(entries(cache)) == 2
    for a, b, c in zip(first, again, embed_with_copies(TwoViews(), clips, copies=copies), strict=True):
        assert same(a, b)
        assert same(a, c)
        b.views[0, 0] = 0.0  # an array of its own


def test_without_a_cache_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    encoder = FakeEncoder()
    for _ in range(2):
        embed_cached(encoder, [voice("ann")], copies=False)
    assert encoder.embedded == 2
    assert list(tmp_path.iterdir()) == []


def test_copies_are_added_to_a_plain_clip_and_left_out_where_not_asked(cache: ClipCache) -> None:
    clip = voice("ann")
    encoder = FakeEncoder()
    [plain] = embed_cached(encoder, [clip], copies=False, cache=cache)
    assert encoder.embedded == 1
    [full] = embed_cached(encoder, [clip], copies=True, cache=cache)
    [expected] = embed_with_copies(FakeEncoder(), [clip])
    assert encoder.embedded == len(expected.copies) + 3  # no part twice
    assert same(full, expected)
    assert len(entries(cache)) == 1
    count = encoder.embedded
    [alone] = embed_cached(encoder, [clip], copies=False, cache=cache)
    assert same(alone, plain)
    assert same(embed_cached(encoder, [clip], copies=True, cache=cache)[0], full)
    assert encoder.embedded == count


def test_an_entry_is_of_its_samples_and_its_encoder(cache: ClipCache) -> None:
    heard = voice("ann")
    clip = replace(heard, samples=(np.rint(heard.samples * 32768) / 32768).astype(np.float32))
    cache.put("fake/1", clip, embed_with_copies(FakeEncoder(), [clip], copies=False)[0])
    assert cache.get("fake/1", clip) is not None
    assert cache.get("fake/1", replace(clip, source="elsewhere")) is not None
    less = replace(clip, samples=clip.samples + np.float32(1e-6))
    assert less.sha256 == clip.sha256
    for other in (less, replace(clip, native_rate=8000), replace(clip, clipped=0.5)):
        assert cache.get("fake/1", other) is None
    assert cache.get("fake/2", clip) is None


def test_another_code_is_another_entry(cache: ClipCache, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = put(cache, 0)
    assert len(code_version()) == 64
    monkeypatch.setattr(clip_cache, "code_version", lambda: "edited")
    assert cache.get("fake/1", clip) is None


def test_the_code_is_that_of_every_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    content = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(path.name) or content(path))
    assert code_version.__wrapped__() == code_version()
    assert {"base.py", "ge2e.py", "onnx.py", "sources.py", "copies.py", "augment.py"} <= read


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "other"])
def test_a_damaged_entry_is_made_again(cache: ClipCache, damage: str) -> None:
    clip = voice("ann")
    encoder = FakeEncoder()
    [first] = embed_cached(encoder, [clip], copies=False, cache=cache)
    [path] = entries(cache)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-1] ^= 1
    path.write_bytes(
        {"empty": b"", "short": content[:-7], "flipped": bytes(flipped), "other": b"x" * 500}[damage]
    )
    assert cache.get("fake/1", clip) is None
    [again] = embed_cached(encoder, [clip], copies=False, cache=cache)
    assert encoder.embedded == 2
    assert same(again, first)
    assert path.read_bytes() == content


def test_the_content_of_another_version_is_not_read() -> None:
    """Intact, and not what is expected."""
    from safetensors.numpy import save

    content = save({"embedding": np.zeros(3, np.float32)}, {"about": "{}"})
    assert clip_cache._unpack(content) is None
    assert clip_cache._unpack(b"") is None


def test_the_oldest_go_first(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path)
    clips = [put(cache, take) for take in range(4)]
    size = max(path.stat().st_size for path in entries(cache))
    now = time.time()
    for i, clip in enumerate(clips):
        os.utime(cache._files.path(clip_cache._name("fake/1", clip)), (now - 100 + i, now - 100 + i))
    assert cache.get("fake/1", clips[0]) is not None  # used now
    left_behind = tmp_path / ".killed.tmp"
    left_behind.write_bytes(b"half")
    os.utime(left_behind, (0, 0))
    small = ClipCache(tmp_path, max_bytes=4 * size)
    newest = put(small, 9)  # the fifth
    kept = [clip for clip in [*clips, newest] if small.get("fake/1", clip) is not None]
    assert [clip.source for clip in kept] == ["ann-0", "ann-3", "ann-9"]  # 90 % of four
    assert [path for path in tmp_path.iterdir() if path.suffix != ".clip"] == []
    put(small, 10)
    assert len(entries(small)) == 4  # counted, not counted out


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    cache = ClipCache(file / "clips")
    encoder = FakeEncoder()
    for _ in range(2):
        [clip] = embed_cached(encoder, [voice("ann")], copies=False, cache=cache)
    assert encoder.embedded == 2
    assert np.isfinite(clip.views).all()


def test_a_full_disk_is_no_error_and_leaves_nothing(
    cache: ClipCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, 0)

    def full(self: Path, target: Path) -> Path:  # noqa: ARG001
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    put(cache, 1)
    monkeypatch.undo()
    assert len(list(cache.folder.iterdir())) == 1
    put(cache, 1)  # not tried again
    assert len(entries(cache)) == 1


def test_only_the_owner_reads_it(cache: ClipCache) -> None:
    if os.name != "posix":
        pytest.skip("permissions of POSIX")
    put(cache, 0)
    assert cache.folder.stat().st_mode & 0o077 == 0
    assert entries(cache)[0].stat().st_mode & 0o077 == 0


def test_progress_counts_what_the_cache_had(cache: ClipCache) -> None:
    put(cache, 0)
    steps: list[tuple[int, int]] = []
    clips = [voice("ann", take) for take in range(11)]
    embed_cached(FakeEncoder(), clips, copies=False, cache=cache, progress=lambda *step: steps.append(step))
    assert steps == [(1, 11), (9, 11), (11, 11)]


def test_the_usual_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITH_CLIP_CACHE", str(tmp_path / "mine"))
    cache = usual_cache()
    assert cache is not None
    assert (cache.folder, cache._files.max_bytes) == (tmp_path / "mine", 2_000_000_000)
    assert not cache.folder.exists()
    monkeypatch.setenv("KITH_CLIP_CACHE", " OFF ")
    assert usual_cache() is None
    monkeypatch.delenv("KITH_CLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = usual_cache()
    assert cache is not None
    assert cache.folder.name == "clips"
    assert "openkith" in cache.folder.parts


def test_precisions_are_kept_apart(cache: ClipCache) -> None:
    class Coarse(FakeEncoder):
        precision = "bfloat16"

    fine, coarse = FakeEncoder(), Coarse()
    for encoder in (fine, coarse, coarse):
        embed_cached(encoder, [voice("ann")], copies=False, cache=cache)
    assert (fine.embedded, coarse.embedded) == (1, 1)
