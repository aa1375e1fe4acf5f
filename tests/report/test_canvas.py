from __future__ import annotations

from xml.etree import ElementTree

import pytest

from openkith.report.canvas import (
    LABEL_LENGTH,
    color,
    drawing,
    new_axes,
    new_row,
    paper_colors,
    printable,
    shorten,
    to_png,
    to_svg,
)


@pytest.fixture
def svg():
    with drawing():
        figure, axes = new_axes(300, 200)
        axes.plot([0, 1, 2], [0.123456, 5, 1], "o-", color=color("series1"))
        axes.set_title('<b id="x"> & "c" #010200 $a_1$')
        return to_svg(figure, "key", 'what "it" <shows>')


def test_colours_are_the_page_s(svg):
    assert "stroke:var(--series1)" in svg
    assert "fill:var(--ink)" in svg
    assert "#" not in svg.replace("#key-", "").replace("#010200", "").replace("#ffffff", "")


def test_it_is_one_svg_element_with_a_label_and_nothing_of_a_stand_alone_file(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert root.attrib == {
        "viewBox": "0 0 300 200",
        "width": "300",
        "height": "200",
        "role": "img",
        "aria-label": 'what "it" <shows>',
    }
    assert not {e.tag for e in root.iter()} & {"metadata", "style", "title"}
    assert "font-family" not in svg


def test_text_is_kept_as_it_is(svg):
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter("text")]
    assert '<b id="x"> & "c" #010200 $a_1$' in texts


def test_ids_begin_with_the_key_and_all_references_lead_somewhere(svg):
    root = ElementTree.fromstring(svg)
    ids = {e.get("id") for e in root.iter() if "id" in e.attrib}
    links = {e.get("href")[1:] for e in root.iter("use")}
    clips = {e.get("clip-path")[5:-1] for e in root.iter() if "clip-path" in e.attrib}
    assert links
    assert clips
    assert ids == links | clips
    assert all(i.startswith("key-") for i in ids)


def test_a_picture_has_the_colours_of_light_paper():
    assert paper_colors()["paper"] == "#fcfcfb"
    with drawing(picture=True):
        figure, axes = new_row(300, 200, 2)
        assert color("right") == paper_colors()["right"]
        axes[1].plot([0, 1], [0, 1], color=color("right"))
        picture = to_png(figure)
    assert picture.startswith(b"\x89PNG")
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (600, 400)
    assert color("right").startswith("#0102")  # a page's again


def test_an_unknown_colour_is_a_mistake():
    with pytest.raises(KeyError):
        color("blue")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc", "a�b�c"), ("\x00", "�"), ("\udc80", "�"), ("é李🦊", "é李🦊"), ("\ufffe", "�")],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_shorten_keeps_beginning_and_end():
    assert shorten("abc") == "abc"
    assert shorten("a" * LABEL_LENGTH) == "a" * LABEL_LENGTH
    short = shorten("abcdefghijklmnopqrstuvwxyz 0123")
    assert len(short) == LABEL_LENGTH
    assert short == "abcdefghij… 0123"[: LABEL_LENGTH - 5] + " 0123"[-5:]
