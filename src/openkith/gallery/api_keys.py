"""The keys of the HTTP service: made once, kept as digests, revoked and never deleted."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from openkith.errors import ConfigError, UnknownItemError
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_json, unpack_json
from openkith.gallery.records import clean_name
from openkith.gallery.store import Gallery

__all__ = ["SCOPES", "ApiKey", "ApiKeys"]

SCOPES = ("read", "identify", "enrol", "admin")
SECRET_BYTES = 32
_TEXT = re.compile(r"kith_([0-9]{1,10})_([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True)
class ApiKey:
    """A key, without the secret that is its text.

    Attributes:
        id: Unique in the gallery, never used again; part of the key's text.
        name: What it is for, in the owner's words.
        scopes: What it may do, of `SCOPES`.
        created: When, UTC.
        revoked: When it stopped being good, UTC; None of one that is.
    """

    id: int
    name: str
    scopes: frozenset[str]
    created: datetime
    revoked: datetime | None

    def may(self, scope: str) -> bool:
        """Whether the key may do this; one with the scope "admin" may do everything."""
        return self.revoked is None and bool(self.scopes & {scope, "admin"})


class ApiKeys:
    """The keys of a gallery.

    A key is 32 random bytes, so that one round of SHA-256 is enough to keep it by: there is nothing to guess,
    which is what slow password hashes are for.

    Args:
        gallery: Whose service they open.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._database = gallery.database

    def create(self, name: str, scopes: Iterable[str], *, actor: str = "") -> tuple[ApiKey, str]:
        """Make a key.

        Args:
            name: What it is for.
            scopes: At least one of `SCOPES`.
            actor: Who does it, for the audit log.

        Returns:
            The key, and its text ``kith_<id>_<43 characters>``, which is shown once: it is not kept.

        Raises:
            ConfigError: A scope is unknown, or there is none.
            GalleryError: The name is empty, too long or has control characters.
        """
        name, chosen = clean_name(name), frozenset(scopes)
        unknown = sorted(chosen - set(SCOPES))
        if unknown or not chosen:
            wrong = f"there is no scope {unknown[0]!r}" if unknown else "a key needs a scope"
            raise ConfigError(f"scopes: {wrong}: choose of {', '.join(SCOPES)}")
        secret = secrets.token_urlsafe(SECRET_BYTES)
        listed = [scope for scope in SCOPES if scope in chosen]
        scopes_text, created = pack_json(listed, "scopes"), queries.now()
        values = {"name": name, "digest": _digest(secret), "scopes": scopes_text, "created": created}
        with self._database.write() as connection:
            number = queries.insert_row(connection, schema.api_keys, **values)
            queries.log(connection, "key-create", None, actor, key=number, scopes=listed)
        return ApiKey(number, name, chosen, created, None), f"kith_{number}_{secret}"

    def check(self, text: str) -> ApiKey | None:
        """The key of this text; None where there is none, or it was revoked. Writes nothing.

        The digests are compared in a time that says nothing of how much of them agrees.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        table = schema.api_keys
        number = queries.known_id(int(found.group(1)))
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == number)).one_or_none()
        if row is None or not hmac.compare_digest(row.digest, _digest(found.group(2))):
            return None
        return None if row.revoked is not None else _key_of(row)

    def list(self) -> list[ApiKey]:
        """All keys that ever were, in order of id."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.api_keys).order_by(schema.api_keys.c.id)).all()
        return [_key_of(row) for row in rows]

    def revoke(self, key_id: int, *, actor: str = "") -> ApiKey:
        """Make a key good for nothing from now on; one that is so already stays as it is.

        Returns:
            The key.

        Raises:
            UnknownItemError: There is no such key.
        """
        table = schema.api_keys
        query = select(table).where(table.c.id == queries.known_id(key_id))
        with self._database.write() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                raise UnknownItemError(f"there is no key {key_id}: `kith keys list` shows those that are")
            if row.revoked is None:
                values = {"revoked": queries.now()}
                connection.execute(update(table).where(table.c.id == row.id).values(values))
                queries.log(connection, "key-revoke", None, actor, key=row.id)
                row = connection.execute(query).one()
        return _key_of(row)

    def any(self) -> bool:
        """Whether there is a key that is good."""
        query = select(schema.api_keys.c.id).where(schema.api_keys.c.revoked.is_(None)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).scalar() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key_of(row: Any) -> ApiKey:
    scopes = unpack_json(row.scopes, f"key {row.id}", f"`kith keys revoke {row.id}` and make another")
    return ApiKey(row.id, row.name, frozenset(scopes), row.created, row.revoked)
