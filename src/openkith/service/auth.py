"""Who is asking: API keys, and what stands in their place while a daemon on loopback has none."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from openkith.gallery.api_keys import SCOPES, ApiKeys
from openkith.service import problems
from openkith.service.limits import Buckets, overloaded
from openkith.service.problems import ProblemError

__all__ = ["Caller", "Keyring", "bearer_key", "needs"]

CACHE_SECONDS = 1.0  # within which a key that was revoked stops working
CACHED_KEYS = 1000
GUESSES, GUESS_RATE = 10.0, 0.5  # wrong keys from one address: at once, and a second
NO_KEYS_ACTOR = "http"  # of the audit log, while there are no keys
SCHEME = HTTPBearer(
    auto_error=False, description="An API key of `kith keys create`. Needed as soon as there is one."
)


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        actor: What the audit log calls them.
        scopes: What they may do.
    """

    actor: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the scope is theirs; "admin" has all."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Refuse what is not theirs.

        Raises:
            ProblemError: 403.
        """
        if not self.may(scope):
            held = ", ".join(sorted(self.scopes)) or "none"
            raise ProblemError(problems.FORBIDDEN, f"this needs the scope {scope!r}; the key has: {held}")


ANYBODY = Caller(NO_KEYS_ACTOR, frozenset(SCOPES))


class Keyring:
    """The gallery's keys, looked up again every second.

    Args:
        keys: Where they are kept.
        loopback: Whether the daemon listens on loopback alone: then nobody needs a key while there is none. A daemon
            that others can reach answers nobody once its last key is revoked.
        limited: Whether an address may guess but so many keys.
    """

    def __init__(self, keys: ApiKeys, *, loopback: bool, limited: bool = True) -> None:
        self._keys, self._loopback = keys, loopback
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._guesses = Buckets(GUESS_RATE if limited else 0.0, GUESSES)
        self._open: tuple[bool, float] = (False, 0.0)

    @property
    def opened(self) -> bool | None:
        """Whether no key is needed; None: that must be looked up, by `look`."""
        is_open, until = self._open
        return is_open if time.monotonic() < until else None

    def look(self) -> bool:
        """As `opened`, from the gallery."""
        is_open = self._loopback and not self._keys.any()
        self._open = (is_open, time.monotonic() + CACHE_SECONDS)
        return is_open

    def known(self, key: str | None) -> Caller | None:
        """Whose key it is, if that was looked up within a second; nothing here waits for the database."""
        if self.opened:
            return ANYBODY
        if key is None:
            return None
        with self._lock:
            caller, until = self._known.get(_digest(key), (None, 0.0))
        return caller if time.monotonic() < until else None

    def check(self, key: str | None, peer: str) -> Caller:
        """Whose key it is.

        Args:
            key: As it was sent.
            peer: Address of the sender, who has but so many guesses.

        Raises:
            ProblemError: 401: there is none, or it is no key of this gallery, or was revoked; 429 after many of these.
        """
        is_open = self.opened
        if self.look() if is_open is None else is_open:
            return ANYBODY
        if key is None:
            raise _no_key("send an API key: Authorization: Bearer kith_...")
        found = self._keys.check(key)
        if found is None:
            wait = self._guesses.take(peer)
            if wait:
                raise overloaded(wait, "too many wrong keys")
            raise _no_key("this is no key of the gallery, or it was revoked; kith keys list shows them")
        caller = Caller(f"key {found.id}", frozenset(found.scopes))
        with self._lock:
            self._known[_digest(key)] = (caller, time.monotonic() + CACHE_SECONDS)
            while len(self._known) > CACHED_KEYS:
                self._known.popitem(last=False)
        return caller


def bearer_key(header: str | None) -> str | None:
    """The key in an ``Authorization`` header; None where there is none."""
    scheme, _, key = (header or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


class needs:  # noqa: N801  (reads as a word: Depends(needs("enrol")))
    """A dependency: the caller, who has a scope.

    Args:
        scope: One of `openkith.gallery.api_keys.SCOPES`.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(self, request: Request, _documented: Annotated[object, Depends(SCHEME)]) -> Caller:
        """The caller that `openkith.service.gate` found.

        Raises:
            ProblemError: 403.
        """
        caller: Caller = request.state.caller
        caller.require(self.scope)
        return caller


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _no_key(detail: str) -> ProblemError:
    return ProblemError(problems.NO_KEY, detail, headers={"WWW-Authenticate": 'Bearer realm="openkith"'})
