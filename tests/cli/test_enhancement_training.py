"""kith enhance, from a tree of embeddings to an enhancer, its curves and what it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from embedding_trees import names, write_tree
from openkith.bulk.reading import read_embeddings
from openkith.enhancement.enhancer import Enhancer

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People to learn from, and two corpora of people who are not among them."""
    root = tmp_path_factory.mktemp("corpora")
    write_tree(root / "learn", names("s", 30), seed=1, crops=2)
    write_tree(root / "home", names("t", 12), seed=2)
    write_tree(root / "far", names("u", 12), seed=3)
    return root


def test_every_command(kith: Run, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss falls, people who were not heard are told apart better, and recordings lie closer together."""
    monkeypatch.chdir(corpora)
    run = tmp_path / "run"

    def done(*words: object) -> str:
        result = kith("enhance", *words)
        assert (result.exit_code, result.stderr) == (0, "")
        return str(result.stdout)

    for form, tree in (("distribution", "learn"), ("test", "home"), ("test", "far")):
        done("lists", form, tree, "--out", tmp_path, "--seed", 1)
    settings = {
        "data.embeddings": "learn",
        "data.list": tmp_path / "learn_distribution_list.txt",
        "data.test_list": tmp_path / "home_test_list.txt",
        "data.test_embeddings": "home",
        "data.second_list": tmp_path / "far_test_list.txt",
        "data.second_embeddings": "far",
        "train.learning_rate": "1e-3",
        "train.accelerator": "cpu",
    }
    train = ("train", "--config", "v2-da-cs", "--out", run)
    train += tuple(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))
    said = done(*train, "--set", "train.epochs=4")
    assert "train.epochs: 4 (--set)\n" in said
    assert "loss.options.sigma: 1.0 (" in said
    assert "per_speaker: None (default)\n" in said
    assert said.splitlines()[-1].endswith(f": {run / 'enhancer'}")

    said = done("curves", run, "--json")
    early = json.loads(said)
    assert early["epochs"] == [1, 2, 3, 4]
    trained = json.loads(done(*train, "--set", "train.epochs=10", "--resume", "--json"))
    assert (trained["epochs"], trained["steps"]) == (10, 300)
    curves = json.loads(done("curves", run, "--json"))
    assert curves["epochs"] == list(range(1, 11))
    assert curves["loss"][:4] == early["loss"]
    assert curves["loss"][-1] < 0.7 * curves["loss"][0]
    assert curves["lists"] == {"eer": "home", "second_eer": "far"}
    for measure in ("eer", "second_eer"):
        assert curves["raw"][measure] > 0.1
        assert curves["rates"][measure][-1] < 0.7 * curves["raw"][measure]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert '<section id="curves">' in (run / "report.html").read_text()

    found = json.loads(done("analyse", run, "--json"))
    assert [each["name"] for each in found["scores"]] == ["home", "far"]
    assert found["scores"][0]["eer_before"] == curves["raw"]["eer"]
    assert abs(found["scores"][0]["eer_after"] - curves["rates"]["eer"][-1]) < 0.01
    cosine = next(each for each in found["distances"] if each["measure"] == "1 - cosine")
    gap = [
        cosine[when]["cross_recording"]["mean"] - cosine[when]["same_recording"]["mean"]
        for when in ("before", "after")
    ]
    assert 0 < gap[1] < 0.8 * gap[0]
    page = (run / "report.html").read_text()
    assert '<section id="curves">' in page
    assert '<section id="analysis">' in page
    assert (run / "analysis.png").read_bytes().startswith(b"\x89PNG")
    assert "squared MMD" in done("analyse", run)
    assert "10 of 10 epochs" in done("curves", run)

    out = tmp_path / "enhanced"
    said = done("apply", run, "far", out)
    assert said.startswith(f"108 enhanced embeddings in {out}: 108 now; ")
    assert "108 enhanced embeddings" in done("apply", run / "enhancer", "far", out)
    enhancer = Enhancer.load(run / "enhancer")
    assert enhancer.info["loss"] == "da+cs"
    held = read_embeddings(out)
    assert held.fingerprint == enhancer.fingerprint
    first = np.load(out / held.utterances[0])
    np.testing.assert_allclose(
        first, enhancer.transform(np.load(Path("far") / held.utterances[0])), atol=1e-6
    )


def test_wrong_input(kith: Run, only_line: Callable[[Any], str], corpora: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = ("enhance", "train", "--out", run, "--config")
    assert "v2: no such file; give a YAML file, or one of residual-supcon, " in only_line(kith(*train, "v2"))
    assert "did you mean 'embeddings'" in only_line(kith(*train, "v2-cs", "--set", "data.embedings=x"))
    assert "data.embeddings is not given" in only_line(kith(*train, "v2-cs"))
    here = ("--set", f"data.embeddings={corpora / 'learn'}")
    assert "data.list is not given" in only_line(kith(*train, "v2-cs", *here))
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("s00 s00/r0/0.wav\ns00 s00/r0/9.wav\n")
    line = only_line(kith(*train, "v2-cs", *here, "--set", f"data.list={wrong}"))
    assert line.startswith(f"kith: {wrong}:2: no embedding of 's00/r0/9.wav'")
    for command in ("curves", "analyse"):
        assert "about.json: cannot be read" in only_line(kith("enhance", command, run))
    assert "not an enhancer" in only_line(kith("enhance", "apply", run, corpora / "home", tmp_path / "out"))
    assert not run.exists()
