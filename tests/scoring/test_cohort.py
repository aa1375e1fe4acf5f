"""Cohort files, the one that ships, and which labels may be one voice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from openkith.audio.augment import GROUPS
from openkith.encoders.networks.ge2e import GE2E
from openkith.errors import InputError, NotEnoughDataError
from openkith.scoring import (
    AsNorm,
    EmbeddingSet,
    cohort,
    find_cohort,
    load_cohort,
    save_cohort,
    shipped_cohort,
)
from openkith.scoring.base import cohort_needed_message
from openkith.scoring.cohort import (
    SAME_VOICE,
    cohorts_folder,
    user_cohort_path,
    voice_groups,
)

Voices = Callable[..., EmbeddingSet]


@pytest.fixture
def shipped() -> Path:
    return Path(str(resources.files("openkith.scoring") / "cohorts" / "ge2e.safetensors"))


def near(loaded: np.ndarray, saved: np.ndarray) -> None:
    """To half a step of a 127th of the largest number of each embedding."""
    assert loaded.shape == saved.shape
    step = np.abs(saved).max(axis=-1, keepdims=True) / 127
    assert (np.abs(loaded - saved) <= 0.501 * step).all()


def test_saved_and_loaded(voices: Voices, tmp_path: Path) -> None:
    people = voices(4, 3, copies=2)
    many = EmbeddingSet(
        people.embeddings, people.labels + 40_000, people.clips + 70_000, people.groups, people.copies
    )
    save_cohort(tmp_path / "c.safetensors", many, "enc/1", "made up")
    loaded, fingerprint = load_cohort(tmp_path / "c.safetensors")
    assert fingerprint == "enc/1"
    near(loaded.embeddings, people.embeddings)
    for name in ("labels", "clips", "groups", "copies"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(many, name))
        assert getattr(loaded, name).dtype == getattr(people, name).dtype
    with safe_open(tmp_path / "c.safetensors", "numpy") as file:
        assert file.metadata()["source"] == "made up"
        assert file.get_tensor("embeddings").dtype == np.int8


def test_not_a_cohort(voices: Voices, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(InputError, match=r"c\.safetensors: not a cohort file.*kith cohort build DIR"):
        load_cohort(path)
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!")
    with pytest.raises(InputError, match="not a cohort file"):
        load_cohort(path)
    whole = voices(2, 2)
    save_cohort(path, whole, "enc/1", "")
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match="not a cohort file"):
        load_cohort(path)
    save_file({"embeddings": whole.embeddings}, path, metadata={"encoder": "enc/1"})
    with pytest.raises(InputError, match="not a cohort file"):
        load_cohort(path)
    arrays = {
        name: np.ascontiguousarray(getattr(whole, name)).astype(np.float32)
        for name in ("embeddings", "labels", "clips", "groups", "copies")
    }
    save_file(arrays, path, metadata={"encoder": "enc/1"})
    with pytest.raises(InputError, match="scales"):
        load_cohort(path)
    arrays["scales"] = np.ones((len(whole), 1), np.float32)
    save_file(arrays, path)
    with pytest.raises(InputError, match="encoder"):
        load_cohort(path)
    save_file({**arrays, "labels": arrays["labels"][:-1]}, path, metadata={"encoder": "enc/1"})
    with pytest.raises(InputError, match="different lengths"):
        load_cohort(path)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4)])
def test_embeddings_of_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    save_cohort(tmp_path / "c.safetensors", EmbeddingSet.plain(x, np.arange(6)), "enc/1", "")
    loaded, _ = load_cohort(tmp_path / "c.safetensors")
    assert loaded.embeddings.dtype == np.float32
    near(loaded.embeddings, x)


def test_an_embedding_of_zeros_stays_one(tmp_path: Path) -> None:
    x = np.array([[0.0, 0.0], [1e-6, -5e-7]], np.float32)
    save_cohort(tmp_path / "c.safetensors", EmbeddingSet.plain(x, np.arange(2)), "enc/1", "")
    loaded = load_cohort(tmp_path / "c.safetensors")[0].embeddings
    assert not loaded[0].any()
    near(loaded[1:], x[1:])


def test_conditions_are_kept_by_name(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may number them otherwise; one that lacks a condition refuses the file."""
    path = tmp_path / "c.safetensors"
    people = voices(3, 2, copies=2)
    save_cohort(path, people, "enc/1", "")
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["groups"]) == list(GROUPS)
    monkeypatch.setattr(cohort, "GROUPS", ("new", *GROUPS))
    np.testing.assert_array_equal(load_cohort(path)[0].groups, people.groups + 1)
    monkeypatch.setattr(cohort, "GROUPS", GROUPS[:3])
    with pytest.raises(InputError, match="another version"):
        load_cohort(path)


