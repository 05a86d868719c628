"""`dfad watch` against a real server that cuts its connections in the middle of an event."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from dfad_client.cli import app

STEPS = 9


class Cutting(BaseHTTPRequestHandler):
    """Sends two events and half of a third on each connection, then resets it."""

    asked: list[str | None] = []  # noqa: RUF012  (emptied by the fixture)

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self._events()
        else:
            self._job()

    def _job(self) -> None:
        body = json.dumps({"id": "job_1", "status": "succeeded"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _events(self) -> None:
        self.asked.append(self.headers.get("Last-Event-ID"))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        first = int(self.headers.get("Last-Event-ID") or 0) + 1
        for seq in range(first, min(first + 2, STEPS + 1)):
            self._chunk(self._event(seq))
        if first + 2 > STEPS:
            self._chunk("")
        else:
            self._chunk(self._event(first + 2)[:25])
            self.close_connection = True

    def _event(self, seq: int) -> str:
        kind = "job.succeeded" if seq == STEPS else "progress"
        data = {"step": seq, "total_steps": STEPS, "percent": 100 * seq / STEPS}
        body = json.dumps({"seq": seq, "type": kind, "created_at": "2026-01-02T03:04:05Z", "data": data})
        return f"id: {seq}\nevent: {kind}\ndata: {body}\n\n"

    def _chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("dfad_client.retrying.random.uniform", lambda _low, _high: 0.01)
    Cutting.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Cutting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_event_once_over_connections_that_are_cut(address: str) -> None:
    done = CliRunner().invoke(app, ["watch", "job_1", "--url", address, "--json"])
    assert done.exit_code == 0, done.output
    *events, job = map(json.loads, done.stdout.splitlines())
    assert [event["seq"] for event in events] == list(range(1, STEPS + 1))
    assert job["status"] == "succeeded"
    assert Cutting.asked == [None, "2", "4", "6", "8"]


def test_people_are_told_that_the_connection_was_lost(address: str) -> None:
    done = CliRunner().invoke(app, ["watch", "job_1", "--url", address])
    assert done.exit_code == 0
    assert done.stderr.count("Trying again") == 4
