from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.errors import InputError
from openkith.metrics import OpenSetMetrics, open_set_report
from openkith.report import write_report

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


@pytest.fixture
def report(tmp_path, parse):
    def write(runs, **options):
        path = write_report(tmp_path / "report.html", runs, **({"title": "A title"} | options))
        page = parse(path.read_text(encoding="utf-8"))
        check(page)
        return page

    return write


def check(page) -> None:
    """What holds for every report."""
    assert page.faults == []
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert [i for i, n in Counter(ids).items() if n > 1] == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            if name in attrs:
                assert attrs[name].startswith("#"), (tag, attrs)
                assert attrs[name][1:] in ids
    css = " ".join(page.within("style")) + " ".join(a.get("style") or "" for _, a in page.elements)
    assert "@import" not in css
    assert "url(" not in css
    assert "http" not in page.source.lower().replace("http-equiv", "")
    for clip in (attrs["clip-path"] for _, attrs in page.elements if "clip-path" in attrs):
        assert clip.removeprefix("url(#").removesuffix(")") in ids
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and len(svg["aria-label"]) > 20)
    assert all(page.source.find(f"<{tag}>") >= 0 for tag in ("h1", "h2"))


def pair(make_run, **options):
    return [
        make_run(**options),
        make_run(method="auto", chosen="speaker-rpl", sharpness=24.0, **options),
    ]


def test_a_section_has_every_part(report, make_run):
    page = report(pair(make_run), subtitle="A subtitle")
    assert page.within("h1") == ["A title"]
    assert page.within("title") == ["A title"]
    assert "A subtitle" in page.within("header")
    assert page.within("h2") == ["home", "What the numbers mean"]
    assert page.within("h3") == [
        "Error rates",
        "Scores",
        "Error trade-off",
        "Who was taken for whom",
        "Map of the voices",
        "Decisions",
    ]
    labels = [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]
    kinds = Counter(label.split()[0] for label in labels)
    assert kinds == {"Bars,": 1, "Histogram": 2, "ROC": 2, "DET": 2, "Confusion": 2, "Map": 1}
    assert page.within("nav") == []
    assert "auto (speaker-rpl)" in page.text


def test_the_headline_counts_what_the_runs_say(report, make_run):
    runs = pair(make_run, known=60, unknown=50)
    page = report(runs)
    run = runs[1]  # auto is what the sentence is about
    right = wrong = unsure = missed = refused = named = open_ = 0
    for label, status, name in zip(run.labels, run.statuses, run.decided, strict=True):
        if label >= 0:
            right += status == "known" and name == run.names[label]
            wrong += status == "known" and name != run.names[label]
            unsure += status == "unsure"
            missed += status == "unknown"
        else:
            refused += status == "unknown"
            open_ += status == "unsure"
            named += status == "known"
    assert min(right, wrong, unsure, missed, refused, named, open_) > 0
    assert (
        f"Of 60 clips of people you enrolled, {right} were named rightly, {wrong} wrongly, {unsure} left unsure and "
        f"{missed} not recognised; of 50 clips of strangers, {refused} were refused, {open_} left unsure and {named} "
        "given a name."
    ) in page.text


def test_several_manifests_get_a_table_of_contents_and_an_overview(report, make_run):
    runs = pair(make_run, manifest="clean") + pair(make_run, manifest="noisy", people=6)
    page = report(runs)
    assert page.within("nav") == ["clean", "noisy"]
    assert page.within("h2") == ["At a glance", "clean", "noisy", "What the numbers mean"]
    assert {a["href"] for a in page.all("a")} == {"#m1", "#m2"}
    assert {s["id"] for s in page.all("section") if "id" in s} >= {"m1", "m2"}


