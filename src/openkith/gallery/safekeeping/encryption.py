"""Encryption at rest of what a voice can be recognised by: embeddings, tuned heads and kept recordings.

AES-256 in Galois/counter mode (NIST SP 800-38D) with a random nonce of 96 bits for each value. A sealed value is::

    magic (8 bytes) | key id (8) | nonce (12) | ciphertext | tag (16)

and authenticates, beside the ciphertext, its magic, its key id and its context: the table, the column and the row
that it belongs to. A value that was changed, or put in the place of another one, does not open. With random nonces a
key should seal fewer than 2**32 values (section 8.3 there), which no gallery comes near.

Names, dates, measurements, the names of files and the SHA-256 of recordings are not encrypted: they are what the
database searches by. An encrypted disk covers those.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Column, Connection, Table, delete, insert, select

from openkith.errors import ConfigError, EncryptionError, require
from openkith.gallery import schema
from openkith.gallery.codec import pack_json, unpack_json

__all__ = [
    "KEY_BYTES",
    "KEY_FILE_VARIABLE",
    "KEY_SETTING",
    "KEY_VARIABLE",
    "MAGIC",
    "SEALED",
    "Cipher",
    "Key",
    "KeySource",
    "Sealing",
    "context_of",
    "is_sealed",
    "make_key_file",
    "read_key",
    "read_key_file",
    "store_key_id",
    "stored_key_id",
]

Stored = TypeVar("Stored", bytes, str)

KEY_BYTES = 32  # AES-256
KEY_ID_BYTES = 8
NONCE_BYTES = 12  # the length that GCM is made for
TAG_BYTES = 16
MAGIC = b"KITHenc\x01"  # no safetensors, FLAC or WAV file begins like this
TEXT_PREFIX = "sealed:"  # no JSON text begins like this
KEY_VARIABLE = "KITH_KEY"
KEY_FILE_VARIABLE = "KITH_KEY_FILE"
KEY_SETTING = "encryption"  # row of the settings that names the key of the gallery

MAKE_ONE = "`kith encryption make-key FILE` makes one"

# Every encrypted column, with the column that names its row: together they are the context of a value.
SEALED: tuple[tuple[Table, Column[object], Column[object]], ...] = (
    (schema.clips, schema.clips.c.arrays, schema.clips.c.sha256),
    (schema.clips, schema.clips.c.audio, schema.clips.c.sha256),
    (schema.heads, schema.heads.c.config, schema.heads.c.revision),
    (schema.heads, schema.heads.c.arrays, schema.heads.c.revision),
    (schema.review_clips, schema.review_clips.c.arrays, schema.review_clips.c.sha256),
    (schema.review_clips, schema.review_clips.c.audio, schema.review_clips.c.sha256),
)


class KeySource(enum.Enum):
    """Where a gallery's key comes from, where it is not given itself."""

    ENVIRONMENT = "environment"
    NOWHERE = (
        "nowhere"  # for moving and describing a gallery; its encrypted values can be neither read nor written
    )


Key = (
    bytes | KeySource | None
)  # the key itself, or where it comes from; None: the gallery is to be a plain one


