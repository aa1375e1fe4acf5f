"""Ciphers, keys and encrypted galleries."""

from __future__ import annotations

import base64
import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Text

from openkith.errors import ConfigError, EncryptionError, MissingDependencyError
from openkith.gallery import Gallery, NewClip, schema
from openkith.gallery.safekeeping import encryption
from openkith.gallery.safekeeping.encryption import (
    SEALED,
    Cipher,
    KeySource,
    context_of,
    is_sealed,
    make_key_file,
    read_key,
    read_key_file,
)

pytest.importorskip("cryptography", reason="cryptography is not installed")

MakeClip = Callable[..., NewClip]
WINDOW = 16  # bytes of a secret that are looked for


@pytest.fixture
def key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def key_file(tmp_path: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the key, which the environment names."""
    path = tmp_path / "key"
    path.write_bytes(base64.b64encode(key))
    path.chmod(0o600)
    monkeypatch.setenv("KITH_KEY_FILE", str(path))
    return path


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_round_trip(key: bytes) -> None:
    cipher = Cipher(key)
    for blob in (b"", b"x", secrets.token_bytes(100_000)):
        sealed = cipher.seal(blob, "clips.arrays of 1")
        assert len(sealed) == len(blob) + 8 + 8 + 12 + 16
        assert cipher.unseal(sealed, "clips.arrays of 1") == blob
        assert cipher.seal(blob, "clips.arrays of 1") != sealed  # another nonce
    text = '{"é": 1}'
    assert cipher.unseal_text(cipher.seal_text(text, "c"), "c") == text


def test_it_is_aes_256_gcm(key: bytes) -> None:
    """Opened here by hand, from the description of the format."""
    from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
    from cryptography.hazmat.primitives.ciphers import algorithms, modes

    sealed = Cipher(key).seal(b"the voice of alice", "clips.arrays of 1")
    header, nonce, ciphertext, tag = sealed[:16], sealed[16:28], sealed[28:-16], sealed[-16:]
    primitive = Primitive(algorithms.AES256(key), modes.GCM(nonce, tag)).decryptor()
    primitive.authenticate_additional_data(header + b"clips.arrays of 1")
    assert primitive.update(ciphertext) + primitive.finalize() == b"the voice of alice"


@pytest.mark.parametrize("at", [20, 30, -1])
def test_a_changed_value_does_not_open(key: bytes, at: int) -> None:
    cipher = Cipher(key)
    sealed = bytearray(cipher.seal(b"the voice of alice", "c"))
    sealed[at] ^= 1
    with pytest.raises(EncryptionError, match="c: does not open"):
        cipher.unseal(bytes(sealed), "c")


@pytest.mark.parametrize("length", [16, 20, 28, 40])
def test_a_short_value_does_not_open(key: bytes, length: int) -> None:
    cipher = Cipher(key)
    with pytest.raises(EncryptionError, match="c: does not open"):
        cipher.unseal(cipher.seal(b"the voice of alice", "c")[:length], "c")


def test_another_place_or_key_does_not_open(key: bytes) -> None:
    cipher, other = Cipher(key), Cipher(secrets.token_bytes(32))
    assert cipher.key_id != other.key_id
    assert cipher.key_id == Cipher(key).key_id
    sealed = cipher.seal(b"the voice of alice", "clips.arrays of 1")
    with pytest.raises(EncryptionError, match="another's place"):
        cipher.unseal(sealed, "clips.arrays of 2")
    with pytest.raises(EncryptionError, match=f"with key {cipher.key_id}, .*with {other.key_id}"):
        other.unseal(sealed, "clips.arrays of 1")
    with pytest.raises(EncryptionError, match="is not encrypted"):
        cipher.unseal(b"the voice of alice", "clips.arrays of 1")
    with pytest.raises(EncryptionError, match="is not encrypted"):
        cipher.unseal_text("{}", "heads.config of 1")
    forged = sealed[:8] + bytes.fromhex(other.key_id) + sealed[16:]
    with pytest.raises(EncryptionError, match="does not open"):
        other.unseal(forged, "clips.arrays of 1")


def test_the_list_of_what_is_encrypted() -> None:
    """Every column of bytes but an answer's body, which holds no voice, and the configs of heads."""
    blobs = {
        (table.name, column.name)
        for table in schema.metadata.tables.values()
        for column in table.columns
        if column.type.python_type is bytes
    }
    assert {(t.name, c.name) for t, c, _ in SEALED} == (blobs - {("answers", "body")}) | {("heads", "config")}
    assert [c.name for _, c, _ in SEALED if isinstance(c.type, Text)] == ["config"]
    assert all(naming.table is table and column.table is table for table, column, naming in SEALED)
    assert context_of(schema.clips.c.arrays, "ab") == "clips.arrays of ab"


# keys


def test_keys_of_the_environment(tmp_path: Path, key: bytes) -> None:
    assert read_key({}) is None
    assert read_key({"KITH_KEY": " ", "KITH_KEY_FILE": ""}) is None
    assert read_key({"KITH_KEY": base64.b64encode(key).decode()}) == key
    assert read_key({"KITH_KEY": base64.urlsafe_b64encode(key).decode() + "\n"}) == key
    made = make_key_file(tmp_path / "key")
    assert len(made) == 32
    assert read_key({"KITH_KEY_FILE": str(tmp_path / "key")}) == made
    with pytest.raises(ConfigError, match="both set"):
        read_key({"KITH_KEY": "x", "KITH_KEY_FILE": "y"})


@pytest.mark.parametrize("text", ["hush", "é" * 44, base64.b64encode(bytes(31)).decode(), "A" * 44 + "!"])
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"KITH_KEY: .*make-key") as caught:
        read_key({"KITH_KEY": text})
    assert text not in one_line(caught)  # a key with a slip of the pen is a secret still
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"{path}: .*make-key"):
        read_key_file(path)


