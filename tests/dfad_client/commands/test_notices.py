"""What a command waits for is said on standard error, to people alone."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from dfad_client.commands import notices
from dfad_client.commands.notices import Notices

NONE = "Waiting for a worker: none is alive."
READING = "A worker is reading the file."


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "SOON_SECONDS", 0.0)


def waits(text: str) -> dict[str, Any]:
    return {"waiting_for": {"code": "worker", "message": text}}


def test_said_once_and_again_when_it_changes() -> None:
    said: list[str] = []
    hear = Notices(said.append)
    for text in (None, NONE, NONE, READING, READING, None):
        hear(text)
    assert said == [NONE, READING]


def test_a_short_wait_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "SOON_SECONDS", 3600.0)
    said: list[str] = []
    Notices(said.append)(NONE)
    assert said == []


@pytest.mark.parametrize(("more", "said"), [((), True), (("--json",), False), (("-q",), False)])
def test_inspect(run: Any, server: Any, more: tuple[str, ...], said: bool) -> None:
    def teacher(status: str, **changes: Any) -> httpx2.Response:
        return httpx2.Response(200, json={"id": "tch_1", "status": status, "inspection": {}, **changes})

    waiting = [teacher("inspecting", **waits(text)) for text in (NONE, NONE, READING)]
    server.on("GET", "/teachers/tch_1", *waiting, teacher("ready", waiting_for=None))
    done = run("inspect", "tch_1", *more)
    assert done.exit_code == 0
    assert (done.stderr == f"{NONE}\n{READING}\n") is said
    assert NONE not in done.stdout


@pytest.mark.parametrize(("more", "said"), [((), True), (("--json",), False), (("-q",), False)])
def test_watch(run: Any, server: Any, fake: Any, more: tuple[str, ...], said: bool) -> None:
    queued = [httpx2.Response(200, json=fake.job(**waits(NONE)))] * 3
    ended = httpx2.Response(200, json=fake.job(status="succeeded", terminal=True))
    server.on("GET", "/jobs/job_1", *queued, ended)
    events = fake.sse((1, "job.queued", {}), (2, "phase", {"phase": "loading"}), (3, "job.succeeded", {}))
    server.on("GET", "/jobs/job_1/events", events)
    done = run("watch", "job_1", *more)
    assert (NONE in done.stderr) is said
    assert "waiting for a worker" not in done.stderr