class Cipher:
    """Seals and opens the values of a gallery with one key.

    Args:
        key: 32 random bytes.

    Attributes:
        key_id: The first half of a hash of the key, as 16 hexadecimal digits: it tells keys apart, and says nothing
            about them.

    Raises:
        ConfigError: The key has another length.
        MissingDependencyError: The package cryptography is not installed.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigError(f"an encryption key has {KEY_BYTES} bytes, not {len(key)}: {MAKE_ONE}")
        require("cryptography", "encryption", "an encrypted gallery")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(key)
        digest = hashlib.sha256(b"openkith: id of a key\0" + key).digest()
        self.key_id = digest[:KEY_ID_BYTES].hex()
        self._header = MAGIC + digest[:KEY_ID_BYTES]

    def seal(self, blob: bytes, context: str) -> bytes:
        """The bytes encrypted, bound to their place."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self._header + nonce + self._aead.encrypt(nonce, blob, self._header + context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """The bytes of a sealed value.

        Raises:
            EncryptionError: They are not encrypted, are encrypted with another key, were changed, or come from another
                place.
        """
        from cryptography.exceptions import InvalidTag

        if not is_sealed(sealed):
            raise EncryptionError(
                f"{context}: is not encrypted, and the gallery was when it was opened: open it again; if that "
                "changes nothing, somebody put it there, and a backup has what was there before"
            )
        if not sealed.startswith(self._header):
            other = sealed[len(MAGIC) : len(self._header)].hex()
            raise EncryptionError(
                f"{context}: is encrypted with key {other}, and the gallery was opened with {self.key_id}: start "
                f"again with {KEY_FILE_VARIABLE} naming the file of that key"
            )
        start = len(self._header)
        nonce, ciphertext = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, self._header + context.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: too short to have a nonce
            raise EncryptionError(
                f"{context}: does not open: it was damaged or put in another's place; restore a backup"
            ) from error

    def seal_text(self, text: str, context: str) -> str:
        """A text encrypted, as text."""
        return TEXT_PREFIX + base64.b64encode(self.seal(text.encode(), context)).decode()

    def unseal_text(self, sealed: str, context: str) -> str:
        """The text of a sealed one.

        Raises:
            EncryptionError: As of `unseal`.
        """
        return self.unseal(text_to_bytes(sealed), context).decode()


class Sealing:
    """What an open gallery does with values that are encrypted, where it is: one key, from opening to closing.

    Args:
        key: The key, or where it comes from.
        label: What messages call the gallery.

    Raises:
        ConfigError: The environment's key is none, or is open to other users.
        MissingDependencyError: There is a key, and the package cryptography is not installed.
    """

    def __init__(self, key: Key, label: str) -> None:
        self._label = label
        self._keyless = key is KeySource.NOWHERE
        given = read_key() if key is KeySource.ENVIRONMENT else key
        self._cipher = Cipher(given) if isinstance(given, bytes) else None

    @property
    def key_id(self) -> str | None:
        """The id of the key; None where there is none."""
        return None if self._cipher is None else self._cipher.key_id

    def check(self, connection: Connection) -> None:
        """Refuse a gallery that is encrypted otherwise than this process was told.

        Raises:
            EncryptionError: It is encrypted with another key, or with none while one was given, or the other way round.
        """
        if self._keyless:
            return
        stored, given = stored_key_id(connection), self.key_id
        if stored == given:
            return
        where = f"{KEY_FILE_VARIABLE} (or {KEY_VARIABLE})"
        if stored is None:
            raise EncryptionError(
                f"{self._label}: a key was given, and the gallery is not encrypted: `kith encryption rotate` encrypts "
                f"it, or unset {where}"
            )
        other = "" if given is None else f", not with {given}"
        raise EncryptionError(
            f"{self._label}: the gallery is encrypted with key {stored}{other}: start again with {where} set to "
            "that key"
        )

    def seal(self, blob: bytes, context: str) -> bytes:
        """As `Database.seal`."""
        self._refuse_keyless()
        return blob if self._cipher is None else self._cipher.seal(blob, context)

    def unseal(self, blob: bytes, context: str) -> bytes:
        """As `Database.unseal`."""
        self._refuse_keyless()
        try:
            return _plain(blob, context) if self._cipher is None else self._cipher.unseal(blob, context)
        except EncryptionError as error:
            raise EncryptionError(f"{self._label}: {error}") from error

    def seal_text(self, text: str, context: str) -> str:
        """As `Database.seal_text`."""
        self._refuse_keyless()
        return text if self._cipher is None else self._cipher.seal_text(text, context)

    def unseal_text(self, text: str, context: str) -> str:
        """As `Database.unseal_text`."""
        self._refuse_keyless()
        try:
            return _plain(text, context) if self._cipher is None else self._cipher.unseal_text(text, context)
        except EncryptionError as error:
            raise EncryptionError(f"{self._label}: {error}") from error

    def _refuse_keyless(self) -> None:
        if self._keyless:
            raise EncryptionError(f"{self._label}: the gallery was opened without its key: open it with one")


def _plain(value: Stored, context: str) -> Stored:
    if is_sealed(value):
        raise EncryptionError(
            f"{context}: is encrypted, and the gallery was not when it was opened: start again with "
            f"{KEY_FILE_VARIABLE} naming the file of the key"
        )
    return value


def is_sealed(value: bytes | str) -> bool:
    """Whether a stored value, of bytes or of text, is encrypted."""
    return value.startswith(TEXT_PREFIX) if isinstance(value, str) else value.startswith(MAGIC)


def text_to_bytes(sealed: str) -> bytes:
    """The sealed bytes in a sealed text; what is none gives bytes that no cipher takes for sealed."""
    try:
        return base64.b64decode(sealed.removeprefix(TEXT_PREFIX), validate=True)
    except binascii.Error:
        return b""


def context_of(column: Column[object], row: object) -> str:
    """What a value is bound to: its table and column, and what names its row in them.

    Args:
        column: One of `SEALED`.
        row: The value of the row's naming column: the SHA-256 of a recording, the revision of a head.
    """
    return f"{column.table.name}.{column.name} of {row}"


def read_key(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The key that the environment gives: ``KITH_KEY_FILE`` names a file with it, ``KITH_KEY`` is the key itself.

    Returns:
        32 bytes; None where neither is set.

    Raises:
        ConfigError: Both are set, or what is there is no key, or the file is open to other users.
    """
    file, text = (environment.get(name, "").strip() for name in (KEY_FILE_VARIABLE, KEY_VARIABLE))
    if file and text:
        raise ConfigError(f"{KEY_FILE_VARIABLE} and {KEY_VARIABLE} are both set: unset one of them")
    if file:
        return read_key_file(file)
    return _parse_key(text, KEY_VARIABLE) if text else None


