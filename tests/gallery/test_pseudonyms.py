from __future__ import annotations

import pytest

from openkith.gallery.pseudonyms import display_name, hide_names, show_names

IDS = {"Al": 1, "Al Green": 2, "Anna (mum)": 3, "王芳": 4, "O'Brien": 5, "a.b": 6, "gone": 0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "like nobody enrolled",
        "Al's voice, from 2.0 s of speech",
        "sounds like Al and like Al Green: too close to call",
        "Anna (mum) (0.3-1.2 s) and O'Brien (1.5-2.0 s), in 2.0 s of speech of several voices",
        "王芳's voice, of a.b, Al",
        "Al, Al Green and Al",
    ],
)
def test_there_and_back(text: str) -> None:
    hidden = hide_names(text, IDS)
    for name in IDS:
        assert not text or name not in hidden
    assert show_names(hidden, {number: name for name, number in IDS.items()}) == text


def test_only_whole_words() -> None:
    text = "Almost all of Alabama, aXb, and Algreen"
    assert hide_names(text, IDS) == text


def test_a_present_name_and_one_that_is_gone() -> None:
    hidden = hide_names("Al Green's voice, more like Al, not gone", IDS)
    assert show_names(hidden, {2: "Albert"}) == "Albert's voice, more like person 1, not somebody"


def test_names_that_stand_in_for_others() -> None:
    """Nothing is looked for in what was put in, neither digits nor other names."""
    ids = {"bob": 12, "12": 7, "person": 8}
    hidden = hide_names("bob and 12", ids)
    assert show_names(hidden, {12: "12", 7: "bob"}) == "12 and bob"
    assert show_names(hidden, {}) == "person 12 and person 7"


def test_a_text_cannot_forge_a_number() -> None:
    assert show_names(hide_names("\x021\x03 Al \x02", IDS), {1: "x"}) == "1 x "


def test_nobody_known() -> None:
    assert hide_names("Al", {}) == "Al"
    assert hide_names("Al", {"": 3}) == "Al"
    assert display_name(3, {}) == "person 3"
