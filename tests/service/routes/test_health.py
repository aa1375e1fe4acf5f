"""Health, readiness, counters and status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openkith import __version__
from openkith.errors import WeightsError
from openkith.gallery import Gallery
from openkith.recognizer import Recognizer
from openkith.service import create_app


def test_health_and_readiness(client: Any) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_not_ready_without_an_encoder(
    tmp_path: Any, monkeypatch: Any, wait_until: Callable[..., Any]
) -> None:
    from fastapi.testclient import TestClient

    def fail(*args: object, **options: object) -> None:  # noqa: ARG001
        raise WeightsError("no weights of it")

    monkeypatch.setattr("openkith.recognizer.recognizer.load_encoder", fail)
    with (
        Gallery(tmp_path / "g.db") as gallery,
        TestClient(create_app(Recognizer(gallery, "ge2e")), base_url="http://localhost") as client,
    ):
        wait_until(lambda: "no weights of it" in client.get("/readyz").json()["detail"])
        answer = client.get("/readyz")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert client.get("/healthz").status_code == 200


def test_status(client: Any, household: dict[str, int]) -> None:
    found = client.get("/v1/status").json()
    assert (found["version"], found["encoder"], found["people"]) == (__version__, "bands", len(household))
    assert found["scopes"] == ["read", "identify", "enrol", "admin"]
    assert found["tuned"] is False
    assert found["note"]
    assert found["limits"] == {"max_bytes": 2**25, "max_seconds": 600.0}


def test_status_of_an_empty_gallery(start_app: Callable[..., Any]) -> None:
    found = start_app().get("/v1/status").json()
    assert (found["method"], found["people"], found["miss"]) == (None, 0, None)
    assert (found["far"], found["verify_far"], found["unknown_prior"]) == (0.01, 0.01, 0.5)


def test_counters_name_nobody(client: Any, household: dict[str, int], clip: Callable[..., bytes]) -> None:
    client.post("/v1/identify", content=clip(1, 9), headers={"Content-Type": "audio/wav"})
    client.get("/v1/no/such/thing")
    page = client.get("/metrics").text
    assert 'kith_requests_total{method="POST",route="/v1/identify",status="200"} 1.0' in page
    assert 'kith_requests_total{method="GET",route="other",status="404"} 1.0' in page
    assert 'kith_decisions_total{kind="identify"' in page
    assert "kith_ready 1.0" in page
    assert not any(name in page for name in household)
