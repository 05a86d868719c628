"""Every command: --quiet leaves the essential, --json is JSON also for what is wrong, --profile counts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client.local import engine_process

KEY = {
    "id": "key_1",
    "tenant_id": "local",
    "scopes": ["read"],
    "name": "ci",
    "revoked_at": None,
    "expires_at": None,
}
SECRETS = [
    {"number": 2, "created_at": "2026-11-30T00:00:00Z", "expires_at": None, "last_used_at": None},
    {"number": 1, "created_at": None, "expires_at": "2026-12-01T00:00:00Z", "last_used_at": None},
]

LIMITS = {"queued_jobs": 5, "running_jobs": None, "stored_bytes": 10**9, "requests_per_minute": None}
QUOTA = {"tenant_id": "vision", "holds": LIMITS, "stored": None, "configured": None, "updated_at": None}
MONTH = {
    "month": "2026-11", "jobs_submitted": 3, "jobs_succeeded": 2, "requests": 1234,
    "device_seconds": {"cpu": 61.0, "cuda": 7200.4}, "peak_stored_bytes": 2048,
}  # fmt: skip
USAGE = {
    "tenant_id": "vision", "quota": LIMITS, "months": [MONTH],
    "in_use": {"queued_jobs": 1, "running_jobs": 2, "stored_bytes": 1024},
}  # fmt: skip


@pytest.fixture
def ready(server: Any, fake: Any) -> Any:
    page = {"has_more": False, "last_id": None}
    done = fake.job(status="succeeded")
    server.on("GET", "/jobs", httpx2.Response(200, json={**page, "data": [done]}))
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=done))
    server.on("GET", "/jobs/job_1/events", fake.sse((1, "job.queued", {}), (2, "job.succeeded", {})))
    for action in ("cancel", "pause", "resume"):
        server.on("POST", f"/jobs/job_1/{action}", httpx2.Response(200, json=fake.job(status=f"{action}d")))
    for path in ("/jobs", "/jobs/job_1/rerun"):
        server.on("POST", path, httpx2.Response(201, json=fake.job()))
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": [fake.artifact()]}))
    server.on("GET", "/artifacts/art_1", httpx2.Response(200, content=fake.BYTES))
    server.on("GET", "/keys", httpx2.Response(200, json={**page, "data": [{**KEY, "secrets": SECRETS}]}))
    server.on("POST", "/keys", httpx2.Response(201, json={**KEY, "key": "dfad_secret"}))
    rotated = {**KEY, "key": "dfad_next", "secrets": SECRETS}
    server.on("POST", "/keys/key_1/rotate", httpx2.Response(200, json=rotated))
    server.on("DELETE", "/keys/key_1", httpx2.Response(204))
    server.on("GET", "/usage", httpx2.Response(200, json={**page, "data": [USAGE]}))
    server.on("GET", "/quotas", httpx2.Response(200, json={"data": [QUOTA]}))
    server.on("GET", "/quotas/vision", httpx2.Response(200, json=QUOTA))
    server.on("PUT", "/quotas/vision", httpx2.Response(200, json=QUOTA))
    server.on("DELETE", "/quotas/vision", httpx2.Response(204))
    server.on("GET", "/readyz", httpx2.Response(200, json={"checks": {"worker": "gone"}}))
    server.on("GET", "/capabilities", httpx2.Response(200, json={"devices": []}))
    return server


@pytest.mark.parametrize(
    ("command", "essential", "code"),
    [
        ("submit t.pt --student mlp8", "job_1", 0),
        ("submit t.pt --student mlp8 --wait", "succeeded", 0),
        ("watch job_1", "succeeded", 0),
        ("list", "job_1", 0),
        ("show job_1", "succeeded", 0),
        ("events job_1 --follow", "job.queued\njob.succeeded", 0),
        ("cancel job_1", "canceld", 0),
        ("pause job_1", "paused", 0),
        ("resume job_1", "resumed", 0),
        ("rerun job_1", "job_1", 0),
        ("download job_1", "job_1.safetensors", 0),
        ("keys create ci", "dfad_secret", 0),
        ("keys list", "key_1", 0),
        ("keys rotate key_1", "dfad_next", 0),
        ("keys revoke key_1", "key_1", 0),
        ("usage", "vision 2026-11", 0),
        ("quotas", "vision", 0),
        ("quotas list", "vision", 0),
        ("quotas set vision --running-jobs 4", "vision", 0),
        ("quotas unset vision", "vision", 0),
        ("doctor", "worker", 5),
    ],
)
def test_quiet_json_and_people(run: Any, ready: Any, command: str, essential: str, code: int) -> None:
    quiet = run(*command.split(), "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (code, essential + "\n", "")
    told = run(*command.split(), "--json")
    assert told.exit_code == code
    assert all(json.loads(line) for line in told.stdout.splitlines())
    assert told.stderr == ""
    assert "\x1b" not in run(*command.split()).output


@pytest.mark.parametrize(
    "command",
    ["list --limit none", "nonsense", "submit", "show job_1 --nonsense", "keys create", "inspect x"],
)
def test_wrong_usage_is_json_too(run: Any, ready: Any, command: str) -> None:
    done = run(*command.split(), "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"
    assert done.stderr.startswith("dfad: ")
    assert done.stderr.count("\n") == 1


def test_metadata_filters_the_list(run: Any, ready: Any) -> None:
    assert run("list", "--metadata", "team=vision", "-q").stdout == "job_1\n"
    assert ready.requests[0].url.params["metadata[team]"] == "vision"
    assert "KEY=VALUE" in run("list", "--metadata", "vision").stderr


def test_a_profile_names_the_server(run: Any, ready: Any, tmp_path: Path) -> None:
    file = tmp_path / "no-profiles.toml"
    file.write_text('[profiles.lab]\nbase_url = "http://lab.test"\napi_key = "k"\n')
    file.chmod(0o600)
    assert run("list", "--profile", "lab").exit_code == 0
    assert ready.requests[0].url.host == "lab.test"
    done = run("list", "--profile", "gone", "--json")
    assert done.exit_code == 2
    assert "gone" in json.loads(done.stdout)["error"]["detail"]


def test_completion_scripts_and_words(run: Any, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "dfad show job_")
    monkeypatch.setenv("COMP_CWORD", "2")
    done = run(env={"_DFAD_COMPLETE": "complete_bash"}, prog_name="dfad")
    assert done.stdout.split() == ["job_1"]
    ready.on("GET", "/jobs", httpx2.ConnectError("refused"))
    assert run(env={"_DFAD_COMPLETE": "complete_bash"}, prog_name="dfad").stdout.strip() == ""


def test_formats_are_completed_from_the_server(
    run: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has no list of its own."""
    monkeypatch.setattr(engine_process, "missing_packages", lambda: ["torch"])
    formats = {"student": ["safetensors", "int8", "int4"], "teacher": ["in"]}
    server.on("GET", "/capabilities", httpx2.Response(200, json={"formats": formats}))
    for command in ("download job_1 --format", "submit t.pt --export", "export s.safetensors --to"):
        words = f"dfad {command} i"
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        done = run(env={"_DFAD_COMPLETE": "complete_bash"}, prog_name="dfad")
        assert done.stdout.split() == ["int8", "int4"], command


