"""The folder that embeddings are written to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.bulk.parts import Measures, Outcome, write_part
from openkith.bulk.reading import read_embeddings
from openkith.bulk.store import EmbeddingStore, StoreConfig, read_config
from openkith.errors import ConfigError, EncoderMismatchError, InputError

Contents = Callable[[Path], dict[str, bytes]]
CONFIG = StoreConfig(encoder="fake", fingerprint="fake/1", dim=4, format="safetensors", source="/corpus")
STAGES = ("write", "index", "errors", "note")


def outcome(name: str, number: int = 0, error: str = "") -> Outcome:
    vector = None if error else np.full(4, number, np.float32)
    return Outcome(
        f"{name}.wav",
        f"/c/{name}.wav",
        "ann",
        vector,
        None if error else Measures(1.5, 1.25, 20, 0.001, 7000),
        error,
    )


SHARDS = (
    [outcome("a", 1), outcome("b", 2)],
    [outcome("c", error="no audio"), outcome("d", 4)],
    [outcome("e", error="empty file")],
    [outcome("f", 6)],
)


def fill(folder: Path, config: StoreConfig = CONFIG) -> None:
    """Commit every shard that is not done yet."""
    with EmbeddingStore(folder, config) as store:
        for shard in SHARDS:
            if shard[0].utterance not in store.done:
                store.commit(shard)
        store.finish()


def test_tables(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    assert (tmp_path / "out" / "index.tsv").read_text().splitlines() == [
        "utterance\tpath\tspeaker\tshard\trow\tseconds\tspeech_seconds\tsnr_db\tclipped\tbandwidth_hz",
        *(
            f"{name}.wav\t/c/{name}.wav\tann\tembeddings-0000{shard}.safetensors\t{row}"
            "\t1.500\t1.25\t20.0\t0.00100\t7000"
            for name, shard, row in (("a", 0, 0), ("b", 0, 1), ("d", 1, 0), ("f", 2, 0))
        ),
    ]
    assert (tmp_path / "out" / "errors.tsv").read_text().splitlines() == [
        "path\treason\tutterance",
        "/c/c.wav\tno audio\tc.wav",
        "/c/e.wav\tempty file\te.wav",
    ]
    assert read_config(tmp_path / "out") == CONFIG
    assert not (tmp_path / "out" / ".parts").exists()
    with EmbeddingStore(tmp_path / "out", CONFIG) as store:
        assert store.done == {f"{name}.wav" for name in "abcdef"}
        assert (store.n_embedded, store.n_bad) == (4, 2)


@pytest.mark.parametrize("form", ["safetensors", "npy-tree", "kaldi"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_stop_at_any_moment(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch, form: str, stage: str, at: int
) -> None:
    """Shard `at` gets as far as a stage and no further; the next run leaves what an undisturbed one does."""
    config = replace(CONFIG, format=form)
    undisturbed, out = tmp_path / "a" / "out", tmp_path / "b" / "out"  # paths stand in scp files
    fill(undisturbed, config)
    commits = iter(range(len(SHARDS)))
    begun = [-1]

    def stop(where: str) -> None:
        if begun[0] == at and where == stage:
            raise KeyboardInterrupt

    commit, append, note = EmbeddingStore.commit, EmbeddingStore._append, EmbeddingStore._note

    def watched_commit(self: EmbeddingStore, outcomes: list[Outcome]) -> None:
        begun[0] = next(commits)
        if stage == "write" and begun[0] == at:
            numbers = [each for each in outcomes if each.vector is not None]
            vectors = np.stack([each.vector for each in numbers]) if numbers else None
            if vectors is not None:  # the files are there, and nothing tells of them
                self._format.write(self.folder, self._shards, [each.utterance for each in numbers], vectors)
        stop("write")
        commit(self, outcomes)

    def watched_append(self: EmbeddingStore, name: str, text: str) -> None:
        if begun[0] == at and name.startswith(stage) and text:
            append(self, name, text[: len(text) // 2])  # torn
        stop(name.partition(".")[0])
        append(self, name, text)

    def watched_note(self: EmbeddingStore) -> None:
        if begun[0] == at and stage == "note":
            self._journal.write(b'{"shards": 9')  # torn
            self._journal.flush()
        stop("note")
        note(self)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "commit", watched_commit)
        patch.setattr(EmbeddingStore, "_append", watched_append)
        patch.setattr(EmbeddingStore, "_note", watched_note)
        with pytest.raises(KeyboardInterrupt):
            fill(out, config)
    assert contents(out) != contents(undisturbed)
    fill(out, config)
    assert contents(out) == contents(undisturbed)


def test_a_run_that_has_not_ended_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with EmbeddingStore(folder, CONFIG) as store:
        with pytest.raises(InputError, match="no embeddings in it yet"):
            read_embeddings(folder)
        store.commit(SHARDS[0])
        with (folder / "index.tsv").open("a") as file:
            file.write("c.wav\t/c/c.wav\tann\tembedd")  # of a shard that is not finished
        assert read_embeddings(folder).utterances == ("a.wav", "b.wav")


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"encoder": "other", "fingerprint": "other/1"}, EncoderMismatchError, "holds embeddings of fake"),
        ({"fingerprint": "fake/2"}, EncoderMismatchError, "this encoder is fake .fake/2."),
        ({"crops": 10}, ConfigError, "was begun with crops None, and this run has 10"),
        ({"format": "kaldi"}, ConfigError, "was begun with format 'safetensors'"),
        ({"vad": "none"}, ConfigError, "was begun with vad 'webrtc'"),
        ({"source": "/other"}, ConfigError, "was begun with source '/corpus'"),
        ({"precision": "bfloat16"}, ConfigError, "was begun with precision 'float32'"),
    ],
)
def test_another_run_into_the_folder(
    tmp_path: Path, contents: Contents, changed: dict[str, object], error: type[Exception], said: str
) -> None:
    fill(tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(error, match=said) as raised:
        EmbeddingStore(tmp_path / "out", replace(CONFIG, **changed))
    assert "\n" not in str(raised.value)
    assert contents(tmp_path / "out") == before


def test_two_runs_at_once(tmp_path: Path) -> None:
    with (
        EmbeddingStore(tmp_path / "out", CONFIG),
        pytest.raises(InputError, match="another run writes there"),
    ):
        EmbeddingStore(tmp_path / "out", CONFIG)
    EmbeddingStore(tmp_path / "out", CONFIG).__exit__()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match="has something else in it"):
        EmbeddingStore(tmp_path / "full", CONFIG)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        EmbeddingStore(tmp_path / "file", CONFIG)
    fill(tmp_path / "out")
    (tmp_path / "out" / "index.tsv").write_text("utterance\n")
    with pytest.raises(InputError, match=r"index.tsv: is shorter than the run left it"):
        EmbeddingStore(tmp_path / "out", CONFIG)
    (tmp_path / "out" / "journal.jsonl").write_text("once upon a time\n")
    with pytest.raises(InputError, match=r"journal.jsonl: damaged"):
        EmbeddingStore(tmp_path / "out", CONFIG)
    for text in ("", "[]", '{"kind": "plda"}', '{"kind": "embeddings", "version": 99}'):
        (tmp_path / "out" / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"config\.json: not a folder of kith embed"):
            EmbeddingStore(tmp_path / "out", CONFIG)


def test_retry(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    with EmbeddingStore(tmp_path / "out", CONFIG) as store:
        store.retry()
        assert store.done == {"a.wav", "b.wav", "d.wav", "f.wav"}
        store.commit([outcome("c", 3), outcome("e", error="still empty")])
        assert (store.n_embedded, store.n_bad) == (5, 1)
    errors = (tmp_path / "out" / "errors.tsv").read_text().splitlines()
    assert errors[1:] == ["/c/e.wav\tstill empty\te.wav"]
    assert json.loads((tmp_path / "out" / "journal.jsonl").read_text().splitlines()[-1])["shards"] == 4


def test_a_damaged_part_is_embedded_again(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "out", CONFIG) as store:
        good, damaged = write_part(store.parts, SHARDS[0]), write_part(store.parts, SHARDS[1])
        damaged.write_bytes(b"")
        assert store.found_parts() == dict.fromkeys(["a.wav", "b.wav"], good)
        assert not damaged.exists()
