"""Invented runs to report: people on axes of their own, strangers between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from openkith.metrics import OpenSetMetrics, open_set_report


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    manifest: str
    method: str
    chosen: str
    seed: int
    names: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    statuses: tuple[str, ...]
    decided: tuple[str | None, ...]
    reasons: tuple[str, ...]
    seconds: np.ndarray
    probes: tuple[str, ...]
    truth: tuple[str, ...]
    threshold: float
    far: float
    embeddings: np.ndarray
    enrolment_embeddings: np.ndarray
    enrolment_labels: np.ndarray
    metrics: OpenSetMetrics
    tune_seconds: float
    score_seconds: float


def invent(
    *,
    manifest: str = "home",
    method: str = "cosine",
    chosen: str = "",
    seed: int = 0,
    people: int = 5,
    known: int = 20,
    unknown: int = 20,
    names: tuple[str, ...] | None = None,
    sharpness: float = 14.0,
    dim: int = 48,
    **changes: Any,
) -> Run:
    rng = np.random.default_rng([seed, people, known, unknown])
    names = names or tuple(f"person {i + 1}" for i in range(people))
    voices = rng.normal(size=(people, dim))
    labels = np.concatenate([np.arange(known) % people, np.full(unknown, -1)])
    centers = np.concatenate([voices[labels[:known]], rng.normal(size=(unknown, dim))])
    embeddings = _unit(centers + 1.5 * rng.normal(size=centers.shape))
    enrolment_labels = np.repeat(np.arange(people), 3)
    enrolment = _unit(voices[enrolment_labels] + 0.9 * rng.normal(size=(3 * people, dim)))
    means = _unit(np.stack([enrolment[enrolment_labels == i].mean(axis=0) for i in range(people)]))
    noise = np.random.default_rng(len(method)).normal(scale=2.0, size=(len(labels), people))
    scores = sharpness * (2 * embeddings @ means.T - 0.6) + noise
    odds = np.concatenate([np.exp(scores) / people, np.ones((len(labels), 1))], axis=1)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    top, best = scores.max(axis=1), scores.argmax(axis=1)
    seconds = rng.uniform(0.4, 6.0, len(labels))
    statuses = tuple(
        "unknown" if t < 0.0 else "unsure" if s < 0.9 or t < 0.6 else "known"
        for t, s in zip(top, seconds, strict=True)
    )
    values: dict[str, Any] = {
        "manifest": manifest,
        "method": method,
        "chosen": chosen or method,
        "seed": seed,
        "names": names,
        "labels": labels,
        "scores": scores,
        "probabilities": probabilities,
        "statuses": statuses,
        "decided": tuple(
            None if status == "unknown" else names[i] for status, i in zip(statuses, best, strict=True)
        ),
        "reasons": tuple(
            f"{s:.1f} s of speech: too short to be sure" if s < 0.9 else "as near as own clips are"
            for s in seconds
        ),
        "seconds": seconds,
        "probes": tuple(f"clips/{i:05d}.flac 0.0-{s:.1f}" for i, s in enumerate(seconds)),
        "truth": tuple(names[i] if i >= 0 else f"guest {n}" for n, i in enumerate(labels)),
        "threshold": 0.6,
        "far": 0.01,
        "embeddings": embeddings,
        "enrolment_embeddings": enrolment,
        "enrolment_labels": enrolment_labels,
        "metrics": open_set_report(scores, labels),
        "tune_seconds": 0.8,
        "score_seconds": 0.05,
    }
    return Run(**values | changes)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """A function that invents a run; its arguments replace parts of it."""
    return invent


VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """A parsed page: its elements, text per element, and whether its tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len(dict(attrs)) != len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((tuple(self._open), data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements with that tag."""
        return [attrs for name, attrs in self.elements if name == tag]

    def within(self, tag: str) -> list[str]:
        """Pieces of text inside elements with that tag."""
        return [text for path, text in self.texts if tag in path]

    @property
    def text(self) -> str:
        """All that is read, in one line."""
        return " ".join(text for path, text in self.texts if "style" not in path)


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    """A function that parses a page, or part of one."""
    return Page
