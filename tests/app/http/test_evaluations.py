"""Accuracy that users measured at home: kept beside the result, never taken for the service's own.

Guards: that reports are added to, never in the place of, what the service measured.
"""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

REPORT = {"data": "our test set of May", "images": 10_000, "teacher": 0.95, "student": 0.93}


@pytest.fixture
def job_id(submit: Any, finished: Any) -> str:
    """Of a job that has a result."""
    made = submit().json()["id"]
    finished(made)
    return str(made)


def test_reports_are_kept_in_their_order(client: TestClient, job_id: str) -> None:
    for student in (0.93, 0.94):
        answer = client.post(f"/jobs/{job_id}/evaluations", json={**REPORT, "student": student})
        assert answer.status_code == 201, answer.text
    result = client.get(f"/jobs/{job_id}").json()["result"]
    assert [one["student"] for one in result["evaluations"]] == [0.93, 0.94]
    assert result["evaluations"][0]["data"] == REPORT["data"]
    assert result["compression"] == 4.0
    assert result.get("accuracy") is None


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"student": 1.2}, "/student"),
        ({"student": None}, "/student"),
        ({"data": ""}, "/data"),
        ({"data": "x\0"}, "/data"),
        ({"images": 0}, "/images"),
        ({"more": 1}, "/more"),
    ],
)
def test_bad_reports(client: TestClient, job_id: str, change: dict[str, Any], pointer: str) -> None:
    answer = client.post(f"/jobs/{job_id}/evaluations", json={**REPORT, **change})
    assert answer.status_code == 422
    assert [e["pointer"] for e in answer.json()["errors"]] == [pointer]


def test_a_job_without_a_result_takes_none(client: TestClient, submit: Any) -> None:
    answer = client.post(f"/jobs/{submit().json()['id']}/evaluations", json=REPORT)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_student")
    assert (
        client.post("/jobs/job_01a20a183130f882fab37816d0ead7a6/evaluations", json=REPORT).status_code == 404
    )
