"""matplotlib drawings as SVG to put into a page, in the page's own colours, or as a picture in those of light paper.

matplotlib knows no style sheets, so each role has a stand-in colour, and the finished SVG gets
``var(--role)`` in its place: the same drawing is then legible on light and on dark paper. Text stays text, in
the page's font; what matplotlib adds to a stand-alone file (metadata, style, unused ids) goes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72.0  # the unit of matplotlib's SVG, shown as a CSS pixel
FONT_SIZE = 12.0
LABEL_LENGTH = 16  # characters of a name in a drawing
CHARACTER = 7.0  # CSS pixels, about, of one of them
N_SERIES = 5
N_PEOPLE = 7

_ROLES = (
    *("ink", "soft", "line", "paper", "right", "wrong", "stranger", "other"),
    *(f"series{i}" for i in range(N_SERIES)),
    *(f"person{i}" for i in range(N_PEOPLE)),
)
_STAND_INS = {role: f"#0102{i:02x}" for i, role in enumerate(_ROLES)}
_VARIABLES = {color: f"var(--{role})" for role, color in _STAND_INS.items()}
_STAND_IN = re.compile("#0102[0-9a-f]{2}")
_PALETTE: ContextVar[Mapping[str, str]] = ContextVar("palette", default=_STAND_INS)
_ROOT_RULE = re.compile(r":root\s*{([^}]*)}")  # the first one is light paper
_DEFINED = re.compile(r"--(\w+):\s*(#[0-9a-f]{6})")
_PICTURE_DPI = 2 * POINTS_PER_INCH
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_PAGE_FONT = re.compile(r"font-family:[^;]*;?|stroke-linejoin:[^;]*;?")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def color(role: str) -> str:
    """The stand-in for a colour of the style sheet, such as ``ink`` or ``series0``; in a picture the colour itself."""
    return _PALETTE.get()[role]


@cache
def paper_colors() -> Mapping[str, str]:
    """The colours that the style sheet has for light paper, by role."""
    style = resources.files("openkith.report").joinpath("report.css").read_text(encoding="utf-8")
    rule = _ROOT_RULE.search(style)
    return dict(_DEFINED.findall(rule[1] if rule else ""))


def printable(text: str) -> str:
    """The text without characters that a page cannot hold; file names may have any."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shorten(name: str, length: int = LABEL_LENGTH) -> str:
    """A name that fits a drawing, its end kept too: names of many speakers differ there."""
    name = printable(name)
    if len(name) <= length:
        return name
    tail = (length - 1) // 3
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


@contextmanager
def drawing(*, picture: bool = False) -> Iterator[None]:
    """Draw in here: the user's own matplotlib settings do not matter, and are not changed.

    Args:
        picture: For `to_png`; else for `to_svg`.
    """
    token = _PALETTE.set(paper_colors() if picture else _STAND_INS)
    try:
        with _settings():
            yield
    finally:
        _PALETTE.reset(token)


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib.style

    settings = {
        "font.size": FONT_SIZE,
        "svg.fonttype": "none",
        "svg.hashsalt": "openkith",
        "text.parse_math": False,
        "path.simplify_threshold": 0.25,
        **{key: color("ink") for key in ("text.color", "axes.labelcolor")},
        **{key: color("soft") for key in ("xtick.color", "ytick.color")},
        "axes.edgecolor": color("line"),
        "grid.color": color("line"),
        "grid.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.labelsize": FONT_SIZE,
        "xtick.labelsize": FONT_SIZE,
        "ytick.labelsize": FONT_SIZE,
        "xtick.major.size": 0.0,
        "ytick.major.size": 0.0,
        "lines.linewidth": 1.8,
        "lines.scale_dashes": False,
    }
    with warnings.catch_warnings(), matplotlib.style.context(["default", settings]):
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the fonts that matplotlib lacks
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")  # nor its scripts
        yield


def new_axes(
    width: float, height: float, box: tuple[float, float, float, float] | None = None
) -> tuple[Figure, Axes]:
    """A transparent figure with one pair of axes.

    Args:
        width: In CSS pixels.
        height: In CSS pixels.
        box: Left, bottom, width and height of the axes in pixels; None leaves room for labels by itself.
    """
    from matplotlib.figure import Figure

    size = (width / POINTS_PER_INCH, height / POINTS_PER_INCH)
    if box is None:
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.add_subplot()
    figure = Figure(figsize=size)
    left, bottom, across, up = box
    return figure, figure.add_axes((left / width, bottom / height, across / width, up / height))


def new_row(width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with several pairs of axes side by side, with room for labels.

    Args:
        width, height: In CSS pixels, of all.
        columns: How many.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def to_png(figure: Figure) -> bytes:
    """The figure as a picture, two pixels for each of CSS's, on light paper.

    Args:
        figure: Drawn in ``drawing(picture=True)``, in colours of `color`.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_PICTURE_DPI, facecolor=paper_colors()["paper"])
    return file.getvalue()


def to_svg(figure: Figure, key: str, label: str) -> str:
    """The figure as an SVG element.

    Args:
        figure: Drawn in `drawing`, in colours of `color`.
        key: Begins its ids; another for each figure of a page.
        label: What it shows, in words, for those who cannot see it.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    used = set(_REFERENCE.findall(file.getvalue()))
    for element in root.iter():
        for name in [name for name in element.attrib if name.endswith("}href")]:
            element.attrib["href"] = element.attrib.pop(name)
        used.add(element.get("href", "").removeprefix("#"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        _rewrite(element, key, used)
    _shrink(root)
    width, height = figure.get_size_inches() * POINTS_PER_INCH
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width:g}",
        "height": f"{height:g}",
        "role": "img",
        "aria-label": printable(label),
    }
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(element: ElementTree.Element, key: str, used: set[str]) -> None:
    attributes = element.attrib
    if attributes.get("id") in used:
        attributes["id"] = f"{key}-{attributes['id']}"
    else:
        attributes.pop("id", None)
    if "href" in attributes:
        attributes["href"] = f"#{key}-{attributes['href'].removeprefix('#')}"
    if "clip-path" in attributes:
        attributes["clip-path"] = _REFERENCE.sub(rf"url(#{key}-\1)", attributes["clip-path"])
    if "style" in attributes:
        style = _STAND_IN.sub(lambda found: _VARIABLES[found[0]], _PAGE_FONT.sub("", attributes["style"]))
        attributes["style"] = style.replace("; ", ";").replace(": ", ":")
    for name in ("d", "x", "y", "transform"):
        if name in attributes:
            attributes[name] = _DECIMALS.sub(lambda found: f"{float(found[0]):.2f}", attributes[name])


def _shrink(element: ElementTree.Element) -> None:
    """Drop what a page does not need, and groups that only hold their contents."""
    kept: list[ElementTree.Element] = []
    for child in element:
        if child.tag in ("metadata", "style"):
            continue
        _shrink(child)
        kept += list(child) if child.tag == "g" and not child.attrib else [child]
    element[:] = kept
    element.tail = None
    if element.tag != "text":
        element.text = None
