"""protocol household, protocol voxceleb and protocol embeddings, and the guide that uses them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.cli.protocol import repeated
from openkith.data import read_manifest

Run = Callable[..., Any]
Clips = dict[tuple[int, int], Path]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("c --targets 5 10 15 --folds 3", "c --targets 5 --targets 10 --targets 15 --folds 3"),
        ("c --targets 5 --folds 3 9", "c --targets 5 --folds 3 9"),
        ("--targets 5 10 c o", "--targets 5 --targets 10 c o"),
        ("c --targets 5 --targets 10 15", "c --targets 5 --targets 10 --targets 15"),
        ("--targets 5 10 -- 3 4", "--targets 5 --targets 10 -- 3 4"),
        ("c --targets", "c --targets"),
        ("c --targets x 5", "c --targets x 5"),
        ("5 10", "5 10"),
    ],
)
def test_numbers_that_follow_an_option(words: str, expected: str) -> None:
    assert repeated(words.split(), "--targets") == expected.split()


# ---- household


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Eight speakers with five clips each, nobody listens to them."""
    root = tmp_path / "voices"
    for person in range(8):
        (root / f"p{person}").mkdir(parents=True)
        for clip in range(5):
            (root / f"p{person}" / f"{clip}.wav").touch()
    return root


def test_the_command_of_the_papers(
    kith: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = kith("protocol", "household", corpus, "--targets", 2, 3, "--unknown", 2, "--folds", 3)
    assert result.exit_code == 0, result.stderr
    files = sorted(path.name for path in (tmp_path / "voices-household").iterdir())
    assert files == [f"voices-0{size}-fold{fold}.tsv" for size in (2, 3) for fold in (1, 2, 3)]
    lines = result.stdout.splitlines()
    assert lines[0] == f"{corpus}: 40 clips, read as folders"
    assert lines[1].split()[:2] == ["manifest", "targets"]
    # 2 people enrol 3 clips each and are tested on 2; two unknown on 5 each; 4 negatives.
    assert lines[2].split() == [
        f"voices-household/{files[0]}",
        *("2", "2", "4", "6", "4", "10", "20"),
    ]
    manifest = read_manifest(tmp_path / "voices-household" / files[-1])
    assert (len(manifest.speakers), len(manifest.unknown_speakers)) == (3, 2)


def test_options_reach_the_household(kith: Run, corpus: Path, tmp_path: Path) -> None:
    result = kith(
        *("--json", "protocol", "household", "--targets", 3, corpus, tmp_path / "out", "--unknown", 1),
        *(
            "--folds",
            1,
            "--enrol",
            2,
            "--negatives",
            2,
            "--test-clips",
            2,
            "--negative-clips",
            1,
            "--seed",
            5,
        ),
    )
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["tree"] == "folders"
    assert data["options"] == {
        **{"targets": [3], "unknown": 1, "folds": 1, "enrol": 2, "negatives": 2},
        **{"test_clips": 2, "negative_clips": 1, "style": None, "seed": 5},
    }
    assert data["manifests"] == [
        {
            "path": str(tmp_path / "out" / "voices-03-fold1.tsv"),
            **{"targets": 3, "unknown": 1, "negatives": 2, "enroll_clips": 6},
            **{"known_tests": 6, "unknown_tests": 2, "negative_clips": 2},
        }
    ]


def test_a_tree_and_a_style(kith: Run, corpus: Path, tmp_path: Path, only_line: Run) -> None:
    shutil.move(corpus, tmp_path / "set" / "hi_galaxy")
    options = ["--targets", 2, "--unknown", 1, "--folds", 1]
    line = only_line(kith("protocol", "household", tmp_path / "set", tmp_path / "out", *options))
    assert "no clip has the style 'hey_snapdragon'; there are: hi_galaxy" in line
    result = kith(
        "protocol",
        "household",
        tmp_path / "set",
        tmp_path / "out",
        *options,
        "--style",
        "hi_galaxy",
        "--json",
    )
    assert json.loads(result.stdout)["tree"] == "qualcomm"
    result = kith("protocol", "household", tmp_path / "set", tmp_path / "out", *options, "--tree", "folders")
    assert "1 speakers, and 3 are needed" in only_line(result)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "8 speakers, and 30 are needed"),
        (["--targets", 7, "--unknown", 2], "8 speakers, and 9 are needed"),
        (["--targets", 2, 2], "targets has a size twice"),
        (["--folds", 0], "folds is 0"),
        (["--tree", "magic"], "no tree is named 'magic'"),
    ],
)
def test_nothing_is_written_where_it_cannot_be(
    kith: Run, only_line: Run, corpus: Path, tmp_path: Path, args: list[object], said: str
) -> None:
    assert said in only_line(kith("protocol", "household", corpus, tmp_path / "out", *args))
    assert not (tmp_path / "out").exists()


