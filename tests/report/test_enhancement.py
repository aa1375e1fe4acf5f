from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openkith.enhancement.analysis import Analysis, compare_distances, compare_scores
from openkith.enhancement.curves import Curves
from openkith.errors import InputError
from openkith.report.enhancement import draw_analysis, draw_curves, write_enhancement_report

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def curves(tmp_path) -> Curves:
    return Curves(
        run=tmp_path / "v2 & more",
        net="v2",
        loss_name="mse",
        planned=8,
        epochs=np.arange(1, 6),
        loss=np.array([0.5, 0.4, 0.3, 0.25, 0.2]),
        rates={"eer": np.linspace(0.2, 0.1, 5), "second_eer": np.linspace(0.3, 0.25, 5)},
        raw={"eer": 0.17, "second_eer": 0.22},
        lists={"eer": "home", "second_eer": EVIL},
    )


@pytest.fixture
def analysis() -> Analysis:
    rng = np.random.default_rng(0)
    flags = np.arange(200) % 2 == 0
    before, after = flags + rng.normal(size=200), 2 * flags + rng.normal(size=200)
    return Analysis(
        "enhancer:1",
        "step-00000100",
        (compare_scores("home", flags, before, after),),
        tuple(
            compare_distances(name, np.zeros(200, int), flags, before**2, after**2)
            for name in ("1 - cosine", "RMS difference")
        ),
    )


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def test_the_page(curves, analysis, tmp_path, parse):
    path = write_enhancement_report(tmp_path / "report.html", curves, analysis)
    page = parse(path.read_text(encoding="utf-8"))
    assert page.faults == []
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"curves", "analysis"} <= set(ids)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img"}
    source = page.source
    assert EVIL not in source
    assert "alert(1)" in source
    assert "v2 &amp; more: 5 of 8 epochs" in source
    assert "The loss went from 0.5 to 0.2; the error rate on home is 10.0 %, 17.0 % without" in source
    assert "Of step-00000100, while the training goes on." in source
    assert sum(svg.get("role") == "img" for svg in page.all("svg")) == 2 + 2 + 4
    assert "#0102" not in source  # every stand-in became a colour of the page


def test_without_analysis_and_without_rates(curves, tmp_path, parse):
    bare = Curves(**{**vars(curves), "rates": {}, "raw": {}, "lists": {}, "planned": 5})
    page = parse(write_enhancement_report(tmp_path / "report.html", bare).read_text(encoding="utf-8"))
    assert page.faults == []
    assert '<section id="analysis">' not in page.source
    assert ": 5 epochs<" in page.source
    assert sum(svg.get("role") == "img" for svg in page.all("svg")) == 1
    assert png_size(draw_curves(bare, tmp_path / "curves.png"))[0] == 2160


def test_pictures(curves, analysis, tmp_path):
    wide, high = png_size(draw_curves(curves, tmp_path / "curves.png"))
    assert (wide, high) == (2160, 780)
    assert png_size(draw_analysis(analysis, tmp_path / "analysis.png")) == (2160, 1800)
    with pytest.raises(InputError, match="cannot write"):
        draw_curves(curves, tmp_path / "nowhere" / "curves.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["analysis.png", "curves.png"]
