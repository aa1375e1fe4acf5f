"""The application as a whole."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from fastapi.testclient import TestClient

from openkith.recognizer import Recognizer
from openkith.service import create_app


def test_create_app_takes_a_recognizer_alone(tmp_path: Any, bands: Any) -> None:
    with Recognizer(tmp_path / "g.db", encoder=bands) as recognizer:
        with TestClient(create_app(recognizer), base_url="http://127.0.0.1") as client:
            assert client.get("/healthz").status_code == 200
        recognizer.gallery.people()  # it stays open


def test_settings_need_no_server() -> None:
    """The settings, and with them the command line, import none of the packages of a server."""
    code = (
        "import sys, openkith.service, openkith.cli\n"
        "print(sorted({'fastapi', 'uvicorn', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_description(client: Any) -> None:
    api = client.get("/openapi.json").json()
    assert api["info"]["title"] == "openkith"
    assert "ProblemOut" in api["components"]["schemas"]
    assert not {"HTTPValidationError", "ValidationError"} & set(api["components"]["schemas"])
    assert api == client.get("/openapi.json").json()
