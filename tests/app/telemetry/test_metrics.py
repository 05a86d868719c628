"""Guards: what Prometheus is told of requests, jobs and the queue, on both databases, and who may hear it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from starlette.testclient import TestClient

from app.jobs import lifecycle
from app.models import Job
from app.platform.db import database_now, session_scope
from app.platform.settings import get_settings
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json


def told(client: TestClient) -> dict[tuple[str, ...], float]:
    """Values by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def submit(client: TestClient) -> str:
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps({"student": {"architecture": "mlp8"}})),
    }
    return str(client.post("/jobs", files=files).json()["id"])


def test_jobs_and_queue(each_database: str) -> None:
    from app.main import create_app

    with TestClient(create_app()) as client:
        assert told(client)["dfad_jobs", "queued"] == 0
        first, _ = submit(client), submit(client)
        with session_scope() as session:
            earlier = database_now(session) - timedelta(minutes=5)
            session.execute(update(Job).values(created_at=earlier, run_after=earlier))
        found = told(client)
        assert found["dfad_jobs", "queued"] == 2
        assert 299 < found["dfad_queue_age_seconds",] < 400
        assert found["dfad_workers",] == 0
        with session_scope() as session:
            held = lifecycle.claim(session, first, "a-worker")
            assert held is not None
        with session_scope() as session:
            begun = database_now(session) - timedelta(seconds=30)
            session.execute(update(Job).where(Job.id == first).values(started_at=begun, step=10, attempt=3))
        found = told(client)
        assert 2.9 < found["dfad_step_seconds",] < 4
        assert found["dfad_job_retries",] == 2
        with session_scope() as session:
            assert lifecycle.succeed(session, held, from_json(JobResult, {}))
        found = told(client)
        assert found["dfad_job_duration_seconds_count", "succeeded"] == 1
        assert 29 < found["dfad_job_duration_seconds_sum", "succeeded"] < 40


def test_requests_by_route_and_not_by_address(database: str) -> None:
    from app.main import create_app

    with TestClient(create_app()) as client:
        job_id = submit(client)
        client.get(f"/jobs/{job_id}")
        client.get("/nothing/here")
        client.request("BREW", "/jobs")
        text = client.get("/metrics").text
        assert 'route="/jobs/{job_id}"' in text
        assert job_id not in text
        assert "nothing" not in text
        assert "BREW" not in text


def test_the_operator_alone_hears_it(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "operators-own-key")
    from app.main import create_app

    get_settings.cache_clear()
    operator = {"Authorization": "Bearer operators-own-key"}
    with TestClient(create_app()) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=operator).status_code == 200
        asked = {"tenant_id": "acme", "name": "k", "scopes": ["admin"]}
        made = client.post("/keys", json=asked, headers=operator).json()
        other = {"Authorization": f"Bearer {made['key']}"}
        assert client.get("/metrics", headers=other).status_code == 403


def test_tenants_are_named_up_to_a_bound_and_no_counter_falls(
    each_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access.usage import counts
    from app.main import create_app
    from app.telemetry import tenants

    monkeypatch.setattr(tenants, "NAMED", 3)
    with TestClient(create_app()) as client:
        job_id = submit(client)
        assert told(client)["dfad_tenant_jobs", "local", "queued"] == 1
        with session_scope() as session:
            assert lifecycle.claim(session, job_id, "w", gpu=True)
            counts.note(session, "acme", cuda_seconds=40.0)
        for tenant, seconds in (("zebra", 1.0), ("bees", 10.0), ("other", 100.0), ("ants", 1000.0)):
            with session_scope() as session:
                counts.note(session, tenant, cuda_seconds=seconds)
        found = told(client)
        assert found["dfad_tenant_jobs", "local", "running"] == 1
        name = "dfad_tenant_device_seconds_total"
        assert (found[name, "acme", "cuda"], found[name, "cuda", "zebra"]) == (40, 1)
        assert found[name, "cuda", "other"] == 1110
        named = {key[-1] for key in found if key[0] == "dfad_tenant_requests_total"}
        assert named <= {"local", "acme", "zebra", "other"}
        with session_scope() as session:
            for tenant in ("aaaa", "zebra"):
                counts.note(session, tenant, cuda_seconds=5.0)
        after = told(client)
        assert all(after[key] >= found[key] for key in found if key[0].startswith("dfad_tenant_device"))
