"""The frame of the page, and the file."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import openkith
from openkith.errors import InputError
from openkith.report.runs import ScoredRun, Section, group
from openkith.report.sections import section_html
from openkith.report.tables import escape, glossary, overview_table

TABLE_BYTES = 1_500_000  # of all tables of decisions together


def write_report(path: str | Path, runs: Sequence[ScoredRun], *, title: str, subtitle: str = "") -> Path:
    """Write scored runs as one HTML file that needs no network and runs no script.

    For each manifest: what happened in one sentence, the metrics of all methods side by side (means, where a
    method has several seeds), error rates as bars, histograms of scores, ROC and DET curves, confusion
    matrices, a map of the embeddings, and every decision, mistakes first. Figures and decisions are of the
    smallest seed. Large sets are drawn from a part of their points, and the page says so.

    Args:
        path: The file; one that exists is replaced when the new one is complete. Its folder must exist.
        runs: One or more scored runs, in the order that manifests and methods shall have.
        title: Heading of the page.
        subtitle: A line below it.

    Returns:
        The path.

    Raises:
        InputError: No runs, a run whose parts do not fit each other, or a file that cannot be written.
    """
    return write_page(path, render(group(runs), title, subtitle))


def write_page(path: str | Path, page: str) -> Path:
    """Write a page; one that exists is replaced when the new one is complete.

    Raises:
        InputError: It cannot be written.
    """
    return _write(Path(path), page.encode())


def write_picture(path: str | Path, picture: bytes) -> Path:
    """Write a picture, as `write_page` a page.

    Raises:
        InputError: It cannot be written.
    """
    return _write(Path(path), picture)


def _write(target: Path, content: bytes) -> Path:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{target}: cannot write ({error.strerror}); choose a folder that exists and is writable"
        ) from error
    return target


def render(sections: Sequence[Section], title: str, subtitle: str) -> str:
    """The page as text."""
    ids = [f"m{i}" for i in range(1, len(sections) + 1)]
    several = len(sections) > 1
    links = "".join(
        f'<li><a href="#{i}">{escape(s.manifest)}</a></li>' for i, s in zip(ids, sections, strict=True)
    )
    navigation = f'<nav aria-label="Manifests"><ol>{links}</ol></nav>' if several else ""
    overview = f"<section><h2>At a glance</h2>{overview_table(sections, ids)}</section>" if several else ""
    n_tables = sum(len(section.methods) for section in sections)
    body = "".join(section_html(s, i, TABLE_BYTES // n_tables) for s, i in zip(sections, ids, strict=True))
    terms = f'<section id="terms"><h2>What the numbers mean</h2>{glossary()}</section>'
    return frame(title, subtitle, f"{overview}{body}{terms}", navigation)


def frame(title: str, subtitle: str, body: str, navigation: str = "") -> str:
    """A page around sections.

    Args:
        title: Heading of the page.
        subtitle: A line below it; empty: none.
        body: Its sections, as HTML.
        navigation: Links to them, as HTML; empty: none.
    """
    style = resources.files("openkith.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Nothing is fetched and no script runs, even if a name should get past the escaping.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n"
        f"<body{' class=several' if navigation else ''}>{navigation}<main>"
        f"<header><h1>{escape(title)}</h1>{f'<p>{escape(subtitle)}</p>' if subtitle else ''}</header>"
        f"{body}"
        f"<footer>Made by openkith {openkith.__version__}. This file is complete: it loads nothing.</footer>"
        "</main></body></html>\n"
    )