def test_a_household_can_be_evaluated(kith: Run, clips: Clips, tmp_path: Path) -> None:
    root = tmp_path / "voices"
    for (person, _), clip in clips.items():
        (root / f"p{person}").mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / f"p{person}")
    assert (
        kith(
            *("protocol", "household", root, tmp_path / "out", "--targets", 2),
            *("--unknown", 1, "--folds", 1, "--enrol", 2),
        ).exit_code
        == 0
    )
    manifest = tmp_path / "out" / "voices-02-fold1.tsv"
    [result] = json.loads(kith("evaluate", manifest, "--method", "cosine", "--json").stdout)["results"]
    assert (result["n_speakers"], result["n_known"], result["n_unknown"]) == (2, 4, 4)


# ---- voxceleb


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    """All pairs of the files of four speakers, two videos of two files each."""
    files = [f"id1000{i}/v{video}/{clip}.wav" for i in range(4) for video in range(2) for clip in range(2)]
    for file in files:
        path = tmp_path / "wav" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lines = [f"{int(a[:7] == b[:7])} {a} {b}\n" for a, b in combinations(files, 2)]
    path = tmp_path / "veri.txt"
    path.write_text("".join(lines))
    return path


def test_voxceleb(kith: Run, trials: Path, tmp_path: Path) -> None:
    args = ("protocol", "voxceleb", trials, tmp_path / "wav", tmp_path / "out", "--enrol", 1)
    result = kith(*args)
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "out" / "veri-open-set.tsv"
    assert result.stdout.splitlines()[1].split() == [str(path), "2", "2", "0", "2", "4", "8", "0"]
    assert len(read_manifest(path).unknown_speakers) == 2
    data = json.loads(kith(*args, "--known", 3, "--unknown", 1, "--seed", 4, "--json").stdout)
    assert data["trials"] == str(trials)
    assert (data["options"]["known"], data["options"]["seed"]) == (3, 4)
    assert (data["manifests"][0]["targets"], data["manifests"][0]["unknown"]) == (3, 1)


def test_a_wrong_line_of_a_list(kith: Run, only_line: Run, trials: Path, tmp_path: Path) -> None:
    trials.write_text("1 id10000/v0/0.wav id10000/v0/9.wav\n")
    line = only_line(kith("protocol", "voxceleb", trials, tmp_path / "wav", tmp_path / "out"))
    assert f"{trials}:1: no file" in line


