"""A daemon against its own OpenAPI description, with whatever schemathesis makes of it."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import negative_data_rejection, positive_data_acceptance

pytestmark = pytest.mark.slow

EXAMPLES = 20  # of each operation
# Fits the description, and is refused all the same: a name that is taken, a number that is nobody's, bytes that are no
# recording.
LEFT_OUT = [positive_data_acceptance]
# A parameter of the query that there is not is passed over, as everywhere.
LEFT_OUT_OF_READING = [*LEFT_OUT, negative_data_rejection]


@pytest.fixture(scope="module")
def api(shared_daemon: Any, clip: Any) -> Any:
    """The description of a daemon with two people in its gallery, and a recording in review."""
    gallery = str(shared_daemon.log.with_name("gallery.db"))
    for name, person in (("Alice", 1), ("Bob", 2)):
        shared_daemon.enrol(clip, name, person)
    shared_daemon.ask("PUT", "/v1/review/settings", value={"keep": True, "days": 3})
    assert shared_daemon.send_clip("/v1/identify", clip(77, 1)).status == 200
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "openkith",
            "keys",
            "create",
            "test",
            "--scope",
            "admin",
            "--gallery",
            gallery,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    shared_daemon.key = made.stdout.strip()
    time.sleep(1.1)  # after which the daemon asks for it
    return schemathesis.openapi.from_url(f"{shared_daemon.url}/openapi.json")


def faults_of(operation: Any, mode: str, headers: dict[str, str]) -> tuple[int, list[str]]:
    """How often an operation was asked, and what was wrong with the answers."""
    asked = 0
    left_out = LEFT_OUT_OF_READING if operation.method == "get" else LEFT_OUT

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(headers=headers, excluded_checks=left_out)

    try:
        ask()
    except Unsatisfiable:  # nothing that does not fit can be made of it
        assert mode == "negative"
    except BaseExceptionGroup as group:
        return asked, [f"{operation.label}: {error}" for error in group.exceptions]
    return asked, []


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_as_described(shared_daemon: Any, api: Any, mode: str) -> None:
    """With bodies and parameters that fit the description, and with others."""
    headers = {"Authorization": f"Bearer {shared_daemon.key}"}
    found = [faults_of(result.ok(), mode, headers) for result in api.get_all_operations()]
    faults = [fault for _, faults in found for fault in faults]
    assert not faults, "\n\n".join(faults)
    assert sum(asked for asked, _ in found) > 5 * EXAMPLES


def test_it_lives_and_has_lost_nothing(shared_daemon: Any, api: Any) -> None:  # noqa: ARG001
    assert shared_daemon.ask("GET", "/readyz").status == 200
    assert "Traceback" not in shared_daemon.log.read_text()
