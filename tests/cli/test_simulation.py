"""kith simulate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.cli.simulation import _repeated
from openkith.data.trials import read_trials

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path]) -> Path:
    """A folder per person, two recordings each."""
    root = tmp_path_factory.mktemp("corpus")
    for person in range(4):
        for take in range(2):
            record(person, take, root / f"p{person}" / f"{take}.wav", 0.5)
    return root


@pytest.fixture(scope="module")
def trials(corpus: Path) -> Path:
    lines = [f"1 p{k}/0.wav p{k}/1.wav\n0 p{(k + 1) % 4}/0.wav p{k}/1.wav\n" for k in range(4)]
    path = corpus.parent / "trials.txt"
    path.write_text("".join(lines))
    return path


def test_a_run(kith: Run, corpus: Path, trials: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = (
        "--root",
        corpus,
        "--out",
        out,
        "--workers",
        1,
        "--seed",
        3,
        "--snr",
        "-3:0",
        "--overlap",
        "0.4:0.6",
    )
    result = kith("simulate", trials, *given, "--scenarios", "clean", "overlap", "--scenarios", "noisy,mix")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"16 files of 4 test utterances in {out}: 16 now; ")
    assert lines[0].endswith(" files/s")
    assert [line.split()[0] for line in lines[1:]] == ["scenario", "clean", "noisy", "overlap", "mix"]
    assert lines[-1].split() == ["mix", str(out / "mix.txt"), str(out / "mix.tsv")]
    assert len(read_trials(out / "overlap.txt")) == 8
    header, *rows = ((out / "overlap.tsv").read_text()).splitlines()
    for row in rows:
        cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
        assert -3 <= float(cells["snr"]) <= 0
        assert 0.4 <= float(cells["overlap"]) <= 0.6
    again = kith("--json", "simulate", trials, *given, "--scenarios", "clean,noisy,overlap,mix")
    data = json.loads(again.stdout)
    assert {
        key: data[key] for key in ("files", "written", "before", "bad", "trials", "left_out", "errors")
    } == {
        "files": 16,
        "written": 16,
        "before": 16,
        "bad": 0,
        "trials": 8,
        "left_out": 0,
        "errors": None,
    }
    assert data["scenarios"] == ["clean", "noisy", "overlap", "mix"]


def test_embedded_and_scored(kith: Run, corpus: Path, trials: Path, tmp_path: Path) -> None:
    """files.tsv names all that the lists need, as the lists name it."""
    out, embeddings = tmp_path / "out", tmp_path / "emb"
    kith("simulate", trials, "--root", corpus, "--out", out, "--workers", 1, "--scenarios", "noisy")
    result = kith("embed", out / "files.tsv", "--out", embeddings, "--workers", 1)
    assert result.exit_code == 0, result.stderr
    scored = kith("score", out / "noisy.txt", "--embeddings", embeddings)
    assert scored.exit_code == 0, scored.stderr
    assert len(scored.stdout.splitlines()) >= 8


def test_bad_files(kith: Run, corpus: Path, trials: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text(trials.read_text() + "1 p0/0.wav p0/gone.wav\n")
    out = tmp_path / "out"
    result = kith("simulate", more, "--root", corpus, "--out", out, "--workers", 1, "--scenarios", "clean")
    assert result.exit_code == 0
    assert result.stderr == (
        f"kith: 1 files could not be used, and 1 trials are left out; {out / 'errors.tsv'} says why\n"
    )
    assert (out / "errors.tsv").read_text() == (
        "path\treason\ttrials\np0/gone.wav\tno such file; check the path\t1\n"
    )
    assert len(read_trials(out / "clean.txt")) == 8


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--scenarios", "loud"), "scenario 'loud' is unknown; use clean, noisy, concat, overlap, mix"),
        (("--snr", "3"), ""),
        (("--snr", "loud"), "--snr 'loud' is not LOW:HIGH"),
        (("--snr", "3:-3"), "snr is 3 to -3; give two numbers, the smaller one first"),
        (("--overlap", "0.1:1.9"), "overlap is 0.1 to 1.9; give shares above 0 and up to 1"),
        (("--seed", "-1"), "seed is -1"),
        (("--workers", "0"), "workers is 0; give 1 or more"),
        (("--noise", "gone"), "gone: no such folder"),
        (("--interferers", "gone"), "gone: no such folder"),
        (("--rooms", "2"), "rooms is 2"),
    ],
)
def test_bad_input(
    kith: Run, only_line: Run, corpus: Path, trials: Path, tmp_path: Path, args: tuple[str, ...], says: str
) -> None:
    out = tmp_path / "out"
    result = kith("simulate", trials, "--root", corpus, "--out", out, "--workers", 1, *args)
    if not says:  # one number is both ends
        assert result.exit_code == 0
        return
    assert says in only_line(result)
    assert not out.exists()


def test_bad_lists(kith: Run, only_line: Run, corpus: Path, trials: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    for text, says in (
        ("1 0.wav 1.wav\n", f"{bad}:1: 0.wav: is in no speaker's folder"),
        ("1 p0/0.wav p1/1.wav\n", f"{bad}:1: label 1, and the folders say p0 and p1"),
        ("1 p0/0.wav\n", f"{bad}:1: 2 fields, not 3"),
    ):
        bad.write_text(text)
        assert says in only_line(kith("simulate", bad, "--root", corpus, "--out", tmp_path / "out"))
    missing = kith("simulate", trials, "--root", tmp_path / "gone", "--out", tmp_path / "out")
    assert "gone: no such folder" in only_line(missing)


def test_names_after_the_option() -> None:
    for given, meant in (
        ("t --scenarios clean mix --seed 1", "t --scenarios clean --scenarios mix --seed 1"),
        ("--scenarios clean,mix noisy t.txt mix", "--scenarios clean,mix --scenarios noisy t.txt mix"),
        ("--scenarios mix -- mix", "--scenarios mix -- mix"),
        ("mix --seed 1", "mix --seed 1"),
    ):
        assert _repeated(given.split()) == meant.split()
