"""Files that can be made again. `tests/encoders/clips/test_clip_cache.py` holds what the cache of clips promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from openkith.cache import FolderCache, cache_folder


def test_what_is_read_is_what_was_stored(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path / "new", ".x", 1000)
    assert cache.get("a") is None
    cache.put("a", b"one")
    cache.put("b", b"")
    cache.put("a", b"two")
    assert (cache.get("a"), cache.get("b")) == (b"two", b"")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.x", "b.x"]


def test_what_was_damaged_is_gone(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path, ".x", 1000)
    cache.put("a", b"one")
    cache.path("a").write_bytes(cache.path("a").read_bytes()[:-1] + b"!")
    assert cache.get("a") is None
    assert not cache.path("a").exists()


def test_each_kind_has_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITH_CLIP_CACHE", "Off")
    assert cache_folder("clips") is None
    monkeypatch.setenv("KITH_CLIP_CACHE", str(tmp_path))
    assert cache_folder("clips") == cache_folder("cohorts") == tmp_path
    monkeypatch.delenv("KITH_CLIP_CACHE")
    clips, cohorts = cache_folder("clips"), cache_folder("cohorts")
    assert clips is not None
    assert cohorts is not None
    assert (clips.name, cohorts.name, clips.parent) == ("clips", "cohorts", cohorts.parent)