# ---- embeddings


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Three known people, two unknown ones, four others to learn from."""
    rng = np.random.default_rng(1)
    voices = rng.standard_normal((9, 16))
    for part, people, first in (
        ("emb_train", range(3), 0),
        ("emb_test", range(5), 0),
        ("emb_train_unknown_control", range(5, 9), 5),
    ):
        for person in people:
            folder = tmp_path / "ready" / part / str(person - first)
            folder.mkdir(parents=True)
            for clip in range(3):
                np.save(folder / f"{clip}.npy", voices[person] + 0.7 * rng.standard_normal(16))
    return tmp_path / "ready"


def test_embeddings(kith: Run, ready: Path) -> None:
    result = kith("protocol", "embeddings", ready, "--method", "cosine", "--method", "as-norm")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "3 people; 9 known and 6 unknown probes"
    assert lines[1].split() == [
        *("method", "unknown", "samples", "EER", "k/u", "EER", "OSCR", "acc.", "minDCF", "actDCF", "tune")
    ]
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["cosine", "no"],
        ["cosine", "yes"],
        ["as-norm", "yes"],
    ]


def test_embeddings_as_json(kith: Run, ready: Path) -> None:
    data = json.loads(
        kith("protocol", "embeddings", ready, "--known", 2, "--method", "cosine", "--json").stdout
    )
    assert (data["folder"], data["known"], data["control_speakers"]) == (str(ready), 2, 4)
    first, second = data["results"]
    assert (first["unknown_samples"], second["unknown_samples"]) == (False, True)
    assert (first["n_speakers"], first["n_known"], first["n_unknown"]) == (2, 6, 9)
    for name in ("eer", "detection_eer", "oscr", "accuracy", "min_dcf", "act_dcf"):
        assert first[name] >= 0.0


def test_cosine_and_the_released_recipe_are_the_default(kith: Run, ready: Path) -> None:
    data = json.loads(kith("protocol", "embeddings", ready, "--json").stdout)
    assert [(row["method"], row["unknown_samples"]) for row in data["results"]] == [
        (method, unknown) for method in ("cosine", "released") for unknown in (False, True)
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--known", "0"], "known is 0"),
        (["--known", "9"], "no embedding of id 3"),
        (["--method", "magic"], "no method is named 'magic'"),
    ],
)
def test_wrong_options_of_embeddings(
    kith: Run, only_line: Run, ready: Path, args: list[str], said: str
) -> None:
    assert said in only_line(kith("protocol", "embeddings", ready, *args))


def test_a_file_that_is_no_embedding(kith: Run, only_line: Run, ready: Path) -> None:
    path = ready / "emb_test" / "1" / "0.npy"
    path.write_text("nothing of the kind")
    assert f"{path}: no embedding" in only_line(kith("protocol", "embeddings", ready))
    path.unlink()
    shutil.rmtree(ready / "emb_test")
    assert "emb_test: no such folder" in only_line(kith("protocol", "embeddings", ready))


# ---- the group


@pytest.mark.parametrize("command", ["household", "voxceleb", "embeddings"])
def test_help(kith: Run, command: str) -> None:
    result = kith("protocol", command, "--help")
    assert result.exit_code == 0
    assert f"kith protocol {command}" in result.stdout
    assert "--json" in result.stdout
    assert command in kith("protocol", "--help").stdout


# ---- docs/reproduce.md

GUIDE = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")


def guide_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


GUIDE_COMMANDS = [
    shlex.split(line.partition(">")[0])[1:]
    for block in guide_blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("words", GUIDE_COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_commands_of_the_guide_have_their_options(kith: Run, words: list[str]) -> None:
    command = words[:2] if words[0] == "protocol" else words[:1]
    text = kith(*command, "--help").stdout
    for option in [word for word in words if word.startswith("--")]:
        assert option in text


def test_the_guide_covers_every_command() -> None:
    assert {words[1] for words in GUIDE_COMMANDS if words[0] == "protocol"} == {
        *("household", "voxceleb", "embeddings")
    }
    assert any(words[0] == "evaluate" for words in GUIDE_COMMANDS)


def test_scripts_of_the_guide(
    kith: Run, bands: Any, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means, layout = guide_blocks("python")
    monkeypatch.chdir(tmp_path)
    for (person, _), clip in clips.items():
        folder = tmp_path / "Qualcomm" / f"p{person}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder)
    households = ("protocol", "household", "Qualcomm", "households", "--targets", 2, "--unknown", 1)
    assert kith(*households, "--folds", 1, "--enrol", 2).exit_code == 0
    manifest = Path("households", "Qualcomm-02-fold1.tsv")

    Path("results.json").write_text(kith("evaluate", manifest, "--method", "cosine", "--json").stdout)
    done = subprocess.run([sys.executable, "-c", means], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Qualcomm-02 cosine eer ")

    monkeypatch.setattr("openkith.encoders.load_encoder", lambda: bands)
    manifest.rename("households/Qualcomm-10-fold1.tsv")
    exec(compile(layout, "docs/reproduce.md", "exec"), {})
    data = json.loads(kith("protocol", "embeddings", "ready", "--method", "cosine", "--json").stdout)
    assert (data["known"], data["control_speakers"]) == (2, 1)
    assert (data["results"][0]["n_known"], data["results"][0]["n_unknown"]) == (4, 4)
