"""Keys as the daemon remembers them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openkith.gallery import Gallery
from openkith.gallery.api_keys import ApiKeys
from openkith.service import auth
from openkith.service.auth import Caller, Keyring, bearer_key
from openkith.service.problems import ProblemError


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[ApiKeys]:
    with Gallery(tmp_path / "g.db") as gallery:
        yield ApiKeys(gallery)


@pytest.mark.parametrize(
    ("header", "key"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer", None), (None, None)],
)
def test_bearer_key(header: str | None, key: str | None) -> None:
    assert bearer_key(header) == key


def test_admin_may_all() -> None:
    assert Caller("key 1", frozenset({"admin"})).may("enrol")
    reader = Caller("key 2", frozenset({"read"}))
    assert (reader.may("read"), reader.may("admin")) == (True, False)
    with pytest.raises(ProblemError) as refused:
        reader.require("enrol")
    assert refused.value.problem.status == 403


def test_open_until_there_is_a_key(keys: ApiKeys) -> None:
    ring = Keyring(keys, loopback=True)
    assert ring.opened is None
    assert ring.look() is True
    assert ring.opened is True
    assert ring.check(None, "me").scopes == {"read", "identify", "enrol", "admin"}
    keys.create("first", ["read"])
    assert ring.known(None) is not None  # for a second
    fresh = Keyring(keys, loopback=True)
    with pytest.raises(ProblemError) as refused:
        fresh.check(None, "me")
    assert refused.value.problem.status == 401


def test_never_open_where_others_reach_it(keys: ApiKeys) -> None:
    ring = Keyring(keys, loopback=False)
    assert ring.look() is False
    with pytest.raises(ProblemError):
        ring.check(None, "me")


def test_a_key_is_remembered_for_a_second(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = keys.create("mine", ["read"])
    ring = Keyring(keys, loopback=True)
    assert ring.known(text) is None
    assert ring.check(text, "me") == Caller(f"key {key.id}", frozenset({"read"}))
    assert ring.known(text) == ring.check(text, "me")
    assert text not in repr(ring._known)
    keys.revoke(key.id)
    later = time.monotonic() + 2.0
    monkeypatch.setattr(auth.time, "monotonic", lambda: later)
    assert ring.known(text) is None


def test_memory_is_bounded(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "CACHED_KEYS", 2)
    texts = [keys.create(f"k{i}", ["read"])[1] for i in range(3)]
    ring = Keyring(keys, loopback=True)
    for text in texts:
        ring.check(text, "me")
    assert len(ring._known) == 2
