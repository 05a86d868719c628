"""Guards: what `dfad doctor` finds and advises, its exit code, and the pages of `dfad events`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

OK = {"database": "ok", "broker": "ok", "worker": "ok", "storage": "ok"}


def ready(server: Any, devices: list[str], about: Any = None, **changes: str) -> None:
    checks = {**OK, **changes}
    fine = set(checks.values()) == {"ok"}
    body = {"status": "ready" if fine else "not_ready", "checks": checks}
    server.on("GET", "/readyz", httpx2.Response(200 if fine else 503, json=body))
    server.on("GET", "/capabilities", httpx2.Response(200, json={"devices": devices, **(about or {})}))


def test_all_is_well(run: Any, server: Any, tmp_path: Path) -> None:
    ready(server, ["cpu", "cuda"])
    done = run("doctor", "--home", str(tmp_path / "not" / "there"), "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["advice"]) == (0, {})
    assert set(told["checks"]) == {"server", *OK, "queue", "gpu", "disk"}


def test_a_fault_is_told_once_with_what_to_do(run: Any, server: Any, tmp_path: Path) -> None:
    ready(server, ["cpu"], worker="none is alive")
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 5
    assert "python -m worker" in done.stdout
    assert "torch sees one" in done.stdout
    assert len(server.sent("GET", "/readyz")) == 1


WORKER = {
    "name": "gpu-1:4711",
    "alive": True,
    "seen_seconds_ago": 4.2,
    "devices": ["cuda", "cpu"],
    "takes": ["auto", "cuda", "cpu"],
    "threads": 8,
    "version": "0.1.0",
    "revision": "0123456789abcdef",
}
SILENT = {**WORKER, "name": "gpu-2:12", "alive": False, "seen_seconds_ago": 95.0}


def test_every_worker_is_named_with_the_age_of_its_last_sign(run: Any, server: Any, tmp_path: Path) -> None:
    ready(server, ["cpu", "cuda"], {"workers": [WORKER, SILENT], "waiting_without_worker": {}})
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "gpu-1:4711 cuda,cpu alive, seen 4 s ago 8 threads 0.1.0 (0123456789ab)" in lines
    assert "gpu-2:12 cuda,cpu silent for 95 s 8 threads 0.1.0 (0123456789ab)" in lines
    told = json.loads(run("doctor", "--home", str(tmp_path), "--json").stdout)
    assert [worker["alive"] for worker in told["workers"]] == [True, False]


def test_a_key_that_may_not_know_their_names(run: Any, server: Any, tmp_path: Path) -> None:
    hidden = {**WORKER, "name": None, "version": None, "revision": None}
    ready(server, ["cpu", "cuda"], {"workers": [hidden], "waiting_without_worker": {}})
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 0
    assert "a worker  cuda,cpu  alive" in done.stdout


def test_a_job_that_no_worker_takes_is_a_fault(run: Any, server: Any, tmp_path: Path) -> None:
    ready(server, ["cpu"], {"workers": [WORKER], "waiting_without_worker": {"cpu": 1, "cuda": 2}})
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 5
    assert "no living worker takes 1 job of device cpu and 2 jobs of device cuda" in done.stdout
    assert "DFAD_WORKER_DEVICES" in done.stdout


def test_a_machine_without_a_gpu_is_in_order(run: Any, server: Any, tmp_path: Path) -> None:
    ready(server, ["cpu"])
    assert run("doctor", "--home", str(tmp_path)).exit_code == 0


@pytest.mark.parametrize(
    "answer",
    [httpx2.ConnectError("refused"), httpx2.Response(200, text="<html>"), httpx2.Response(200, json=[])],
)
def test_no_server_or_another_one(run: Any, server: Any, answer: Any) -> None:
    server.on("GET", "/readyz", answer)
    assert run("doctor").exit_code == 4


def test_without_a_server_the_disk_is_looked_at_all_the_same(run: Any, server: Any, tmp_path: Path) -> None:
    server.on("GET", "/readyz", httpx2.ConnectError("refused"))
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 4
    assert "dfad up" in done.stdout
    assert "disk      ok" in done.stdout
    told = json.loads(run("doctor", "--home", str(tmp_path), "--json").stdout)
    assert told["checks"]["worker"] == "unknown"
    assert set(told["advice"]) == {"server"}


def test_a_broker_that_is_away(run: Any, server: Any, tmp_path: Path) -> None:
    ready(server, ["cpu"], broker="away")
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 5
    assert "Start Redis" in done.stdout


def test_a_wrong_key_is_told(run: Any, server: Any, fake: Any, tmp_path: Path) -> None:
    ready(server, ["cpu"])
    server.on("GET", "/capabilities", fake.problem(401, "unauthorized", "Show a key."))
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 5
    assert "DFAD_API_KEY" in done.stdout
    assert "database  ok" in done.stdout


def test_a_disk_that_is_full(run: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(server, ["cpu"])
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: type("Usage", (), {"free": 5 * 10**6}))
    done = run("doctor", "--home", str(tmp_path))
    assert done.exit_code == 5
    assert f"5 MB free in {tmp_path}" in done.stdout


def test_events_page_by_page(run: Any, server: Any) -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        after = int(request.url.params["after"])
        data = [
            {"seq": after + 1, "type": "note", "created_at": "2026-01-02T03:04:05Z", "data": {"n": after}}
        ]
        return httpx2.Response(200, json={"data": data, "has_more": after < 2, "last_seq": after + 1})

    answer: Callable[[httpx2.Request], httpx2.Response] = page
    server.on("GET", "/jobs/job_1/events", answer)
    done = run("events", "job_1", "--json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2, 3]
    assert "note" in run("events", "job_1").stdout


def test_events_followed_to_the_end(run: Any, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1/events", fake.sse((1, "job.queued", {}), (2, "job.succeeded", {})))
    assert [line.split()[0] for line in run("events", "job_1", "--follow").stdout.splitlines()] == ["1", "2"]