def test_what_others_name_steers_no_terminal(run: Any, server: Any, fake: Any) -> None:
    """A name of a tensor comes as the file has it."""
    error = {"code": "architecture_mismatch", "message": "unexpected: \x1b]0;mine\x07"}
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="failed", error=error)))
    told = run("show", "job_1").output
    assert "\x1b" not in told
    assert r"unexpected: \x1b]0;mine\x07" in told


def test_usage_is_a_table(run: Any, ready: Any) -> None:
    done = run("usage", "--since", "2026-01")
    assert ready.requests[0].url.params["since_month"] == "2026-01"
    lines = [re.split(r" {2,}", line) for line in done.stdout.splitlines()]
    assert lines[1] == ["vision", "1 of 5", "2", "1,024 of 1,000,000,000", "no limit"]
    assert lines[4] == ["2026-11", "vision", "3", "2", "1 min 1 s", "2 h 0 min", "1,234", "2,048"]


def test_a_limit_is_set_beside_those_that_were_set_before(run: Any, ready: Any) -> None:
    stored = {"queued_jobs": 9, "running_jobs": 1, "stored_bytes": None, "requests_per_minute": None}
    ready.on("GET", "/quotas/*", httpx2.Response(200, json={**QUOTA, "tenant_id": "*", "stored": stored}))
    ready.on("PUT", "/quotas/*", httpx2.Response(200, json={**QUOTA, "tenant_id": "*"}))
    assert run("quotas", "set", "*", "--running-jobs", "none", "--stored-bytes", "77").exit_code == 0
    (sent,) = ready.sent("PUT", "/quotas/*")
    assert json.loads(sent.content) == {**stored, "running_jobs": None, "stored_bytes": 77}
    assert run("quotas", "unset", "vision").exit_code == 0
    assert ready.sent("DELETE", "/quotas/vision")


@pytest.mark.parametrize("more", [[], ["--running-jobs", "four"], ["--running-jobs", "-1"]])
def test_a_quota_that_is_none_is_wrong_usage(run: Any, ready: Any, more: list[str]) -> None:
    done = run("quotas", "set", "vision", *more)
    assert done.exit_code == 2
    assert "--running-jobs" in done.stderr
    assert not ready.sent("PUT", "/quotas/vision")
