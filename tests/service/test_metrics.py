"""Counters."""

from __future__ import annotations

from openkith.service.metrics import Metrics


def test_daemons_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.decisions.labels("identify", "known").inc()
    one.watch("kith_waiting", "Waiting.", lambda: 7.0)
    assert b'kith_decisions_total{kind="identify",status="known"} 1.0' in one.page()
    assert b"kith_waiting 7.0" in one.page()
    assert b"identify" not in other.page()
