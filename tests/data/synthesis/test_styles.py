"""Styles: a known set, within what one person can do, and a new person refused."""

from __future__ import annotations

import numpy as np
import pytest

from openkith.data.synthesis.styles import NEW_PERSON, SAME_PERSON, STYLES, Style, style_named
from openkith.errors import ConfigError


def test_the_styles_of_the_papers() -> None:
    assert list(STYLES) == ["older", "younger", "happy", "sad", "angry", "tired", "fast", "slow"]
    assert all(style.name == name and style.instructions for name, style in STYLES.items())


@pytest.mark.parametrize(
    ("high", "low", "field"),
    [
        ("happy", "sad", "pitch"),
        ("happy", "sad", "pitch_range"),
        ("angry", "tired", "tilt"),
        ("fast", "slow", "tempo"),
        ("younger", "older", "pitch"),
    ],
)
def test_styles_differ_as_moods_do(high: str, low: str, field: str) -> None:
    assert getattr(STYLES[high], field) > 1.05 * getattr(STYLES[low], field)


@pytest.mark.parametrize("name", list(STYLES))
def test_no_clip_of_a_style_makes_a_new_person(name: str) -> None:
    rng = np.random.default_rng(0)
    drawn = [STYLES[name].drawn(rng) for _ in range(300)]
    assert max(abs(style.formants - 1) for style in drawn) <= SAME_PERSON
    assert np.ptp([style.pitch for style in drawn]) > 0.05
    assert np.mean([style.tempo for style in drawn]) == pytest.approx(STYLES[name].tempo, rel=0.02)


def test_the_edges_of_what_may_be_asked_can_be_drawn() -> None:
    edge = Style("x", pitch=1.8, pitch_range=3.0, tempo=2.0, formants=0.96, tilt=-6.0)
    rng = np.random.default_rng(0)
    assert all(edge.drawn(rng).pitch <= 1.8 for _ in range(50))


@pytest.mark.parametrize("formants", [1 + NEW_PERSON, 1 - NEW_PERSON, 1.3, 0.5, float("nan")])
def test_a_style_that_makes_a_new_person_is_refused(formants: float) -> None:
    with pytest.raises(ConfigError, match=r"style 'odd': formants times .* make a new person; .* within 4%"):
        Style("odd", formants=formants)


@pytest.mark.parametrize("formants", [1.08, 0.93])
def test_formants_between_one_person_and_another_are_refused(formants: float) -> None:
    with pytest.raises(ConfigError, match="surely neither"):
        Style("odd", formants=formants)


@pytest.mark.parametrize(
    ("field", "value"), [("pitch", 3.0), ("pitch_range", -1.0), ("tempo", float("nan")), ("tilt", 9.0)]
)
def test_a_value_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"style 'odd': {field} is {value}"):
        Style("odd", **{field: value})


def test_names() -> None:
    assert [style.name for style in style_named(["sad", "happy"])] == ["sad", "happy"]
    assert style_named([]) == list(STYLES.values())
    with pytest.raises(ConfigError, match="style 'merry' is unknown; use older, younger, happy"):
        style_named(["merry"])
    with pytest.raises(ConfigError, match="style 'sad' is given twice"):
        style_named(["sad", "sad"])
    with pytest.raises(ConfigError, match="letters"):
        Style("../x")
