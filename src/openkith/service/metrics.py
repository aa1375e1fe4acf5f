"""What `/metrics` tells Prometheus: counts and times, and nobody's name."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "kith_requests",
            "Requests answered, by route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "kith_request_seconds",
            "Time to the last byte of an answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.decisions = Counter(
            "kith_decisions", "Decisions, by kind and status.", ["kind", "status"], registry=registry
        )
        self.decoding = Histogram(
            "kith_decode_seconds",
            "Time to decode an upload, waiting included.",
            buckets=SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "kith_refused_uploads", "Uploads that are no usable recording.", registry=registry
        )
        self.streams = Gauge("kith_streams", "Live streams that are open.", registry=registry)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(read)

    def page(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self._registry)
