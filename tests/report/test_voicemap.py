from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from openkith.report.voicemap import HEIGHT, MAX_POINTS, WIDTH, draw_map, plane


def test_three_people_on_a_plane_are_found_in_many_noisy_dimensions():
    rng = np.random.default_rng(0)
    means = np.zeros((3, 20))
    means[0, 4] = means[1, 9] = 6.0
    labels = np.repeat([0, 1, 2], 8)
    noise = rng.normal(size=(24, 20)) * np.where(
        np.arange(20) < 2, 9.0, 0.3
    )  # loud where people do not differ
    x = means[labels] + noise
    middle, axes = plane(x, labels, x)
    assert _separation((x - middle) @ axes, labels) > 2.0
    components = np.linalg.svd(x - x.mean(axis=0))[2][:2].T
    assert _separation(x @ components, labels) < 1.0


def _separation(flat: np.ndarray, labels: np.ndarray) -> float:
    """Least distance of two people's middles, over the largest of a clip from its own."""
    middles = np.stack([flat[labels == i].mean(axis=0) for i in range(3)])
    spread = np.linalg.norm(flat - middles[labels], axis=1).max()
    return min(np.linalg.norm(middles[i] - middles[j]) for i, j in ((0, 1), (0, 2), (1, 2))) / spread


def test_two_people_are_laid_out_by_all_clips():
    """Principal components: the axes of largest variance of enrolment and probes together."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 6)) * [1, 8, 1, 1, 4, 1]
    middle, axes = plane(x[:4], np.array([0, 0, 1, 1]), x[4:])
    np.testing.assert_allclose(middle, x.mean(axis=0))
    values, vectors = np.linalg.eigh(np.cov(x.T))
    for i in (0, 1):
        assert abs(axes[:, i] @ vectors[:, -1 - i]) == pytest.approx(1.0)
    assert values[-1] > values[-2]


@pytest.mark.parametrize(("people", "dim"), [(1, 1), (3, 1), (2, 2), (4, 2), (3, 3)])
def test_few_dimensions(make_run, people, dim):
    run = make_run(people=people, dim=dim)
    middle, axes = plane(run.enrolment_embeddings, run.enrolment_labels, run.embeddings)
    assert middle.shape == (dim,)
    assert axes.shape == (dim, 2)
    assert np.isfinite(axes).all()
    draw_map(run, "k")


def test_one_clip_each(make_run):
    run = make_run(people=6)
    first = np.arange(0, 18, 3)
    run = replace(
        run,
        enrolment_embeddings=run.enrolment_embeddings[first],
        enrolment_labels=run.enrolment_labels[first],
    )
    _, unlabelled, left_out = draw_map(run, "k")
    assert (unlabelled, left_out) == (0, 0)


def _marks(svg: str) -> list[tuple[float, float]]:
    """Middles of all marks: references to one shape, or the shape itself where there are few."""
    root = ElementTree.fromstring(svg)
    shapes = {path for defs in root.iter("defs") for path in defs.iter("path")}
    marks = [(float(e.get("x")), float(e.get("y"))) for e in root.iter("use")]
    for path in root.iter("path"):
        if path not in shapes and "stroke:var(" in path.get("style", ""):
            corners = np.array(re.findall(r"[-\d.]+", path.get("d")), dtype=float).reshape(-1, 2)
            marks.append(tuple((corners.min(axis=0) + corners.max(axis=0)) / 2))
    return marks


def test_every_clip_is_on_the_map_and_every_name_beside_it(make_run):
    run = make_run(names=("a", "b", "c<d>", "$e$", "f" * 30), statuses=("unsure",) * 40, decided=(None,) * 40)
    svg, unlabelled, left_out = draw_map(run, "k")
    assert (unlabelled, left_out) == (0, 0)
    marks = _marks(svg)
    assert len(marks) == 40 + 15  # nothing is boxed, as nothing is decided wrongly
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in marks)
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter("text")]
    assert sorted(texts) == sorted(["a", "b", "c<d>", "$e$", "f" * 10 + "…" + "f" * 5])


def test_mistakes_are_boxed(make_run):
    run = make_run(statuses=("unknown",) * 40, decided=(None,) * 40)
    assert len(_marks(draw_map(run, "k")[0])) == 40 + 15 + 20


def test_many_clips_are_thinned_but_rare_mistakes_are_kept(make_run):
    known, unknown = 1500, 1700
    names = tuple(f"p{i}" for i in range(5))
    right = [names[i % 5] for i in range(known)]
    right[701] = names[2]
    run = make_run(
        names=names,
        known=known,
        unknown=unknown,
        statuses=("known",) * known + ("unknown",) * unknown,
        decided=(*right, *(None,) * unknown),
    )
    svg, _, left_out = draw_map(run, "k")
    assert left_out == known + unknown - 2 * MAX_POINTS
    assert len(_marks(svg)) == 2 * MAX_POINTS + 15 + 1


def test_names_do_not_cover_each_other(make_run):
    run = make_run(people=60, known=60)
    svg, unlabelled, _ = draw_map(run, "k")
    places = [(float(e.get("x")), float(e.get("y"))) for e in ElementTree.fromstring(svg).iter("text")]
    assert len(places) == 60 - unlabelled
    for i, (x, y) in enumerate(places):
        assert all(abs(x - u) > 40 or abs(y - v) >= 14 for u, v in places[:i])
