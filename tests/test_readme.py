"""What the README says can be done: its examples run, and its commands, options, files and names exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

import openkith
from openkith.audio import SAMPLE_RATE, Audio, save
from openkith.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PITCH = {"alice": 220.0, "ben": 110.0}


def blocks(language: str) -> list[str]:
    """Fenced code of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def kith_lines() -> list[list[str]]:
    """The lines of shell examples that call kith, as words."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("kith ")]


def inline_commands() -> list[list[str]]:
    """What stands in running text as `kith ...`, as words."""
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(found)[1:] for found in re.findall(r"`(kith [^`]+)`", text)]


class ToneEncoder:
    """Stands in for a neural encoder: the spectrum below 2 kHz as embedding, which tells two tones apart."""

    name = "tone"
    dim = 64
    sample_rate = SAMPLE_RATE
    fingerprint = "tone/1"

    def embed(self, clips: Sequence[Audio]) -> npt.NDArray[np.float32]:
        spectra = [np.abs(np.fft.rfft(clip.samples, 2 * SAMPLE_RATE))[1:4001] for clip in clips]
        bands = np.stack(
            [np.sqrt(spectrum).reshape(self.dim + 61, -1)[: self.dim].mean(1) for spectrum in spectra]
        )
        return (bands / np.linalg.norm(bands, axis=1, keepdims=True)).astype(np.float32)


def write_tones(folder: Path) -> None:
    """The files of the examples: two voices as humming with overtones, and one more clip of Alice's."""
    rng = np.random.default_rng(0)
    t = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    names = [f"{name}-{i}" for name in PITCH for i in (1, 2, 3)]
    for name in [*names, "who"]:
        pitch = PITCH.get(name.partition("-")[0], PITCH["alice"]) * rng.uniform(0.99, 1.01)
        hum = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 8))
        syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * t + rng.uniform(0, 6))
        save(
            folder / f"{name}.wav",
            (0.1 * hum * syllables + 0.001 * rng.standard_normal(len(t))).astype(np.float32),
        )


def write_voices(folder: Path) -> None:
    """The same files, in synthetic voices."""
    from openkith.data.synthesis import SENTENCES, espeak_voices, speak

    alice, ben = espeak_voices(2, seed=1)
    for i, text in enumerate(SENTENCES[:3], start=1):
        save(folder / f"alice-{i}.wav", speak(alice, text))
        save(folder / f"ben-{i}.wav", speak(ben, text))
    save(folder / "who.wav", speak(alice, SENTENCES[3]))


@pytest.fixture
def with_tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the files of the examples, and an encoder that needs no weights."""
    write_tones(tmp_path)
    monkeypatch.setattr("openkith.recognizer.recognizer.load_encoder", lambda *_, **__: ToneEncoder())
    monkeypatch.setenv("KITH_GALLERY", str(tmp_path / "family.db"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def with_voices(tmp_path: Path, ge2e: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with synthetic voices, for the real encoder."""
    pytest.importorskip("parselmouth")
    write_voices(tmp_path)
    monkeypatch.setattr("openkith.recognizer.recognizer.load_encoder", lambda *_, **__: ge2e)
    monkeypatch.setenv("KITH_GALLERY", str(tmp_path / "family.db"))
    monkeypatch.chdir(tmp_path)


def run_python_example(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that it prints."""
    (example,) = blocks("python")
    namespace: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), namespace)
    recognizer = namespace["recognizer"]
    assert isinstance(recognizer, openkith.Recognizer)
    recognizer.gallery.close()
    return capsys.readouterr().out.splitlines()


def run_shell_example() -> str:
    """What its last command prints."""
    runner = CliRunner()
    output = ""
    for words in kith_lines():
        result = runner.invoke(app, words)
        assert result.exit_code == 0, (words, result.output)
        output = result.stdout
    return output


def test_python_example_is_short() -> None:
    (example,) = blocks("python")
    assert len(example.splitlines()) == 10
    ast.parse(example)


def test_shell_example_is_short() -> None:
    assert len(kith_lines()) == 5


@pytest.mark.usefixtures("with_tones")
def test_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    decision, verified = run_python_example(capsys)
    assert decision.split()[0] in {"known", "unsure", "unknown"}
    assert verified in {"True", "False"}


@pytest.mark.usefixtures("with_tones")
def test_shell_example_runs() -> None:
    assert "who.wav" in run_shell_example()


@pytest.mark.slow
@pytest.mark.usefixtures("with_voices")
def test_python_example_names_alice(capsys: pytest.CaptureFixture[str]) -> None:
    decision, verified = run_python_example(capsys)
    assert decision.startswith("known Alice ")
    assert verified == "True"


@pytest.mark.slow
@pytest.mark.usefixtures("with_voices")
def test_shell_example_names_alice() -> None:
    assert "Alice" in run_shell_example()


@pytest.mark.parametrize("words", [*kith_lines(), *inline_commands()], ids=" ".join)
def test_commands_and_options_exist(words: list[str]) -> None:
    """By the command's own help, which is as good as running it for what exists."""
    runner = CliRunner()
    command = [word for word in words[:1] if not word.startswith("-")]
    if command == ["models"]:
        command = words[:2]
    result = runner.invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    help_text = result.output
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"(?<!\S){option}(?!\S)", help_text), f"{' '.join(command)} has no {option}"


def test_there_are_inline_commands() -> None:
    """So that the test above cannot lose them by a change of style."""
    assert {"forget", "undo", "evaluate", "doctor", "verify"} <= {words[0] for words in inline_commands()}


def test_options_in_text_exist() -> None:
    assert "`--keep-audio`" in README
    assert "--keep-audio" in CliRunner().invoke(app, ["enroll", "--help"], env={"COLUMNS": "200"}).output


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    targets = set(re.findall(r"(?:^|`)(?:\S+=\S+ )*make (?:\w+=\S+ )*([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test", "install-dev"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith("https://")]
    assert links
    missing = [link for link in local if not (document.parent / link).exists()]
    assert not missing


def test_names_in_text_exist() -> None:
    for dotted in re.findall(r"`openkith\.(\w+)`", README):
        assert dotted in openkith.__all__


def test_map_names_every_row() -> None:
    """The map of the packages is that of `tests/test_imports.py`, as far as the modules exist."""
    (table,) = re.findall(r"^## The map\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    source = ROOT / "src" / "openkith"
    named = set(re.findall(r"`([a-z_]+)`", table)) - {"kith"}
    existing = {path.stem for path in source.glob("*.py")} | {
        path.name for path in source.iterdir() if path.is_dir()
    }
    assert named <= existing
    packages = {path.parent.name for path in source.glob("*/__init__.py")}
    assert packages <= named