def read_key_file(path: str | Path) -> bytes:
    """The key in a file: 32 bytes in base64.

    Raises:
        ConfigError: There is no such file, what is in it is no key, or other users may read or change it.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(4096)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read ({error.strerror}): {MAKE_ONE}") from error
    if os.name == "posix" and mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(f"{path}: other users may read or change this key: chmod 600 {path}")
    return _parse_key(content.decode("ascii", "replace"), str(path))


def _parse_key(text: str, label: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_" if set(text) & set("-_") else None, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: characters beyond ASCII
        raise ConfigError(f"{label}: this is no key ({KEY_BYTES} bytes in base64): {MAKE_ONE}") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{label}: a key has {KEY_BYTES} bytes in base64, this has {len(key)}: {MAKE_ONE}")
    return key


def make_key_file(path: str | Path) -> bytes:
    """Make a key, in a new file that only its owner may read; returns the key.

    Raises:
        ConfigError: The file is there already, or cannot be written.
    """
    path = Path(path).expanduser()
    key = secrets.token_bytes(KEY_BYTES)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ConfigError(
            f"{path}: is there already, and may be the key of a gallery: name another"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be written ({error.strerror}): name another") from error
    return key


def stored_key_id(connection: Connection) -> str | None:
    """The id of the key that the gallery is encrypted with, by what stands in it; None of a plain gallery."""
    query = select(schema.settings.c.value).where(schema.settings.c.key == KEY_SETTING)
    text = connection.execute(query).scalar()
    if text is None:
        return None
    value = unpack_json(text, f"setting {KEY_SETTING!r}", "restore a backup")
    return str(value.get("key")) if isinstance(value, dict) else ""


def store_key_id(connection: Connection, key_id: str | None) -> None:
    """Say in the gallery which key it is encrypted with; None: that it is plain."""
    connection.execute(delete(schema.settings).where(schema.settings.c.key == KEY_SETTING))
    if key_id is not None:
        value = pack_json({"key": key_id}, KEY_SETTING)
        connection.execute(insert(schema.settings).values(key=KEY_SETTING, value=value))
