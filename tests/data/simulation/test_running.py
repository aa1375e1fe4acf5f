"""Runs, measured on the files that they write: levels, overlaps, peaks, lists; the same bytes however they are made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from openkith.audio import load, save
from openkith.data.simulation import SCENARIOS, SimulationOptions, simulate
from openkith.data.simulation import running as module
from openkith.data.simulation.making import COLUMNS, Job
from openkith.data.simulation.planning import Voices
from openkith.data.trials import read_trials
from openkith.errors import ConfigError, InputError, KithError, ManifestError

STEP = 1 / 32768


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by column."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def recording(path: Path) -> np.ndarray:
    """A recording as the simulation reads it, (n,) float64."""
    return load(path).samples.astype(np.float64)


def written(out: Path, row: dict[str, str]) -> np.ndarray:
    """The samples of a file that was written, (n,) float64: as they are, with what is left of DC."""
    x, rate = soundfile.read(out / row["path"], dtype="float64")
    assert rate == 16_000
    return x


def span(row: dict[str, str], who: str) -> slice:
    return slice(round(float(row[f"{who}_begin"]) * 16_000), round(float(row[f"{who}_end"]) * 16_000))


def without_target(out: Path, corpus: Path, row: dict[str, str]) -> np.ndarray:
    """What is left of a file when the target is taken out."""
    x, where = written(out, row), span(row, "target")
    x[where] -= float(row["gain"]) * np.resize(recording(corpus / row["target"]), where.stop - where.start)
    return x


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by path; of links what they point to."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_everything_is_there(run: Path, trials: Path) -> None:
    names = {*(f"{name}{suffix}" for name in SCENARIOS for suffix in ("", ".tsv", ".txt"))}
    assert {path.name for path in run.iterdir()} == names | {
        *("config.json", "journal.jsonl", "files.tsv", "enrol", ".lock")
    }
    listed = read_trials(trials)
    for name in SCENARIOS:
        rows = table(run / f"{name}.tsv")
        assert [row["path"] for row in rows] == list(
            dict.fromkeys(f"{name}/{trial.test}" for trial in listed)
        )
        assert tuple(rows[0]) == COLUMNS
        again = read_trials(run / f"{name}.txt")
        assert [(t.target, t.enrol, t.test) for t in again] == [
            (t.target, f"enrol/{t.enrol}", f"{name}/{t.test}") for t in listed
        ]
        assert all((run / trial.enrol).is_file() and (run / trial.test).is_file() for trial in again)
    speakers = {row["path"]: row["speaker"] for row in table(run / "files.tsv")}
    assert speakers == {path: path.split("/")[1] for path in speakers}
    assert len(speakers) == 18 * 6


@pytest.mark.parametrize("name", SCENARIOS)
def test_peaks(run: Path, name: str) -> None:
    for row in table(run / f"{name}.tsv"):
        x, _ = soundfile.read(run / row["path"], dtype="int16")
        assert soundfile.info(run / row["path"]).subtype == "PCM_16"
        assert np.abs(x.astype(int)).max() == 32767
        assert np.count_nonzero(np.abs(x.astype(int)) == 32767) <= 2  # the peak, and no flat top
        assert len(x) == round(float(row["seconds"]) * 16_000)


def test_clean_is_the_target(run: Path, corpus: Path) -> None:
    for row in table(run / "clean.tsv"):
        assert np.abs(without_target(run, corpus, row)).max() <= STEP
        assert (row["interferer"], row["noise"], row["snr"]) == ("", "", "")


@pytest.mark.parametrize("name", ["noisy", "concat", "overlap", "mix"])
def test_levels(run: Path, corpus: Path, name: str) -> None:
    """Target over other, each over what is mixed of it, within 0.1 dB of the table; in steps of 0.5 dB."""
    seen = set()
    for row in table(run / f"{name}.tsv"):
        target, other = span(row, "target"), span(row, "interferer")
        used = np.resize(recording(corpus / row["target"]), target.stop - target.start) * float(row["gain"])
        rest = without_target(run, corpus, row)[other]
        measured = 10 * np.log10(np.mean(used**2) / np.mean(rest**2))
        assert measured == pytest.approx(float(row["snr"]), abs=0.1)
        assert float(row["snr"]) * 2 == int(float(row["snr"]) * 2)
        assert -3 <= float(row["snr"]) <= 3
        seen.add(row["snr"])
    assert len(seen) > 5


@pytest.mark.parametrize("name", ["concat", "overlap", "mix"])
def test_the_interferer_is_what_the_table_says(run: Path, corpus: Path, trials: Path, name: str) -> None:
    enrolled: dict[str, set[str]] = {}
    for trial in read_trials(trials):
        enrolled.setdefault(trial.test, set()).add(trial.enrol.split("/")[0])
    for row in table(run / f"{name}.tsv"):
        where = span(row, "interferer")
        expected = np.zeros(round(float(row["seconds"]) * 16_000))
        expected[where] = float(row["interferer_gain"]) * np.resize(
            recording(corpus / row["interferer"]), where.stop - where.start
        )
        assert np.abs(without_target(run, corpus, row) - expected).max() <= 1.01 * STEP
        speaker = row["interferer"].split("/")[0]
        assert speaker == row["interferer_speaker"]
        assert speaker not in enrolled[row["target"]] | {row["speaker"]}


def test_overlaps(run: Path, corpus: Path) -> None:
    """Where both are heard, found in the samples, is the drawn share of the mixture, within 1 %."""
    drawn = []
    for row in table(run / "overlap.tsv"):
        rest = np.flatnonzero(np.abs(without_target(run, corpus, row)) > 1.5 * STEP)
        target, length = span(row, "target"), round(float(row["seconds"]) * 16_000)
        both = min(rest[-1] + 1, target.stop) - max(rest[0], target.start)
        ratio = float(row["overlap"])
        assert both / length == pytest.approx(ratio, abs=0.01 * ratio + 20 / length)  # a clip may begin at 0
        n, m = (span(row, who).stop - span(row, who).start for who in ("target", "interferer"))
        assert length == pytest.approx((n + m) / (1 + ratio), abs=1)
        assert min(target.start, span(row, "interferer").start) == 0
        assert 0.1 <= ratio <= 0.9
        drawn.append(ratio)
    assert max(drawn) - min(drawn) > 0.4


def test_lengths_and_orders(run: Path, corpus: Path) -> None:
    first = {name: [] for name in ("concat", "overlap", "mix")}
    for name, orders in first.items():
        for row in table(run / f"{name}.tsv"):
            n, m = (len(recording(corpus / row[who])) for who in ("target", "interferer"))
            length = round(float(row["seconds"]) * 16_000)
            if name != "overlap":
                assert length == (n + m if name == "concat" else max(n, m))
            orders.append(span(row, "target").start <= span(row, "interferer").start)
    assert all(3 < sum(first[name]) < 15 for name in ("concat", "overlap"))
    assert first["concat"] != first["overlap"]
    for row in table(run / "noisy.tsv"):
        n = len(recording(corpus / row["target"]))
        assert [span(row, who) for who in ("target", "interferer")] == [slice(0, n)] * 2


def test_babble_is_of_others(run: Path, trials: Path) -> None:
    enrolled: dict[str, set[str]] = {}
    for trial in read_trials(trials):
        enrolled.setdefault(trial.test, set()).add(trial.enrol.split("/")[0])
    rows = [row for row in table(run / "noisy.tsv") if row["noise"] == "babble"]
    assert rows
    for row in rows:
        voices = row["interferer_speaker"].split(";")
        assert len(voices) == len(set(voices)) == len(row["noise_files"].split(";")) > 2
        assert not set(voices) & (enrolled[row["target"]] | {row["speaker"]})
    assert len({row["noise"] for row in table(run / "noisy.tsv")}) > 2


def test_any_number_of_workers_gives_the_same(run: Path, corpus: Path, trials: Path, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    out = tmp_path / "out"
    summary = simulate(
        trials, corpus, out, SimulationOptions(seed=1), workers=2, progress=lambda *step: said.append(step)
    )
    assert contents(out) == contents(run)
    assert (summary.tests, summary.files, summary.written, summary.before) == (18, 90, 90, 0)
    assert (summary.bad, summary.left_out, summary.errors, summary.trials) == (0, 0, None, 36)
    assert said[-1] == ("writing lists", 90, 90)
    assert [done for text, done, _ in said if "files/s" in text] == list(range(5, 91, 5))


def test_a_scenario_alone_is_the_same(run: Path, corpus: Path, trials: Path, tmp_path: Path) -> None:
    simulate(trials, corpus, tmp_path / "out", SimulationOptions(("mix",), seed=1))
    mine, all_files = contents(tmp_path / "out"), contents(run)
    assert all(mine[name] == all_files[name] for name in mine if name.startswith("mix"))
    assert sum(name.startswith("mix/") for name in mine) == 18
    simulate(trials, corpus, tmp_path / "other", SimulationOptions(("mix",), seed=2))
    other = contents(tmp_path / "other")
    assert all(mine[name] != other[name] for name in mine if name.startswith("mix/"))


KILLED = """
import sys
from openkith.data.simulation import SimulationOptions, simulate
if __name__ == "__main__":
    simulate(*sys.argv[1:4], SimulationOptions(seed=1), workers=2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_a_killed_run_goes_on(run: Path, corpus: Path, trials: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, script, trials, corpus, out], start_new_session=True, stderr=subprocess.DEVNULL
    )
    journal = out / "journal.jsonl"
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 10):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_lives(process.pid)  # the processes that it began end with it
    left = journal.read_bytes()
    assert not (out / "mix.tsv").exists()
    journal.write_bytes(left[: left.rfind(b"\n") - 20])  # a line that was being written
    (out / "clean" / ".0.wav.abcd.tmp").write_bytes(b"RIFF")  # and a file
    first = json.loads(left.splitlines()[0])[2][0]
    (out / first).write_bytes((out / first).read_bytes()[:-2])
    summary = simulate(trials, corpus, out, SimulationOptions(seed=1))
    assert 8 <= summary.before < 90
    assert summary.written == 90
    assert contents(out) == contents(run)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    assert simulate(trials, corpus, out, SimulationOptions(seed=1)).before == 90
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == stamps
    assert contents(out) == contents(run)


