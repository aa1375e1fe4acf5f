from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from openkith.errors import ConfigError, GalleryError, UnknownItemError
from openkith.gallery import ApiKeys, Gallery, schema


@pytest.fixture
def keys(any_gallery: Gallery) -> ApiKeys:
    return ApiKeys(any_gallery)


def test_there_and_back(any_gallery: Gallery, keys: ApiKeys) -> None:
    assert keys.list() == []
    assert not keys.any()
    before = datetime.now(UTC)
    key, text = keys.create(" kitchen ", ["identify", "read", "read"], actor="key 7")
    assert re.fullmatch(rf"kith_{key.id}_[A-Za-z0-9_-]{{43}}", text)
    assert (key.name, key.scopes, key.revoked) == ("kitchen", {"read", "identify"}, None)
    assert before <= key.created <= datetime.now(UTC)
    assert keys.check(text) == key
    assert keys.list() == [key]
    assert keys.any()
    (entry,) = any_gallery.audit()
    assert (entry.actor, entry.action, entry.subject) == ("key 7", "key-create", "")
    assert entry.detail == {"key": key.id, "scopes": ["read", "identify"]}
    with any_gallery.database.read() as connection:
        rows = repr(connection.execute(schema.api_keys.select()).all())
    assert text.split("_", 2)[2] not in rows


def test_every_key_is_another_one(keys: ApiKeys) -> None:
    texts = [keys.create("same", ["read"])[1] for _ in range(5)]
    assert len({text.split("_", 2)[2] for text in texts}) == 5
    assert [found.id for found in map(keys.check, texts) if found] == [key.id for key in keys.list()]


def test_what_is_no_key(keys: ApiKeys) -> None:
    key, text = keys.create("a", ["read"])
    other, other_text = keys.create("b", ["admin"])
    secret, other_secret = text.split("_", 2)[2], other_text.split("_", 2)[2]
    wrong = [
        "",
        "kith_",
        secret,
        text[:-1],
        text + "A",
        text + "\n",
        text.upper(),
        " " + text,
        f"kith_{other.id}_{secret}",
        f"kith_{key.id}_{other_secret}",
        f"kith_{other.id + 1}_{secret}",
        f"kith_0_{secret}",
        f"kith_9999999999_{secret}",
        f"kith_{'9' * 40}_{secret}",
        f"kith_\u0661_{secret}",  # a digit, but not of these
        f"kith_{key.id}_{secret[:-1]}{'B' if secret[-1] == 'A' else 'A'}",
        "kith_1_' OR 1=1 --",
    ]
    for text_ in wrong:
        assert keys.check(text_) is None, text_


def test_scopes(keys: ApiKeys) -> None:
    reader, _ = keys.create("r", ["read"])
    admin, _ = keys.create("a", ["admin"])
    assert [reader.may(scope) for scope in ("read", "identify", "enrol", "admin")] == [
        True,
        False,
        False,
        False,
    ]
    assert all(admin.may(scope) for scope in ("read", "identify", "enrol", "admin"))
    for scopes in ([], ["reed"], ["read", "write"]):
        with pytest.raises(ConfigError, match=r"scopes: .*choose of read, identify, enrol, admin"):
            keys.create("x", scopes)
    for name in ("", "a\nb", "x" * 101):
        with pytest.raises(GalleryError):
            keys.create(name, ["read"])
    assert len(keys.list()) == 2


def test_revoking(any_gallery: Gallery, keys: ApiKeys) -> None:
    key, text = keys.create("a", ["admin"])
    other, other_text = keys.create("b", ["read"])
    revoked = keys.revoke(key.id, actor="key 2")
    assert revoked.revoked is not None
    assert not revoked.may("read")
    assert keys.check(text) is None
    assert keys.check(other_text) == other
    assert keys.list() == [revoked, other]
    assert keys.any()
    entries = any_gallery.audit()
    assert (entries[-1].actor, entries[-1].action, entries[-1].detail) == (
        "key 2",
        "key-revoke",
        {"key": key.id},
    )
    assert keys.revoke(key.id) == revoked
    assert any_gallery.audit() == entries
    keys.revoke(other.id)
    assert not keys.any()
    for number in (99, 0, 10**30):
        with pytest.raises(UnknownItemError, match=f"no key {number}: .*kith keys list"):
            keys.revoke(number)
