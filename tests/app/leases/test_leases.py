"""What a worker's key opens: the work that it holds, and nothing else."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, true, update
from starlette.testclient import TestClient

from app.jobs import lifecycle
from app.models import Artifact, Job, Teacher, WorkerBeat
from app.models.clock import steady_now
from app.platform.db import get_engine, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import get_store
from tests.app.leases.conftest import OPERATOR, Worker

LOST = (410, "lease_lost")


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def lapse(job_id: str) -> None:
    with session_scope() as session:
        past = steady_now(session) - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))


def job_of(stored_jobs: Any, tenant: str, **spec: Any) -> str:
    """A queued job of that tenant, with all that belongs to it."""
    job_id: str = stored_jobs.submit(**spec)
    with session_scope() as session:
        teacher_id = session.get_one(Job, job_id).teacher_id
        for model, mine in ((Teacher, Teacher.id == teacher_id), (Job, Job.id == job_id), (Artifact, true())):
            session.execute(update(model).where(mine).values(tenant_id=tenant))
    return job_id


@pytest.mark.parametrize("scopes", [("read",), ("read", "write"), ("admin",)])
def test_no_other_key_opens_a_lease(client: TestClient, key: Any, scopes: tuple[str, ...]) -> None:
    other = Worker(client, key(*scopes))
    asked = {"devices": ["cpu"]}
    assert refused(other.ask("POST", "/jobs", json=asked)) == (403, "forbidden")
    assert refused(other.ask("GET", "/due?kind=jobs&device=cpu")) == (403, "forbidden")
    assert refused(client.get("/leases/due?kind=jobs", headers=OPERATOR)) == (403, "forbidden")


def test_a_workers_key_opens_nothing_else(client: TestClient, worker: Worker) -> None:
    for path in ("/jobs", "/teachers", "/keys", "/capabilities", "/metrics", "/audit", "/usage", "/ui/jobs"):
        answer = client.get(path, headers=worker.headers)
        assert answer.status_code == 403, path
    assert refused(client.post("/jobs", json={}, headers=worker.headers)) == (403, "forbidden")


def test_the_operator_alone_makes_keys_for_workers(client: TestClient, key: Any) -> None:
    admin = {"Authorization": f"Bearer {key('admin', tenant_id='acme')}"}
    asked = {"name": "w", "scopes": ["worker"]}
    assert refused(client.post("/keys", json=asked, headers=admin)) == (403, "forbidden")
    mixed = {"name": "w", "scopes": ["worker", "read"]}
    assert refused(client.post("/keys", json=mixed, headers=OPERATOR)) == (422, "invalid_request")
    made = client.post("/keys", json=asked, headers=OPERATOR).json()
    assert (made["tenant_id"], made["scopes"]) == ("*", ["worker"])
    named = client.post("/keys", json=asked, headers=OPERATOR | {"DFAD-Tenant": "acme"}).json()
    assert named["tenant_id"] == "acme"
    # It is no tenant that anybody could choose.
    page = client.get("/", headers=OPERATOR | {"Accept": "text/html"})
    assert page.text.count('value="*"') == 1, "all tenants, for the operator to look at"


def test_a_key_is_bound_to_devices_and_a_tenant(client: TestClient, key: Any, stored_jobs: Any) -> None:
    for_gpus = Worker(client, key("worker:cuda"))
    acmes = Worker(client, key("worker", tenant_id="acme"))
    stored_jobs.submit(device="cpu")
    assert for_gpus.claim("auto", "cpu", "cuda") is None
    assert acmes.claim("auto", "cpu", "cuda") is None
    assert for_gpus.ask("GET", "/due?kind=jobs&device=cpu&device=cuda").json() == {"due": False}
    assert acmes.ask("GET", "/due?kind=jobs&device=cpu").json() == {"due": False}
    report = {"report": {"takes": ["auto", "cpu"], "host": "gpu-1", "pid": 7}}
    assert refused(for_gpus.ask("PUT", "/worker", json=report)) == (403, "forbidden")
    job_id = job_of(stored_jobs, "acme")
    taken = acmes.claim()
    assert (taken["job_id"], taken["tenant_id"]) == (job_id, "acme")


def test_a_claim_whose_answer_was_lost_is_found_again(worker: Worker, stored_jobs: Any) -> None:
    first, second = stored_jobs.submit(), stored_jobs.submit()
    claim = worker.claim()
    assert worker.claim() == claim | {"seconds_before": pytest.approx(claim["seconds_before"], abs=60)}
    assert {claim["job_id"], worker.with_secret("t").claim()["job_id"]} == {first, second}
    assert worker.with_secret("u").claim() is None


def test_the_same_claim_asked_for_at_once_is_one(worker: Worker, stored_jobs: Any) -> None:
    for _ in range(4):
        stored_jobs.submit()
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda _: worker.claim()["job_id"], range(4)))
    assert len(set(claims)) == 1


def test_a_lease_is_of_one_key_and_one_secret(
    client: TestClient, key: Any, worker: Worker, stored_jobs: Any
) -> None:
    stored_jobs.submit()
    claim = worker.claim()
    place, fence = f"/jobs/{claim['job_id']}", claim["fence"]
    assert worker.ask("GET", place, fence).json() == {"alive": True, "stop": None}
    stranger = Worker(client, key("worker"))
    for other, number in ((worker.with_secret("x"), fence), (stranger, fence), (worker, fence + 1)):
        assert refused(other.ask("POST", f"{place}/renewal", number)) == LOST
        assert refused(other.ask("GET", place, number)) == LOST
        assert refused(other.ask("GET", f"{place}/files", number)) == LOST
        told = {"kind": "phase", "data": {"phase": "loading"}}
        assert refused(other.ask("POST", f"{place}/records", number, json=told)) == LOST
        ended = {"how": "gave_up", "error": {"code": "hung", "message": "m"}, "receipts": []}
        assert refused(other.ask("POST", f"{place}/end", number, json=ended)) == LOST
        assert refused(other.bring(claim | {"fence": number}, b"x")) == LOST
    assert stored_jobs.row(claim["job_id"]).status == "running"
    # Nobody can tell a job that is not there from one that is another's.
    assert refused(worker.ask("GET", f"/jobs/{new_id('job')}", fence)) == LOST


def test_files_of_the_attempt_alone(client: TestClient, worker: Worker, stored_jobs: Any) -> None:
    mine, others = stored_jobs.submit(), stored_jobs.submit()
    claims = [worker.claim(), worker.with_secret("t").claim()]
    claim = next(c for c in claims if c["job_id"] == mine)
    holder = worker if claim is claims[0] else worker.with_secret("t")
    listed = holder.ask("GET", f"/jobs/{mine}/files", claim["fence"]).json()["files"]
    assert [(f["kind"], f["blob_id"]) for f in listed] == [("teacher", "")]
    with read_scope() as session:
        of_another = session.scalar(select(Artifact.id).where(Artifact.id != listed[0]["id"]))
    whole = holder.ask("GET", f"/jobs/{mine}/files/{listed[0]['id']}", claim["fence"])
    assert len(whole.content) == listed[0]["bytes"]
    rest = holder.ask(
        "GET", f"/jobs/{mine}/files/{listed[0]['id']}", claim["fence"], headers={"Range": "bytes=100-"}
    )
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    for asked, number in ((of_another, claim["fence"]), (new_id("art"), claim["fence"])):
        answer = holder.ask("GET", f"/jobs/{mine}/files/{asked}", number)
        assert refused(answer) == (404, "not_found")
    assert refused(holder.ask("GET", f"/jobs/{others}/files", claim["fence"])) == LOST
    lapse(mine)
    assert refused(holder.ask("GET", f"/jobs/{mine}/files", claim["fence"])) == LOST


def test_bytes_are_published_by_their_receipt_once(worker: Worker, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    claim = worker.claim()
    damaged = worker.bring(claim, b"four", named=b"five")
    assert refused(damaged) == (422, "sha256_mismatch")
    assert refused(worker.bring(claim, b"x", role="artifact", file="teacher")) == (422, "invalid_request")
    brought = worker.bring(claim, b"state", role="checkpoint", file="checkpoint", step=3).json()
    place = f"/jobs/{job_id}/artifacts"
    for _ in range(2):
        published = worker.ask("POST", place, claim["fence"], json={"receipt": brought["receipt"]})
        assert published.status_code == 204
    (kept,) = stored_jobs.artifacts(job_id)["checkpoint"]
    assert (kept.step, kept.bytes, b"".join(get_store().read(kept.id))) == (3, 5, b"state")
    assert [e.type for e in stored_jobs.events(job_id)].count("checkpoint") == 1


def test_a_receipt_brings_back_nothing_and_is_of_one_role(worker: Worker, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    claim = worker.claim()
    place, discarded = f"/jobs/{job_id}/artifacts", f"/jobs/{job_id}/discarded"
    brought = worker.bring(claim, b"state", role="checkpoint", file="checkpoint", step=3).json()
    assert (
        worker.ask("POST", discarded, claim["fence"], json={"receipts": [brought["receipt"]]}).status_code
        == 204
    )
    again = worker.ask("POST", place, claim["fence"], json={"receipt": brought["receipt"]})
    assert again.status_code == 204
    assert "checkpoint" not in stored_jobs.artifacts(job_id)
    report = worker.bring(claim, b"a report").json()["receipt"]
    published = worker.ask("POST", place, claim["fence"], json={"receipt": report})
    assert refused(published) == (422, "invalid_request")
    ended = {"how": "stopped", "stop": "cancel", "receipts": [report, report]}
    lifecycle_end = worker.ask("POST", f"/jobs/{job_id}/end", claim["fence"], json=ended)
    assert lifecycle_end.status_code == 200


def test_a_receipt_is_of_one_claim(worker: Worker, stored_jobs: Any) -> None:
    stored_jobs.submit()
    stored_jobs.submit()
    claim, other = worker.claim(), worker.with_secret("t").claim()
    receipt = worker.bring(claim, b"a report").json()["receipt"]
    ended = {"how": "stopped", "stop": "cancel", "receipts": [receipt]}
    answer = worker.with_secret("t").ask("POST", f"/jobs/{other['job_id']}/end", other["fence"], json=ended)
    assert refused(answer) == (422, "invalid_request")
    forged = receipt[:-1] + ("0" if receipt[-1] != "0" else "1")
    answer = worker.ask(
        "POST", f"/jobs/{claim['job_id']}/end", claim["fence"], json=ended | {"receipts": [forged]}
    )
    assert refused(answer) == (422, "invalid_request")


@pytest.mark.parametrize(
    "ending", [{"how": "trained"}, {"how": "failed"}, {"how": "gave_up"}, {"how": "won", "result": {}}, {}]
)
def test_an_end_without_what_belongs_to_it(worker: Worker, stored_jobs: Any, ending: Any) -> None:
    job_id = stored_jobs.submit()
    claim = worker.claim()
    answer = worker.ask("POST", f"/jobs/{job_id}/end", claim["fence"], json=ending | {"receipts": []})
    assert refused(answer) == (422, "invalid_request")
    assert stored_jobs.row(job_id).status == "running"


def test_a_step_that_no_row_can_hold(worker: Worker, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    claim = worker.claim()
    told = {"kind": "progress", "data": {"step": 10**30, "total_steps": 9, "seconds": 1.0, "metrics": {}}}
    answer = worker.ask("POST", f"/jobs/{job_id}/records", claim["fence"], json=told)
    assert refused(answer) == (422, "invalid_request")


def test_what_was_told_before_is_not_told_twice(worker: Worker, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    claim = worker.claim()
    figures = {"step": 1, "total_steps": 9, "seconds": 1.0, "eta_seconds": None, "metrics": {"loss": 0.25}}
    told = [
        {"kind": "progress", "data": figures},
        {"kind": "note", "data": {"code": "resumed", "message": "goes on"}},
        {"kind": "phase", "data": {"phase": "distilling"}},
    ]
    for one in told:
        for more in ({}, {"headers": {"DFAD-Retry": "true"}}):
            answer = worker.ask("POST", f"/jobs/{job_id}/records", claim["fence"], json=one, **more)
            assert answer.status_code == 204
    types = [event.type for event in stored_jobs.events(job_id)]
    assert types == ["job.queued", "job.running", "progress", "note", "phase"]


def test_a_long_poll_holds_no_connection(client: TestClient, worker: Worker, stored_jobs: Any) -> None:
    import threading

    found: list[Any] = []

    def wait() -> None:
        found.append(worker.ask("GET", "/due?kind=jobs&device=auto", headers={"Prefer": "wait=30"}).json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(1.2)
    assert waiting.is_alive()
    held = [get_engine().pool.checkedout() for _ in range(20) if not time.sleep(0.02)]  # type: ignore[attr-defined]
    assert min(held) == 0
    stored_jobs.submit()
    waiting.join(20)
    assert found == [{"due": True}]


def test_a_sign_of_life_names_times_and_workers_of_the_machine(worker: Worker) -> None:
    about = {"takes": ["auto", "cpu"], "devices": ["cpu"], "host": "gpu-1", "pid": 7}
    mine = {"report": {**about, "processors_id": "p"}}
    others = {"report": {**about, "pid": 8, "processors_id": "of another machine"}}
    worker.with_secret("t").ask("PUT", "/worker", json=others)
    terms = worker.ask("PUT", "/worker", json=mine).json()
    assert (terms["lease_seconds"], terms["heartbeat_seconds"], terms["self_fence_seconds"]) == (60, 10, 40)
    assert [one["pid"] for one in terms["workers"]] == [7]
    assert worker.ask("DELETE", "/worker").status_code == 204
    with read_scope() as session:
        assert len(list(session.scalars(select(WorkerBeat.id)))) == 1


def test_workers_requests_are_nobodys_use_and_no_audit(
    client: TestClient, worker: Worker, stored_jobs: Any
) -> None:
    stored_jobs.submit()
    claim = worker.claim()
    worker.ask("POST", f"/jobs/{claim['job_id']}/renewal", claim["fence"])
    lines = client.get("/audit", headers=OPERATOR).json()["data"]
    assert not [line for line in lines if "/leases" in line["action"]]


def test_an_attempt_that_was_reaped_is_fenced(worker: Worker, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    claim = worker.claim()
    lapse(job_id)
    with session_scope() as session:
        assert lifecycle.expire_leases(session) == [job_id]
    assert refused(worker.ask("POST", f"/jobs/{job_id}/renewal", claim["fence"])) == LOST
    ended = {"how": "gave_up", "reason": "hung", "error": {"code": "hung", "message": "m"}, "receipts": []}
    assert refused(worker.ask("POST", f"/jobs/{job_id}/end", claim["fence"], json=ended)) == LOST
    assert stored_jobs.row(job_id).status == "queued"