def group_lives(group: int) -> bool:
    """Whether a process of the group is left that is no zombie."""
    try:
        os.killpg(group, signal.SIGCONT)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    states = [
        fields.split()
        for path in Path("/proc").glob("[0-9]*/stat")
        if (fields := _text(path).rpartition(")")[2])
    ]
    if not states:
        return True
    return any(int(state[2]) == group and state[0] != "Z" for state in states)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": SimulationOptions(seed=2)}, "was begun with another seed (1, and now 2)"),
        ({"options": SimulationOptions(snr=(0, 3), seed=1)}, "another snr (-3.0, 3.0, and now 0.0, 3.0)"),
        (
            {"options": SimulationOptions(("mix",), seed=1)},
            "another scenarios (clean, noisy, concat, overlap, mix,",
        ),
        ({"noise": "musan"}, "was begun with another noise (None, and now "),
        ({"interferers": "corpus"}, "was begun with another interferers (None, and now "),
        ({"trials": "fewer"}, "was begun with another trials ("),
        ({"root": "elsewhere"}, "was begun with another root ("),
    ],
)
def test_other_options_are_refused(
    run: Path, corpus: Path, trials: Path, tmp_path: Path, musan: Path, change: dict[str, Any], says: str
) -> None:
    fewer = tmp_path / "fewer.txt"
    fewer.write_text("".join(trials.read_text().splitlines(keepends=True)[:-1]))
    places = {"musan": musan, "corpus": corpus, "fewer": fewer, "elsewhere": tmp_path}
    given = {"trials": trials, "root": corpus, "options": SimulationOptions(seed=1)}
    given |= {name: places[value] if isinstance(value, str) else value for name, value in change.items()}
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(ConfigError) as caught:
        simulate(given.pop("trials"), given.pop("root"), run, given.pop("options"), **given)
    assert says in str(caught.value)
    assert str(caught.value).endswith("give the same again, or a new folder")
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_folders_that_are_no_place_to_write(corpus: Path, trials: Path, tmp_path: Path, musan: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"full: has files in it that kith simulate did not write"):
        simulate(trials, corpus, tmp_path / "full")
    (tmp_path / "full" / "config.json").write_text('{"kind": "embeddings", "version": 1}')
    with pytest.raises(ConfigError, match=r"config\.json: is not of kith simulate"):
        simulate(trials, corpus, tmp_path / "full")
    with pytest.raises(InputError, match=r"letter\.txt: cannot be written"):
        simulate(trials, corpus, tmp_path / "full" / "letter.txt")
    with pytest.raises(ConfigError, match="is read; choose a folder outside it"):
        simulate(trials, corpus, musan / "out", noise=musan)
    with pytest.raises(
        ManifestError, match=r"gone: no such folder; give the one that the paths of .*trials\.txt"
    ):
        simulate(trials, tmp_path / "gone", tmp_path / "out")
    with pytest.raises(ConfigError, match="workers is 0"):
        simulate(trials, corpus, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_two_runs_into_one_folder(corpus: Path, trials: Path, tmp_path: Path) -> None:
    def second(_: str, done: int, __: int) -> None:
        if done == 1:
            with pytest.raises(InputError, match="another kith simulate is writing to it"):
                simulate(trials, corpus, tmp_path / "out", SimulationOptions(("clean",)))

    simulate(trials, corpus, tmp_path / "out", SimulationOptions(("clean",)), progress=second)


@pytest.fixture
def damaged(corpus: Path, tmp_path: Path) -> Path:
    """The corpus with a test utterance that is no audio, one that is silent and one that is not there."""
    root = tmp_path / "damaged"
    shutil.copytree(corpus, root)
    (root / "id10000/v/0.wav").write_bytes(b"no audio at all")
    (root / "id10002/v/2.wav").unlink()
    save(root / "id10004/v/1.wav", np.zeros(16_000, np.float32))
    return root


def test_bad_files_are_listed_and_stop_nothing(damaged: Path, trials: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = simulate(trials, damaged, out, SimulationOptions(("concat", "mix")))
    errors = table(out / "errors.tsv")
    assert [row["path"] for row in errors] == ["id10000/v/0.wav", "id10002/v/2.wav", "id10004/v/1.wav"]
    assert "no such file" in errors[1]["reason"]
    assert "silence" in errors[2]["reason"]
    assert not any(str(damaged) in row["reason"] for row in errors)
    bad = {row["path"] for row in errors}
    # The two that are there but cannot be used still enrol: nobody reads them here. The third cannot.
    kept = [t for t in read_trials(trials) if t.test not in bad and t.enrol != "id10002/v/2.wav"]
    for name in ("concat", "mix"):
        assert [t.test for t in read_trials(out / f"{name}.txt")] == [f"{name}/{t.test}" for t in kept]
        assert not {row["target"] for row in table(out / f"{name}.tsv")} & bad
        assert not {row["interferer"] for row in table(out / f"{name}.tsv")} & bad
    assert summary.left_out == 2 * (36 - len(kept)) == sum(int(row["trials"]) for row in errors)
    assert (summary.bad, summary.written, summary.errors) == (3, 30, out / "errors.tsv")
    reference = contents(out)
    again = simulate(trials, damaged, out, SimulationOptions(("concat", "mix")))
    assert (again.before, again.written, again.bad) == (30, 30, 3)
    assert contents(out) == reference
    shutil.copy(damaged / "id10000/v/1.wav", damaged / "id10000/v/0.wav")  # what was mended is made
    assert simulate(trials, damaged, out, SimulationOptions(("concat", "mix"))).written == 32


def test_nothing_can_be_made(trials: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(
        InputError, match=r"trials\.txt: not one of 18 files could be made; .*errors\.tsv says why"
    ):
        simulate(trials, tmp_path / "root", tmp_path / "out", SimulationOptions(("mix",)))


@pytest.fixture(scope="session")
def musan(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path]) -> Path:
    """noise/, music/, speech/ and rirs/, with a file among the noise that is none."""
    root = tmp_path_factory.mktemp("musan")
    rng = np.random.default_rng(0)
    for kind, count in (("noise", 3), ("music", 2)):
        for number in range(count):
            (root / kind / "free").mkdir(parents=True, exist_ok=True)
            save(
                root / kind / "free" / f"{kind}-{number}.wav",
                0.1 * rng.standard_normal(8000 + 16_000 * number),
            )
    (root / "noise" / "free" / "broken.wav").write_bytes(b"RIFF")
    for number in range(5):
        record(50 + number, 0, root / "speech" / f"{number}.wav", 1.0)
    (root / "rirs").mkdir()
    save(root / "rirs" / "hall.wav", np.exp(-np.arange(4000) / 500) * rng.standard_normal(4000) * 0.1)
    return root


def test_a_noise_folder(corpus: Path, trials: Path, tmp_path: Path, musan: Path) -> None:
    out = tmp_path / "out"
    summary = simulate(trials, corpus, out, SimulationOptions(("noisy",), snr=(5, 5)), noise=musan)
    rows = table(out / "noisy.tsv")
    assert {row["noise"] for row in rows} == {"noise", "music", "speech"}
    for row in rows:
        files = row["noise_files"].split(";")
        assert all((musan / file).is_file() and file.startswith(f"{row['noise']}/") for file in files)
        assert (len(files) > 1) == (row["noise"] == "speech")
        rest, target = without_target(out, corpus, row), written(out, row)
        used = target - rest
        assert 10 * np.log10(np.mean(used**2) / np.mean(rest**2)) == pytest.approx(5, abs=0.1)
    assert [row["path"] for row in table(out / "errors.tsv")] == [
        str(musan / "noise" / "free" / "broken.wav")
    ]
    assert [row["trials"] for row in table(out / "errors.tsv")] == ["0"]
    assert (summary.written, summary.bad, summary.left_out) == (18, 1, 0)
    reference = contents(out)
    shutil.rmtree(out / "noisy")  # the errors of what is made again are the same
    simulate(trials, corpus, out, SimulationOptions(("noisy",), snr=(5, 5)), noise=musan)
    assert contents(out) == reference


def test_nobody_can_be_read(corpus: Path, trials: Path, tmp_path: Path) -> None:
    """The test utterances are left out, and the files that are to blame are listed with them."""
    (tmp_path / "others" / "p0").mkdir(parents=True)
    (tmp_path / "others" / "p0" / "0.wav").write_bytes(b"RIFF")
    out = tmp_path / "out"
    options = SimulationOptions(("clean", "mix"))
    summary = simulate(trials, corpus, out, options, interferers=tmp_path / "others")
    errors = {row["path"]: (row["reason"], row["trials"]) for row in table(out / "errors.tsv")}
    assert errors.pop(str(tmp_path / "others" / "p0" / "0.wav"))[1] == "0"
    assert set(errors.values()) == {("none of the recordings drawn to be mixed in can be read", "2")}
    assert (summary.written, summary.left_out, len(errors)) == (18, 36, 18)
    assert len(read_trials(out / "clean.txt")) == 36
    assert (out / "mix.txt").read_text() == ""


def test_rooms(corpus: Path, trials: Path, tmp_path: Path, musan: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("".join(trials.read_text().splitlines(keepends=True)[:4]))
    options = SimulationOptions(("clean", "noisy", "concat"), rooms=1)
    simulate(few, corpus, tmp_path / "made", options, interferers=corpus)
    simulate(few, corpus, tmp_path / "folder", options, interferers=corpus, noise=musan)
    for name, says in (("made", "t60=0."), ("folder", "rirs/hall.wav")):
        for scenario in ("noisy", "concat"):
            rows = table(tmp_path / name / f"{scenario}.tsv")
            assert all(row["room"].startswith(says) for row in rows)
        for row in rows:
            dry = without_target(tmp_path / name, corpus, row)[span(row, "target")]
            assert np.sqrt(np.mean(dry**2)) > 0.01  # what is heard is not the dry target
            x = written(tmp_path / name, row)
            a, b = (np.mean(x[span(row, who)] ** 2) for who in ("target", "interferer"))
            assert 10 * np.log10(a / b) == pytest.approx(float(row["snr"]), abs=0.1)
        assert all(row["room"] == "" for row in table(tmp_path / name / "clean.tsv"))


def test_interferers_of_a_folder(
    corpus: Path, trials: Path, tmp_path: Path, record: Callable[..., Path]
) -> None:
    """They are used, and those with the name of somebody who enrols are not."""
    folder = tmp_path / "others"
    for person in range(20, 24):
        record(person, 0, folder / f"id100{person}" / "v" / "my voice.wav", 1.0)
    shutil.copytree(corpus / "id10000", folder / "id10000")
    simulate(trials, corpus, tmp_path / "out", SimulationOptions(("mix",)), interferers=folder)
    rows = table(tmp_path / "out" / "mix.tsv")
    drawn = {row["interferer_speaker"] for row in rows}
    assert drawn <= {"id10000", *(f"id100{person}" for person in range(20, 24))}
    assert len(drawn) > 3
    assert all(
        row["interferer_speaker"] != "id10000" for row in rows if row["speaker"] in ("id10000", "id10005")
    )
    assert all((folder / row["interferer"]).is_file() for row in rows)


def test_the_target_of_an_overlap_is_whole_where_anybody_talks_long_enough(
    corpus: Path, trials: Path, tmp_path: Path, record: Callable[..., Path]
) -> None:
    for person, seconds in enumerate((0.2, 0.2, 0.2, 0.2, 3.0)):
        record(person, 0, tmp_path / "others" / f"p{person}" / "0.wav", seconds)
    options = SimulationOptions(("overlap",), overlap=(0.6, 0.9))
    simulate(trials, corpus, tmp_path / "out", options, interferers=tmp_path / "others")
    rows = table(tmp_path / "out" / "overlap.tsv")
    assert {row["interferer_speaker"] for row in rows} == {"p4"}
    for row in rows:
        used = span(row, "target")
        assert used.stop - used.start == len(recording(corpus / row["target"]))
    shutil.rmtree(tmp_path / "others" / "p4")
    simulate(trials, corpus, tmp_path / "cut", options, interferers=tmp_path / "others")
    for row in table(tmp_path / "cut" / "overlap.tsv"):
        used = span(row, "target")
        assert used.stop - used.start == pytest.approx(3200 / float(row["overlap"]), abs=1)


class Ends:
    """A test utterance that ends the process that it is sent to."""

    path = "a/1.wav"

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


@pytest.mark.slow
def test_a_process_that_dies_takes_one_file_with_it(corpus: Path, trials: Path, tmp_path: Path) -> None:
    tests, voices, _ = module.list_tests(read_trials(trials), trials, corpus)
    job = Job(corpus, tmp_path, SimulationOptions(("clean",)), Voices(voices.files), None)
    tasks = [module._Task(test, ("clean",)) for test in tests[:3]]
    tasks.insert(1, module._Task(Ends(), ("clean",)))  # type: ignore[arg-type]
    outcomes = [made for part in module._run(job, tasks, 2) for made in part]
    assert {made.test for made in outcomes if made.row} == {test.path for test in tests[:3]}
    [dead] = [made for made in outcomes if not made.row]
    assert dead == ("clean", "a/1.wav", (), (("a/1.wav", module.DIED),))


def test_a_folder_that_cannot_be_written_ends_the_run(corpus: Path, trials: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def block(_: str, done: int, __: int) -> None:
        if done == 1:
            (out / "clean" / "id10000" / "v" / "1.wav").mkdir()

    with pytest.raises(KithError, match=r"1\.wav: cannot write"):
        simulate(trials, corpus, out, SimulationOptions(("clean",)), progress=block)


def test_a_damaged_journal(corpus: Path, trials: Path, tmp_path: Path) -> None:
    options = SimulationOptions(("clean",))
    simulate(trials, corpus, tmp_path / "out", options)
    (tmp_path / "out" / "journal.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"journal\.jsonl:1: damaged .*; begin in a new folder"):
        simulate(trials, corpus, tmp_path / "out", options)