def test_text_of_the_user_is_shown_and_not_obeyed(report, make_run):
    names = (EVIL, "$x_1^2$ \\frac", "a\x00b\x1b\udcff", "--><!--", "李雷 🦊 שלום")
    run = make_run(
        manifest=EVIL,
        names=names,
        method="m" + EVIL,
        chosen=EVIL,
        reasons=(EVIL,) * 40,
        probes=(EVIL,) * 40,
        truth=(EVIL,) * 40,
        statuses=("known",) * 40,
        decided=tuple(names[i % 5] for i in range(40)),
    )
    page = report([run, replace(run, manifest="other")], title=EVIL, subtitle=EVIL)
    assert page.within("h1") == [EVIL]
    assert page.within("header").count(EVIL) == 2
    assert EVIL in page.within("h2")
    assert page.within("nav")[0] == EVIL
    assert page.within("td").count(EVIL) > 40
    assert "a��b" not in page.text
    assert "a�b��" in page.text
    assert "$x_1^2$ \\frac" in page.within("svg")
    assert "李雷 🦊 שלום" in page.within("svg")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"unknown": 0}, "as there are no strangers among the clips"),
        ({"known": 0}, "as there are no clips of enrolled people among the clips"),
        ({"people": 1}, "1 person enrolled from 3 clips."),
        ({"people": 1, "unknown": 0}, "as there are no strangers among the clips"),
        ({"people": 1, "known": 1, "unknown": 0}, "Of 1 clip of people"),
        ({"people": 2, "dim": 2}, "2 people enrolled"),
        ({"people": 3, "dim": 1}, "3 people enrolled"),
        ({"people": 44, "known": 88}, "44 people enrolled"),
        ({"people": 70, "known": 140}, "The 50 people with most mistakes; 20 more are not shown"),
    ],
)
def test_unusual_sets(report, make_run, options, sentence):
    assert sentence in report([make_run(**options)]).text


def test_not_a_number_is_a_dash(report, make_run):
    metrics = OpenSetMetrics(n_speakers=5, n_known=20, n_unknown=20)
    page = report([make_run(metrics=metrics, threshold=np.inf)] * 2)
    assert page.within("td").count("–") >= 14
    assert "nan" not in page.text.lower().split()
    assert page.text.count("not defined") >= 4


def test_infinite_scores(report, make_run):
    run = make_run()
    scores = run.scores.copy()
    scores[0], scores[1, 0], scores[2] = -np.inf, np.inf, -np.inf
    report([replace(run, scores=scores, metrics=open_set_report(scores, run.labels))])


def test_embeddings_that_are_all_the_same(report, make_run):
    run = make_run()
    page = report(
        [
            replace(
                run,
                embeddings=np.ones_like(run.embeddings),
                enrolment_embeddings=np.ones_like(run.enrolment_embeddings),
            )
        ]
    )
    assert "Map of the voices" in page.text


def test_seeds_are_averaged_and_the_page_says_so(report, make_run):
    runs = [make_run(seed=seed) for seed in (4, 2, 7)]
    page = report(runs)
    mean = 100 * np.mean([run.metrics.detection_eer for run in runs])
    assert f"{mean:.1f} %" in page.within("td")
    assert "Mean over 3 seeds" in page.text
    assert "those of seed 2" in page.text


def test_thousands_of_probes_stay_small_and_mistakes_are_kept(report, make_run):
    runs = pair(make_run, people=45, known=2500, unknown=2500)
    page = report(runs)
    assert len(page.source.encode()) < 5_000_000
    assert "more are left out to keep this file small" in page.text
    assert "clips are not drawn" in page.text


def test_the_same_runs_give_the_same_bytes(tmp_path, make_run):
    files = [write_report(tmp_path / f"{i}.html", pair(make_run), title="t").read_bytes() for i in range(2)]
    assert files[0] == files[1]


def test_settings_of_matplotlib_neither_matter_nor_change(tmp_path, make_run):
    import matplotlib

    plain = write_report(tmp_path / "plain.html", [make_run()], title="t").read_bytes()
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40.0, "axes.facecolor": "red"}):
        mine = dict(matplotlib.rcParams)
        assert write_report(tmp_path / "mine.html", [make_run()], title="t").read_bytes() == plain
        assert dict(matplotlib.rcParams) == mine


def test_an_old_report_is_replaced_only_by_a_whole_one(tmp_path, make_run, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(self, target):
        assert self.parent == target.parent
        assert "</html>" in self.read_text(encoding="utf-8")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(InputError, match=r"report\.html: cannot write \(No space left on device\)"):
            write_report(path, [make_run()], title="t")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert write_report(str(path), [make_run()], title="t") == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path, make_run):
    with pytest.raises(InputError, match=r"missing.*choose a folder that exists"):
        write_report(tmp_path / "missing" / "report.html", [make_run()], title="t")


def test_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match="none to report"):
        write_report(tmp_path / "report.html", [], title="t")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_report_loads_no_matplotlib_and_writing_it_no_pyplot():
    code = (
        "import sys, openkith.report\n"
        "heavy = {'torch', 'matplotlib', 'openkith.evaluation', 'openkith.recognizer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from openkith.report.figures import det, Curve\n"
        "import numpy as np\n"
        "det([Curve('a', 0, np.arange(9.0), np.arange(9.0) - 3)], '', 'k')\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
