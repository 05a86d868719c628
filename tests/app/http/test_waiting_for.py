"""What a job or a teacher waits for, as the API and the page say it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from starlette.testclient import TestClient

from dfad_core.contract.job_result import JobError

Submit = Callable[..., Any]
NONE_ALIVE = "Waiting for a worker: none is alive."


def beat(*takes: str) -> None:
    """A worker that lives."""
    from app.models import WorkerBeat
    from app.platform.db import database_now, session_scope

    with session_scope() as session:
        session.merge(WorkerBeat(id="w", seen_at=database_now(session), details={"takes": list(takes)}))


def teacher(client: TestClient) -> str:
    answer = client.post("/teachers", files={"teacher": ("t.pt", b"PK\x03\x04weights")})
    return str(answer.json()["id"])


def said(client: TestClient, path: str) -> tuple[str, str]:
    found = client.get(path).json()["waiting_for"]
    return found["code"], found["message"]


def test_a_job(client: TestClient, submit: Submit, finished: Any) -> None:
    from app.models import Job
    from app.platform.db import database_now, session_scope

    first, second, third = (f"/jobs/{submit().json()['id']}" for _ in range(3))
    assert said(client, first) == said(client, second) == ("worker", NONE_ALIVE)
    assert NONE_ALIVE in client.get(f"/ui{first}").text
    beat("cuda")
    assert said(client, first) == (
        "worker",
        "Waiting for a worker that takes jobs of device auto: none is alive.",
    )
    beat("auto", "cpu")
    assert said(client, first) == ("turn", "Waiting for a free worker.")
    assert said(client, second) == ("turn", "Waiting: 1 job is before this one.")
    assert said(client, third) == ("turn", "Waiting: 2 jobs are before this one.")
    assert [job["waiting_for"]["code"] for job in client.get("/jobs").json()["data"]] == ["turn"] * 3
    with session_scope() as session:
        later = database_now(session) + timedelta(hours=1)
        session.get_one(Job, second.rpartition("/")[2]).run_after = later
    assert said(client, second) == ("retry", "Waiting for the next attempt.")
    finished(first.rpartition("/")[2])
    assert client.get(first).json()["waiting_for"] is None


def test_a_teacher(client: TestClient) -> None:
    from app.teachers.inspections import claim_inspection, record_inspection

    first, second, third = (teacher(client) for _ in range(3))
    assert said(client, f"/teachers/{second}") == ("worker", NONE_ALIVE)
    assert NONE_ALIVE in client.get(f"/ui/teachers/{second}").text
    beat("cpu")
    assert said(client, f"/teachers/{first}") == ("turn", "Waiting for a worker to read the file.")
    assert said(client, f"/teachers/{second}") == ("turn", "Waiting: 1 file is read before this one.")
    assert said(client, f"/teachers/{third}") == ("turn", "Waiting: 2 files are read before this one.")
    claimed = claim_inspection("w")
    assert claimed is not None
    assert said(client, f"/teachers/{claimed.teacher_id}") == ("reading", "A worker is reading the file.")
    assert "A worker is reading the file." in client.get(f"/ui/new?teacher={claimed.teacher_id}").text
    record_inspection(claimed.teacher_id, JobError("corrupt_file", "damaged"))
    assert client.get(f"/teachers/{claimed.teacher_id}").json()["waiting_for"] is None
    codes = {
        row["id"]: (row["waiting_for"] or {}).get("code") for row in client.get("/teachers").json()["data"]
    }
    assert codes == {first: None, second: "turn", third: "turn"}


def test_others_files_are_not_counted(client: TestClient) -> None:
    from app.models import Teacher
    from app.platform.db import session_scope

    other, own = teacher(client), teacher(client)
    with session_scope() as session:
        session.get_one(Teacher, other).tenant_id = "somebody else"
    beat("cpu")
    assert said(client, f"/teachers/{own}") == ("turn", "Waiting for a worker to read the file.")