def test_a_key_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key_file(path)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        for mode in (0o644, 0o602, 0o660):
            path.chmod(mode)
            with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
                read_key_file(path)
        path.chmod(0o440)  # a service's group may read it
        assert len(read_key_file(path)) == 32
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        make_key_file(path)
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="cannot be written"):
        make_key_file(tmp_path / "no folder" / "key")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key_file(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key_file(tmp_path)


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(ConfigError, match="32 bytes, not 16"):
        Cipher(bytes(16))


def test_without_cryptography(path: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    Gallery(path).close()  # a plain gallery does not need it
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[encryption\]'"):
        Gallery(path, key=key)


# galleries


def fill(gallery: Gallery, make_clip: MakeClip) -> list[bytes]:
    """Everything that is to be encrypted of a gallery with clips, background, kept audio and a head."""
    rng = np.random.default_rng(5)
    first, second = make_clip("a1", audio=b"fLaC" + rng.bytes(5000)), make_clip("a2")
    background = make_clip("tv")
    gallery.add_background([background], encoder="e")
    gallery.add_clips("alice", [first, second], encoder="e")
    weights = rng.standard_normal((20, 256)).astype(np.float32)
    config = {"centre of alice": "0.125 0.25 0.5 0.75"}
    gallery.save_head("rpl", config, {"W": weights}, encoder="e", revision=gallery.revision())
    secrets = [array.tobytes() for clip in (first, second, background) for array in clip.arrays.values()]
    return [*secrets, first.audio or b"", weights.tobytes(), b"0.125 0.25 0.5 0.75", b"embedding"]


def in_files(path: Path, secrets: list[bytes]) -> list[bool]:
    """Whether any piece of each secret is in the files of a gallery."""
    content = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    return [
        any(secret[at : at + WINDOW] in content for at in range(0, max(1, len(secret) - WINDOW), WINDOW))
        for secret in secrets
    ]


def test_a_new_gallery_is_encrypted_from_the_first_byte(
    path: Path, key_file: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery(path) as gallery:
        secrets = fill(gallery, make_clip)
        assert not any(in_files(path, secrets))
        assert gallery.database.key_id == Cipher(read_key_file(key_file)).key_id
    assert not any(in_files(path, secrets))
    with Gallery(path) as gallery:
        clips, head = gallery.clips("alice"), gallery.head()
        assert head is not None
        np.testing.assert_array_equal(clips[0].arrays["embedding"], make_clip("a1").arrays["embedding"])
        assert gallery.audio(clips[0].id).startswith(b"fLaC")
        assert head.config == {"centre of alice": "0.125 0.25 0.5 0.75"}
        assert head.arrays["W"].shape == (20, 256)
        assert len(gallery.background()) == 1
        gallery.replace_arrays({clip.id: clip.arrays for clip in clips}, "other")
        np.testing.assert_array_equal(gallery.clips()[1].arrays["copies"], make_clip("a2").arrays["copies"])
        assert gallery.forget("alice").clips == 2
    monkeypatch.delenv("KITH_KEY_FILE")
    plain = path.with_name("plain.db")
    with Gallery(plain) as gallery:
        assert gallery.database.key_id is None
        assert all(in_files(plain, fill(gallery, make_clip)))  # the search above would find them


def test_the_wrong_key(path: Path, key: bytes, make_clip: MakeClip) -> None:
    with Gallery(path, key=key) as gallery:
        fill(gallery, make_clip)
        key_id = gallery.database.key_id
    before = path.read_bytes()
    with pytest.raises(
        EncryptionError, match=f"{path}: .*with key {key_id}: start again with KITH_KEY_FILE"
    ) as e:
        Gallery(path, key=None)
    one_line(e)
    other = secrets.token_bytes(32)
    with pytest.raises(EncryptionError, match=f"with key {key_id}, not with {Cipher(other).key_id}") as e:
        Gallery(path, key=other)
    one_line(e)
    assert path.read_bytes() == before


def test_a_plain_gallery_refuses_a_key(path: Path, make_clip: MakeClip, key: bytes) -> None:
    with Gallery(path) as gallery:
        fill(gallery, make_clip)
    with pytest.raises(EncryptionError, match=f"{path}: .*`kith encryption rotate`") as caught:
        Gallery(path, key=key)
    one_line(caught)


def test_without_its_key_a_gallery_gives_and_takes_no_voice(
    path: Path, key: bytes, make_clip: MakeClip
) -> None:
    with Gallery(path, key=key) as gallery:
        fill(gallery, make_clip)
    with Gallery(path, key=KeySource.NOWHERE) as gallery:
        assert [person.name for person in gallery.people()] == ["alice"]
        for call in (gallery.clips, gallery.head, lambda: gallery.audio(gallery.person("alice").id + 1)):
            with pytest.raises(EncryptionError, match="without its key"):
                call()
        with pytest.raises(EncryptionError, match="without its key"):
            gallery.add_clips("bob", [make_clip("b")], encoder="e")


def test_values_cannot_be_put_in_anothers_place(path: Path, key: bytes, make_clip: MakeClip) -> None:
    with Gallery(path, key=key) as gallery:
        fill(gallery, make_clip)
        gallery.add_clips("mallory", [make_clip("m")], encoder="e")
    other = sqlite3.connect(path)
    other.execute(
        "UPDATE clips SET arrays = (SELECT arrays FROM clips WHERE source = 'm.wav') WHERE source = 'a1.wav'"
    )
    other.commit()
    other.close()
    with Gallery(path, key=key) as gallery:
        with pytest.raises(EncryptionError, match=r"gallery\.db: clips\.arrays of .*another's place"):
            gallery.clips("alice")
        assert len(gallery.clips("mallory")) == 1


def test_a_plain_value_in_an_encrypted_gallery_is_refused(
    path: Path, key: bytes, make_clip: MakeClip
) -> None:
    plain = path.with_name("plain.db")
    for where, given in ((plain, None), (path, key)):
        with Gallery(where, key=given) as gallery:
            fill(gallery, make_clip)
    other = sqlite3.connect(path)
    other.execute("ATTACH ? AS plain", (str(plain),))
    other.execute(
        "UPDATE clips SET arrays = (SELECT arrays FROM plain.clips AS p WHERE p.sha256 = clips.sha256)"
    )
    other.execute("UPDATE heads SET config = '{}'")
    other.commit()
    other.close()
    with Gallery(path, key=key) as gallery:
        with pytest.raises(EncryptionError, match="is not encrypted"):
            gallery.clips()
        with pytest.raises(EncryptionError, match="is not encrypted"):
            gallery.head()


def test_sealed_values_are_told_from_plain_ones(key: bytes) -> None:
    cipher = Cipher(key)
    assert is_sealed(cipher.seal(b"", "c"))
    assert is_sealed(cipher.seal_text("", "c"))
    assert not any(map(is_sealed, (b"fLaC", b"RIFF", b"", "{}", "", "null")))


def test_nothing_is_imported_for_a_plain_gallery(path: Path) -> None:
    code = (
        "import sys; from openkith.gallery import Gallery; Gallery(sys.argv[1]).people(); "
        "assert 'cryptography' not in sys.modules"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KITH_KEY")}
    subprocess.run([sys.executable, "-c", code, path], check=True, env=environment)
    assert encryption.KEY_BYTES == 32
