"""Guards: real processes, one job: every line they write is JSON with the ids it belongs to and tells no
secret; and the spans of all of them make one trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.processes import wait_until
from testing.services import free_port
from testing.workers import ROOT

KEY, PEPPER = "the-operators-own-key", "a-pepper-that-is-long-enough"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        taken = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                sent = ExportTraceServiceRequest.FromString(
                    self.rfile.read(int(self.headers["Content-Length"]))
                )
                for part in sent.resource_spans:
                    service = {a.key: a.value.string_value for a in part.resource.attributes}["service.name"]
                    taken.extend((service, span) for scope in part.scope_spans for span in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    made = Collector()
    yield made
    made.close()


class Service:
    """Server and worker, with their output in a file each."""

    def __init__(self, folder: Path, **more: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {"DFAD_PORT": str(port), "DFAD_API_KEY": KEY, "DFAD_KEY_PEPPER": PEPPER}
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings, **more}
        self._folder = folder
        self.running = {name: self.start(name) for name in ("app", "worker")}

    def start(self, module: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{module}.log").open("ab") as log:
            command = [sys.executable, "-m", module]
            return subprocess.Popen(command, env=self.env, cwd=self._folder, stdout=log, stderr=log)

    def lines(self, module: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._folder / f"{module}.log").read_text().splitlines()]

    def end(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(timeout=30)


@pytest.fixture
def service(database: str, tmp_path: Path, collector: Collector) -> Iterator[Service]:
    made = Service(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="200")
    yield made
    for process in made.running.values():
        process.kill()
        process.wait()


def run_a_job(service: Service, teacher: Path) -> tuple[str, str]:
    """Its id, and that of the request that made it."""
    small = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
    spec = {
        "student": {"architecture": "mlp8", "args": {"width": 8}},
        "budget": {"steps": 5},
        "training": small,
    }
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as http:

        def ready() -> bool:
            try:
                return http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        assert wait_until(ready, 60)
        files = {"teacher": ("t.safetensors", teacher.read_bytes()), "spec": (None, json.dumps(spec))}
        answer = http.post("/jobs", files=files)
        assert answer.status_code == 201, answer.text
        job_id = answer.json()["id"]
        http.get("/jobs/nothing", headers={"Authorization": "Bearer another-key-that-opens-nothing"})
        assert wait_until(lambda: http.get(f"/jobs/{job_id}").json()["status"] == "succeeded", 60)
    return job_id, answer.headers["X-Request-Id"]


@pytest.mark.timeout(170)
def test_one_job_in_logs_and_traces(service: Service, tiny_teacher: Path, collector: Collector) -> None:
    job_id, request_id = run_a_job(service, tiny_teacher)
    service.end()
    server, worker = service.lines("app"), service.lines("worker")
    for line in (*server, *worker):
        assert {"time", "level", "service", "pid", "logger", "message"} <= set(line)
        assert line["time"].endswith("Z")
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
        text = json.dumps(line)
        assert KEY not in text
        assert PEPPER not in text
        assert "another-key" not in text
    of_request = [line for line in server if line.get("request_id") == request_id]
    assert [line["message"] for line in of_request] == ["a job is submitted", "POST /jobs 201"]
    assert of_request[0]["job_id"] == job_id
    assert of_request[1]["status"] == 201
    assert of_request[1]["tenant_id"] == "local"
    assert any(line["message"] == "GET other 401" for line in server), "refused ones too"
    assert not any("healthz" in line["message"] or "readyz" in line["message"] for line in server)
    attempt = [line for line in worker if line.get("job_id") == job_id]
    assert {"the attempt begins", "the attempt ends: succeeded"} <= {line["message"] for line in attempt}
    assert all(line["attempt"] == 1 for line in attempt)
    look_at_spans(collector.spans, job_id, request_id)


def look_at_spans(spans: list[Any], job_id: str, request_id: str) -> None:
    """One trace from the request to the last phase."""
    told = {}
    for service, span in spans:
        about = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
        if request_id == about.get("dfad.request_id") and span.name == "POST /jobs":
            trace = span.trace_id
            assert service == "dfad-server"
            assert about["http.response.status_code"] == 201
    for service, span in spans:
        if span.trace_id == trace:
            told[span.name] = (service, span, {a.key: a.value.string_value for a in span.attributes})
    phases = {f"phase {name}" for name in ("loading", "distilling", "evaluating", "exporting")}
    assert {"POST /jobs", "job submit", "job wait", "job claim", "job attempt", *phases} <= set(told)
    attempt = told["job attempt"][1]
    assert told["job attempt"][0] == "dfad-worker"
    assert attempt.parent_span_id == told["job submit"][1].span_id
    for name in phases:
        assert told[name][1].parent_span_id == attempt.span_id
        assert told[name][2]["dfad.job_id"] == job_id
    wait, claim = told["job wait"][1], told["job claim"][1]
    assert wait.start_time_unix_nano <= claim.end_time_unix_nano <= attempt.end_time_unix_nano


def test_without_being_asked_nothing_of_it_is_loaded(home: Path) -> None:
    code = (
        "import sys; from app.platform.settings import get_settings; from app.main import create_app;"
        "import worker.__main__; from app.telemetry import tracing; create_app();"
        "tracing.start(get_settings(), 'x'); assert not tracing.running();"
        # Libraries load other parts of it by themselves.
        "loaded = ('opentelemetry.sdk.trace', 'opentelemetry.exporter');"
        "print([m for m in sys.modules if m.startswith(loaded)])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_asked_for_and_not_installed_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from app.platform.settings import get_settings
    from app.telemetry import tracing

    monkeypatch.setenv("DFAD_OTEL", "1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    tracing.start(get_settings(), "x")
    assert not tracing.running()
    assert "dfad[otel]" in caplog.text
