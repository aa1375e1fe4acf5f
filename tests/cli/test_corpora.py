"""embed, score and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import load
from openkith.bulk.reading import read_embeddings
from openkith.data.trials import Trial, write_trials
from openkith.metrics import cllr, eer, min_dcf

Run = Callable[..., Any]


@pytest.fixture
def embedded(kith: Run, tree: Path, tmp_path: Path) -> Path:
    """Embeddings of two people with four clips each."""
    result = kith("embed", tree, "--out", tmp_path / "emb", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    return tmp_path / "emb"


@pytest.fixture
def trials(tmp_path: Path, embedded: Path) -> Path:
    names = read_embeddings(embedded).utterances
    path = tmp_path / "trials.txt"
    write_trials(path, [Trial(a[:2] == b[:2], a, b) for a in names for b in names if a != b])
    return path


def test_embed(kith: Run, tree: Path, tmp_path: Path, bands: Any) -> None:
    out = tmp_path / "emb"
    result = kith("embed", tree, "--out", out, "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"8 embeddings of bands (28 numbers each) in {out}: 8 now; ")
    held = read_embeddings(out)
    assert held.speakers == ("p0",) * 4 + ("p1",) * 4
    assert held.fingerprint == bands.fingerprint
    again = kith("embed", tree, "--out", out, "--workers", 1)
    assert ": 0 now, 8 before; " in again.stdout


def test_embed_json(kith: Run, tree: Path, tmp_path: Path) -> None:
    options = ("--format", "npy-tree", "--crops", 3, "--crop-seconds", 0.5, "--no-quality", "--vad", "none")
    result = kith("embed", tree, "--out", tmp_path / "emb", "--workers", 1, *options, "--json")
    data = json.loads(result.stdout)
    assert {key: data[key] for key in ("files", "embedded", "before", "bad", "errors", "encoder", "dim")} == {
        "files": 8,
        "embedded": 8,
        "before": 0,
        "bad": 0,
        "errors": None,
        "encoder": "bands",
        "dim": 28,
    }
    assert np.load(next((tmp_path / "emb").rglob("*.npy"))).shape == (3, 28)
    config = json.loads((tmp_path / "emb" / "config.json").read_text())
    assert (config["crops"], config["crop_seconds"], config["vad"]) == (3, 0.5, "none")
    assert config["quality"] is False


def test_embed_crops_for_enhancement(kith: Run, tree: Path, tmp_path: Path, bands: Any) -> None:
    """As enhancement reads them: a file for each utterance, (10, d), the encoder over evenly spaced crops."""
    out = tmp_path / "emb"
    options = ("--crops", 10, "--crop-seconds", 1.25, "--vad", "none", "--no-quality", "--workers", 1)
    assert kith("embed", tree, "--out", out, *options).exit_code == 0
    clips = sorted(tree.rglob("*.wav"))
    assert len(clips) == 8
    for clip in clips:
        crops = np.load(out / clip.relative_to(tree).with_suffix(".npy"))
        assert crops.shape == (10, 28)
        audio = load(clip)
        starts = [place * (len(audio.samples) - 20_000) // 9 for place in range(10)]
        cut = [replace(audio, samples=audio.samples[start : start + 20_000]) for start in starts]
        np.testing.assert_allclose(crops, bands.embed(cut), atol=1e-6)
        assert not np.allclose(crops[0], crops[9], atol=1e-3)
    config = json.loads((out / "config.json").read_text())
    assert (config["format"], config["crops"], config["crop_seconds"]) == ("npy-tree", 10, 1.25)


def test_embed_with_a_bad_file(kith: Run, record: Run, tmp_path: Path) -> None:
    corpus, out = tmp_path / "c", tmp_path / "emb"
    record(0, 0, corpus / "ann" / "0.wav")
    (corpus / "ann" / "1.wav").write_bytes(b"\0" * 99)
    result = kith("embed", corpus, "--out", out)
    assert result.exit_code == 0
    assert result.stderr == f"kith: 1 of 2 files could not be embedded; {out / 'errors.tsv'} says why\n"
    record(0, 1, corpus / "ann" / "1.wav")
    result = kith("embed", corpus, "--out", out, "--retry")
    assert (result.exit_code, result.stderr) == (0, "")
    assert ": 1 now, 1 before; " in result.stdout


def test_embed_refuses_in_one_line(
    kith: Run, only_line: Run, tree: Path, embedded: Path, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.wav").write_bytes(b"")
    for args, said in (
        ((tree, "--out", embedded, "--crops", 10), "was begun with crops None, and this run has 10"),
        (
            (tree, "--out", tmp_path / "x", "--encoder", "magic", "--workers", 1),
            "no encoder is named 'magic'",
        ),
        ((tree, "--out", tmp_path / "x", "--format", "hdf5"), "format is 'hdf5'"),
        ((tree, "--out", tmp_path / "x", "--workers", 0), "workers is 0"),
        ((tree, "--out", tmp_path / "x", "--batch", 0), "batch is 0"),
        ((tmp_path / "nope", "--out", tmp_path / "x"), "cannot read"),
        ((tmp_path / "c", "--out", tmp_path / "x"), "none of 1 files could be embedded"),
    ):
        assert said in only_line(kith("embed", *args))


def test_score_and_metrics(kith: Run, trials: Path, embedded: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.tsv"
    result = kith("score", trials, "--embeddings", embedded, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"56 trials of 8 utterances: cosine; {out}\n"
    header, *lines = (line.split("\t") for line in out.read_text().splitlines())
    assert header == ["enrol", "test", "score", "label"]
    assert [f"{line[3]} {line[0]} {line[1]}" for line in lines] == trials.read_text().splitlines()

    printed = kith("score", trials, "--embeddings", embedded)
    assert printed.stdout == out.read_text()

    scores = np.array([float(line[2]) for line in lines])
    targets = np.array([line[3] == "1" for line in lines])
    data = json.loads(kith("metrics", out, "--llr", "--json").stdout)
    assert data["eer"] == eer(scores[targets], scores[~targets])
    assert data["min_dcf"] == {str(p): min_dcf(scores[targets], scores[~targets], p) for p in (0.01, 0.1)}
    assert data["cllr"] == cllr(scores[targets], scores[~targets])
    assert (data["n_trials"], data["n_targets"], data["n_nontargets"]) == (56, 24, 32)
    table = kith("metrics", out, "--p-target", 0.05).stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == ["EER", "minDCF,", "minCllr", "56"]
    assert "P = 0.05" in table[2]
    assert [line.split()[0] for line in kith("metrics", out, "--llr").stdout.splitlines()[1:]] == [
        *("EER", "minDCF,", "minDCF,", "actDCF,", "actDCF,", "Cllr", "minCllr", "56")
    ]


def test_score_with_a_cohort_and_a_model(
    kith: Run, record: Run, trials: Path, embedded: Path, tmp_path: Path
) -> None:
    for person in range(10, 16):
        for take in range(2):
            record(person, take, tmp_path / "others" / f"q{person}" / f"{take}.wav")
    cohort, model, out = tmp_path / "cohort", tmp_path / "model", tmp_path / "scores.tsv"
    assert kith("embed", tmp_path / "others", "--out", cohort).exit_code == 0
    options = ("--as-norm", cohort, "--top", 10, "--plda", cohort, "--save-plda", model, "--out", out)
    data = json.loads(kith("score", trials, "--embeddings", embedded, *options, "--json").stdout)
    assert data == {
        "out": str(out),
        "method": "plda + as-norm",
        "trials": 56,
        "utterances": 8,
        "targets": 24,
    }
    first = out.read_text()
    kith("score", trials, "--embeddings", embedded, *options[:4], "--plda", model, "--out", out)
    assert out.read_text() == first


def test_score_and_metrics_refuse_in_one_line(
    kith: Run, only_line: Run, trials: Path, embedded: Path, tmp_path: Path
) -> None:
    missing, wrong = tmp_path / "missing.txt", tmp_path / "wrong.tsv"
    missing.write_text(trials.read_text() + "1 gone.wav gone.wav\n")
    wrong.write_text("a b 0.5 1\na b high 0\n")
    for args, said in (
        (("score", missing, "--embeddings", embedded), f"{missing}:57: no embedding of 'gone.wav'"),
        (("score", trials, "--embeddings", tmp_path / "nope"), "no such folder of embeddings"),
        (("score", trials, "--embeddings", embedded, "--json"), "give the scores a file with --out"),
        (("score", trials, "--embeddings", embedded, "--out", tmp_path / "no" / "x"), "there is no folder"),
        (("score", trials, "--embeddings", embedded, "--top", 20), "top and speaker_means are of the cohort"),
        (("score", tmp_path / "nope", "--embeddings", embedded), "cannot read"),
        (("metrics", wrong), f"{wrong}:2: field 'score': 'high' is not a number"),
        (("metrics", tmp_path / "nope"), "cannot read"),
    ):
        assert said in only_line(kith(*args))
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_in_processes_of_its_own(start: Run, ge2e: Any, tree: Path, tmp_path: Path) -> None:  # noqa: ARG001
    args = ("embed", tree, "--out", tmp_path / "emb", "--batch", 2, "--workers", 2)
    done = start(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("8 embeddings of ge2e (256 numbers each)")
