"""Faults go to Sentry and traces to a collector, from the request on to the task, with nobody's data in either."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import System
from tests.proof.test_operating import MAIL, MARKER, page

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


class Received:
    """What the two receivers were sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.spans: list[tuple[str, Any]] = []
        self.faults: list[dict[str, Any]] = []

    def take_traces(self, request: Request) -> Response:
        body = _plain(request)
        told = ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            program = attributes["headrace.program"]
            self.spans += [(program, span) for scope in resource.scope_spans for span in scope.spans]
        self.bodies.append(body)
        return Response(status=200)

    def take_fault(self, request: Request) -> Response:
        body = _plain(request)
        self.bodies.append(body)
        for line in body.splitlines():
            if line.startswith(b"{") and b'"exception"' in line:
                self.faults.append(json.loads(line))
        return Response("{}", status=200)


def _plain(request: Request) -> bytes:
    body = request.get_data()
    return gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body


@pytest.fixture
def received(tmp_path: Path) -> Iterator[tuple[Received, System]]:
    told = Received()
    with HTTPServer() as server:
        server.expect_request("/v1/traces").respond_with_handler(told.take_traces)
        server.expect_request("/api/1/envelope/").respond_with_handler(told.take_fault)
        system = System(
            tmp_path / "home",
            OTEL_EXPORTER_OTLP_ENDPOINT=server.url_for("").rstrip("/"),
            OTEL_BSP_SCHEDULE_DELAY="200",
            SENTRY_DSN=f"http://key@{server.host}:{server.port}/1",
        )
        try:
            yield told, system
        finally:
            system.stop()
            wait_for(lambda: not system.remains(), 15)


def test_a_request_and_what_follows_is_one_trace_and_faults_are_told(
    received: tuple[Received, System],
) -> None:
    told, system = received
    header = {"Content-Type": "application/json", "Authorization": f"Bearer {system.key}"}
    space = f"/api/workspaces/{system.workspace}"
    person = json.dumps({"email": MAIL, "firstName": MARKER})
    assert page(system, f"{space}/contacts?email={MAIL}", person, **header)[0] == 201

    def traces(program: str, word: str) -> set[bytes]:
        return {span.trace_id for name, span in told.spans if name == program and word in span.name}

    wait_for(lambda: traces("web", "POST") & traces("worker", "apply_effects"), 60)
    assert any(attribute.key == "db.statement" for _, span in told.spans for attribute in span.attributes)
    with system.connect() as connection:
        connection.execute(
            "ALTER TABLE contacts_contact ADD CONSTRAINT never CHECK (created_at < '2000-01-01') NOT VALID"
        )
    other = json.dumps({"email": f"2{MAIL}", "firstName": MARKER})
    status, _ = page(system, f"{space}/contacts?email={MAIL}", other, **header, **{"X-Request-Id": "fault-1"})
    assert status == 500
    wait_for(lambda: told.faults, 30)
    fault = told.faults[0]
    assert fault["tags"]["request_id"] == "fault-1"
    assert fault["request"] == {"method": "POST", "url": f"{space}/contacts"}
    assert any("never" in one["value"] for one in fault["exception"]["values"])
    for body in told.bodies:
        assert MARKER.encode() not in body
        assert system.key.encode() not in body


LOADED = """
import sys, django
django.setup()
print([name for name in ("sentry_sdk", "opentelemetry") if name in sys.modules])
"""
MISSING = """
import sys
sys.modules["{module}"] = None
import django
django.setup()
"""


def python(code: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HEADRACE_HOME": str(home),
        "HEADRACE_WEB": "1",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_neither_is_loaded_where_nobody_asked_for_it(tmp_path: Path) -> None:
    assert python(LOADED, tmp_path).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "setting", "extra"),
    [
        ("sentry_sdk", "SENTRY_DSN", "sentry"),
        ("opentelemetry.instrumentation.celery", "OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry"),
    ],
)
def test_a_missing_package_is_told_by_its_name(tmp_path: Path, module: str, setting: str, extra: str) -> None:
    done = python(MISSING.format(module=module), tmp_path, **{setting: "http://key@localhost:1/1"})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"{setting} is set, but {module} is not installed" in last
    assert f"`{extra}`" in last