def test_nothing_half_written(voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_cohort(path, voices(2, 2), "enc/1", "first")
    before = path.read_bytes()

    def break_off(arrays: object, name: str, metadata: object) -> None:  # noqa: ARG001
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", break_off)
    with pytest.raises(InputError, match=r"c\.safetensors: cannot write \(No space left"):
        save_cohort(path, voices(3, 2), "enc/1", "second")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    monkeypatch.undo()
    with pytest.raises(InputError, match="cannot write"):
        save_cohort(tmp_path / "no" / "c.safetensors", voices(2, 2), "enc/1", "")


def test_the_shipped_cohort(shipped: Path) -> None:
    assert shipped.stat().st_size < 16_000_000
    with safe_open(shipped, "numpy") as file:
        assert file.get_tensor("embeddings").dtype == np.int8
        assert "CC BY 4.0" in file.metadata()["source"]
    people, fingerprint = load_cohort(shipped)
    assert people.n_speakers == 63
    assert people.embeddings.shape == (len(people), len(GE2E.views), 256)
    np.testing.assert_allclose(np.linalg.norm(people.embeddings, axis=-1), 1, atol=0.01)
    assert np.median([len(np.unique(people.clips[people.labels == label])) for label in range(63)]) >= 2
    assert len(np.unique(people.groups)) > 2
    assert not people.groups[~people.copies].any()
    again = shipped_cohort(fingerprint)
    assert again is not None
    np.testing.assert_array_equal(again.embeddings, people.embeddings)


def test_the_shipped_cohort_is_of_the_default_encoder(ge2e: GE2E) -> None:
    people = shipped_cohort(ge2e.fingerprint)
    assert people is not None
    assert people.embeddings.shape[1:] == (len(ge2e.views), ge2e.dim)


def test_no_cohort_for_another_encoder() -> None:
    assert shipped_cohort("another/encoder") is None


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's cohorts are."""
    monkeypatch.setenv("KITH_COHORTS", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


def test_where_cohorts_are_kept(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    assert cohorts_folder() == kept
    path = user_cohort_path("ge2e/-30dB-repeat/8a18c89b46ea")
    assert path.parent == kept
    assert path.name.startswith("ge2e-30dB-repeat-8a18c89b46ea-")
    others = {user_cohort_path(name) for name in ("a/b", "a-b", "a b", "../../a", "x" * 300, "é/1", "")}
    assert len(others) == 7
    assert all(other.parent == kept and len(other.name) < 80 for other in others)
    monkeypatch.setenv("KITH_COHORTS", " ")
    assert cohorts_folder().name == "cohorts"
    assert "openkith" in str(cohorts_folder())
    monkeypatch.setenv("KITH_COHORTS", "~/there")
    assert cohorts_folder() == Path.home() / "there"


def test_the_users_own_goes_first(voices: Voices, kept: Path, shipped: Path) -> None:
    people, fingerprint = load_cohort(shipped)
    found = find_cohort(fingerprint)
    assert found is not None
    assert len(found) == len(people)
    path = user_cohort_path(fingerprint)
    save_cohort(path, voices(4, 3), fingerprint, "")
    for n_speakers in (4, 5):
        save_cohort(path, voices(n_speakers, 3), fingerprint, "")
        os.utime(path, ns=(n_speakers, n_speakers))
        found = find_cohort(fingerprint)
        assert found is not None
        assert found.n_speakers == n_speakers
    assert find_cohort(fingerprint) is found  # read once
    path.unlink()
    found = find_cohort(fingerprint)
    assert found is not None
    assert len(found) == len(people)
    assert kept.is_dir()


@pytest.mark.usefixtures("kept")
def test_a_cohort_of_the_user_that_is_none(voices: Voices) -> None:
    assert find_cohort("enc/1") is None
    path = user_cohort_path("enc/1")
    path.write_bytes(b"what is this")
    with pytest.raises(InputError, match=r"enc-1-.*not a cohort file.*kith cohort build"):
        find_cohort("enc/1")
    save_cohort(path, voices(4, 3), "enc/2", "")
    with pytest.raises(InputError, match=r"a cohort of enc/2, where one of enc/1 belongs"):
        find_cohort("enc/1")


def test_how_to_get_one(voices: Voices) -> None:
    message = cohort_needed_message("fusion", "resnet34")
    assert message.startswith("fusion needs clips of other people, and there are none")
    assert "run: kith cohort build DIR --encoder resnet34 " in message
    assert "\n" not in message
    for few, cohort_now in ((False, None), (True, voices(1, 1))):
        with pytest.raises(NotEnoughDataError) as raised:
            AsNorm().fit(voices(2, 2), cohort_now)
        assert str(raised.value) == cohort_needed_message("as-norm", few=few)


def test_voices_of_several_views(voices: Voices) -> None:
    people = voices(6, 3, dim=32, spread=0.2)
    views = np.stack([people.embeddings, people.embeddings[:, ::-1]], axis=1)
    several = EmbeddingSet(views, people.labels, people.clips, people.groups, people.copies)
    np.testing.assert_array_equal(voice_groups(several), voice_groups(people))


def test_copies_alone_are_nobodys_voice(voices: Voices) -> None:
    people = voices(3, 2, copies=1)
    copies = people.select(people.copies)
    assert len(np.unique(voice_groups(copies))) == 3
    assert len(voice_groups(people.select(np.zeros(len(people), bool)))) == 0


def test_labels_of_one_voice_are_one_group(voices: Voices) -> None:
    people = voices(6, 3, dim=32, spread=0.2)
    assert len(np.unique(voice_groups(people))) == 6
    labels = people.labels.copy()
    labels[people.clips == 2] = 7  # the third clip of speaker 0 under another name
    twice = EmbeddingSet(people.embeddings, labels, people.clips, people.groups, people.copies)
    groups = voice_groups(twice)
    assert len(np.unique(groups)) == 6
    assert len(np.unique(groups[people.labels == 0])) == 1
    for label in np.unique(labels):
        assert len(np.unique(groups[labels == label])) == 1


@pytest.mark.parametrize("block", [1, 2, 1024])
def test_alike_is_passed_on(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is like 1, 1 is like 2, 0 is not like 2: one group; the fourth is nobody's like; copies are not asked."""
    monkeypatch.setattr(cohort, "_BLOCK", block)
    angles = np.deg2rad([0, 30, 60, 150, 150, 150])
    assert np.cos(angles[1]) > SAME_VOICE > np.cos(angles[2])
    people = EmbeddingSet(
        np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
        np.array([5, 3, 8, 4, 5, 5]),
        np.array([0, 1, 2, 3, 0, 0]),
        np.array([0, 0, 0, 0, 1, 2]),
        np.array([False, False, False, False, True, True]),
    )
    groups = voice_groups(people)
    assert len({groups[i] for i in (0, 1, 2, 4, 5)}) == 1
    assert groups[3] != groups[0]
