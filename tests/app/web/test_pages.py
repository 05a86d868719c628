"""The pages without a browser.

Guards: what they show of jobs in every state, that they change what they say they change, who may see them,
that nobody else's page can press their buttons, and that a name of a file is text and nothing else.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json
from tests.app.http.conftest import finished, submit

__all__ = ["finished", "submit"]
Submit = Callable[..., Any]
FIRST_PAGE_BYTES = 150_000


@pytest.fixture
def client(database: str) -> Iterator[TestClient]:
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as test_client:
        yield test_client


def test_an_empty_service_says_how_to_begin(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "No job yet" in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"].split("style-src-attr")[0]


def test_no_page_asks_another_host_and_the_first_is_small(client: TestClient) -> None:
    for address in ("/", "/ui/new", "/ui/sign-in"):
        page = client.get(address).text
        assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
        files = re.findall(r"""(?:src|href)=["'](/static/[^"']+)""", page)
        assert files
        contents = [client.get(file) for file in files]
        assert all("immutable" in answer.headers["cache-control"] for answer in contents)
        size = len(gzip.compress(page.encode())) + sum(len(gzip.compress(a.content)) for a in contents)
        assert size < FIRST_PAGE_BYTES


def test_files_go_compressed_to_those_who_take_it(client: TestClient) -> None:
    (file,) = re.findall(r"/static/vendor/htmx[^\"']+", client.get("/").text)
    answer = client.get(file, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert client.get("/static/../app.py").status_code == 404


def test_what_speaks_against_a_file_is_said_beside_it(
    client: TestClient, submit: Submit, finished: Callable[..., Any]
) -> None:
    job_id = submit().json()["id"]
    network = {"architecture": "mlp8", "latency_milliseconds": None}
    exports = {"int8": {"bytes": 3, "caution": "It is <b>slower</b>."}}
    finished(job_id, kind="student_int8", result={"teacher": network, "student": network, "exports": exports})
    assert "It is &lt;b&gt;slower&lt;/b&gt;." in client.get(f"/ui/jobs/{job_id}").text


def test_a_job_from_its_queue_to_its_end(
    client: TestClient, submit: Submit, finished: Callable[..., Any]
) -> None:
    job_id = submit().json()["id"]
    assert f"/ui/jobs/{job_id}" in client.get("/").text
    waiting = client.get(f"/ui/jobs/{job_id}").text
    assert "number 1 in the queue" in waiting
    assert "hx-get" in waiting
    finished(job_id)
    ended = client.get(f"/ui/jobs/{job_id}").text
    assert "succeeded" in ended
    assert "hx-get=" not in ended
    artifact = client.get(f"/jobs/{job_id}").json()["artifacts"][0]
    assert f"/artifacts/{artifact['id']}" in ended
    assert artifact["sha256"] in ended
    assert "No job yet" in client.get("/?status=queued").text
    assert job_id in client.get("/?status=succeeded").text
    assert client.get("/?status=nonsense").status_code == 200
    (renewed,) = re.findall(r'hx-get="(/ui/jobs\?[^"]*)"', client.get("/").text)
    assert job_id in client.get(renewed.replace("&amp;", "&")).text


def test_an_evaluation_is_counted_and_a_student_without_figures_is_shown(
    client: TestClient, submit: Submit
) -> None:
    from app.jobs import lifecycle
    from app.models import Artifact
    from app.platform.db import database_now, session_scope
    from app.platform.ids import new_id

    job_id = submit().json()["id"]
    with session_scope() as session:
        held = lifecycle.claim(session, job_id, "w")
        assert held is not None
        counted = {"done": 512, "total": 4096, "unit": "images"}
        values = {"step": 5, "total_steps": 5, "percent": 100.0, "eta_seconds": 31.0}
        assert lifecycle.update_held(session, held, phase="evaluating", phase_progress=counted, **values)
    for address in ("/", f"/ui/jobs/{job_id}"):
        page = client.get(address).text
        assert "evaluating" in page
        assert "512 of 4,096 images" in page
        assert 'value="99.0"' in page
    assert "31 s left" in client.get(f"/ui/jobs/{job_id}").text
    with session_scope() as session:
        session.add(Artifact(
            id=new_id("art"), tenant_id=held.tenant_id, job_id=job_id, kind="student", partial=True,
            filename="student.safetensors", bytes=3, sha256="0" * 64, created_at=database_now(session),
            details={"complete": True, "result": None},
        ))  # fmt: skip
        assert lifecycle.fail(session, held, JobError("hung", "It hung."))
    page = client.get(f"/ui/jobs/{job_id}").text
    assert "It hung. Training was finished; its student is kept" in page
    assert "Download the partial student" in page
    assert "left no student" not in page


@pytest.mark.parametrize(
    ("changes", "on_page", "in_list"),
    [
        (
            {},
            "<strong>91.4 %</strong> of the teacher's accuracy, predicted; 90 % interval 86.0 % to 95.2 %",
            "91.4 %",
        ),
        (
            {"relative_accuracy": None, "reason": "Too <large>."},
            "No accuracy is predicted. Too &lt;large&gt;.",
            "–",
        ),
    ],
)
def test_a_prediction_or_the_reason_why_there_is_none(
    client: TestClient, submit: Submit, changes: dict[str, Any], on_page: str, in_list: str
) -> None:
    from app.jobs import lifecycle
    from app.platform.db import session_scope

    job_id = submit().json()["id"]
    judged = {
        "relative_accuracy": 0.914,
        "low": 0.86,
        "high": 0.952,
        "level": 0.9,
        "coverage": 0.9,
        "jobs": 208,
        "teachers": 13,
        "images": 2304,
    }
    network = {"architecture": "mlp8", "latency_milliseconds": None}
    prediction = {**judged, **changes}
    of_int8 = None if "reason" in changes else prediction  # as the engine has it
    exports = {"int8": {"bytes": 3, "prediction": of_int8}, "onnx": {"bytes": 9}}
    result = {"teacher": network, "student": network, "prediction": prediction, "exports": exports}
    about = {
        "teacher": 0.1,
        "student": 0.1,
        "images": 9,
        "data": "9 labelled images",
        "exports": {"onnx": 0.2},
    }
    result["accuracy"] = {**about, "notes": ["1 pictures <were> skipped."]}
    with session_scope() as session:
        held = lifecycle.claim(session, job_id, "w")
        assert held is not None
        assert lifecycle.succeed(session, held, from_json(JobResult, result))
    page = client.get(f"/ui/jobs/{job_id}").text
    assert on_page in page
    assert "1 pictures &lt;were&gt; skipped." in page
    assert "as onnx 20.0 %" in page
    if in_list == "–":
        assert page.count("Too &lt;large&gt;.") == 1, "not once more for int8"
        assert "interval" not in page
    else:
        assert "to 2,304 drawn images" in page
        assert "208 jobs of known accuracy with 13 teachers" in page
        assert "90.0 % of the jobs" in page
        assert "As int8, 91.4 % of the teacher's accuracy, predicted; 90 % interval" in page
    for listed in (
        client.get("/").text,
        client.get(f"/ui/compare?job={job_id}&job={submit().json()['id']}").text,
    ):
        assert in_list in listed
        assert ('<span class="below">90 % interval 86.0 % to 95.2 %</span>' in listed) is (in_list != "–")


def test_the_buttons_do_what_they_say(
    client: TestClient, submit: Submit, finished: Callable[..., Any]
) -> None:
    job_id = submit().json()["id"]
    for action, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = client.post(f"/ui/jobs/{job_id}/{action}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/jobs/{job_id}")
        assert client.get(f"/jobs/{job_id}").json()["status"] == status
    again = client.post(f"/ui/jobs/{job_id}/rerun")
    other = again.headers["location"].rpartition("/")[2]
    assert client.get(f"/jobs/{other}").json()["status"] == "queued"
    refused = client.post(f"/ui/jobs/{other}/delete")
    assert (refused.status_code, "not done" in refused.text) == (409, True)
    assert client.post(f"/ui/jobs/{job_id}/delete").headers["location"] == "/"
    assert client.get(f"/ui/jobs/{job_id}").status_code == 404
    assert client.post(f"/ui/jobs/{other}/explode").status_code == 404


def test_two_jobs_compared(client: TestClient, submit: Submit) -> None:
    ids = [submit({"seed": seed}).json()["id"] for seed in (1, 2)]
    page = client.get("/ui/compare", params={"job": ids}).text
    assert "<code>seed</code>" in page
    assert "budget.steps" not in page
    assert "Tick two jobs" in client.get("/ui/compare").text


def test_what_people_name_is_text(client: TestClient, submit: Submit) -> None:
    job_id = submit(name="<script>alert(1)</script>.pt").json()["id"]
    for address in ("/", f"/ui/jobs/{job_id}"):
        assert "<script>alert" not in client.get(address).text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_pages_of_others_press_no_button(client: TestClient, submit: Submit, headers: dict[str, str]) -> None:
    job_id = submit().json()["id"]
    for address in (f"/ui/jobs/{job_id}/cancel", f"/jobs/{job_id}/cancel"):
        assert client.post(address, headers=headers).status_code == 403
    assert client.get(f"/jobs/{job_id}").json()["status"] == "queued"
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post(f"/ui/jobs/{job_id}/cancel", headers=own).status_code == 303


def test_without_keys_a_name_of_somebody_else_opens_nothing(
    home: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page can let its own name lead to this machine; to the browser the two are one site then."""
    from app.main import create_app
    from app.platform.settings import get_settings

    def asked(host: str, **headers: str) -> int:
        headers |= {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        return client.post(
            "/ui/act", headers=headers, follow_redirects=False, data={"action": "x"}
        ).status_code

    with TestClient(create_app()) as client:
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "evil.example.", "[::1"):
            assert asked(host) == 403
            assert asked(host, Authorization="Bearer x") == 403
            assert client.get("/jobs", headers={"Host": host}).status_code == 403
        for host in (
            "127.0.0.1:8000",
            "localhost:8000",
            "[::1]:8000",
            "a.localhost",
            "192.168.1.7",
            "box:8000",
        ):
            assert asked(host) == 404  # there is no such action
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 200
    monkeypatch.setenv("DFAD_API_KEY", "a-long-secret-key")
    get_settings.cache_clear()
    with TestClient(create_app()) as client:
        assert asked("dfad.example", Authorization="Bearer a-long-secret-key") == 404


def test_a_key_in_a_browser(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "a-long-secret-key")
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), follow_redirects=False) as client:
        away = client.get("/")
        assert (away.status_code, away.headers["location"]) == (303, "/ui/sign-in")
        assert client.get("/jobs").status_code == 401
        assert client.get("/ui/sign-in").status_code == 200
        wrong = client.post("/ui/sign-in", data={"key": "wrong"})
        assert (wrong.status_code, wrong.cookies.get("dfad_key")) == (401, None)
        right = client.post("/ui/sign-in", data={"key": "a-long-secret-key"})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/").status_code == 200
        assert client.get("/jobs").status_code == 200
        client.post("/ui/sign-out")
        client.cookies.clear()
        assert client.get("/").status_code == 303


def test_a_teacher_is_shown_with_the_students_that_are_offered_for_it() -> None:
    from app.web.offers import offers
    from app.web.rendering import environment

    offer = {"architecture": "cnn8", "args": {"width": 9}, "parameters": 30, "compression": 4.0, "macs": 200,
             "one_image_milliseconds": 1.234}  # fmt: skip
    source = {"shape": [1, 8, 8], "mean": [0.3], "std": [0.3]}
    document = {"architecture": "cnn8", "args": {"width": 20}, "num_classes": 10, "input": source}
    timing = {"images": 16, "threads": 2, "forward_milliseconds": 9.0, "backward_milliseconds": 9.0}
    timing["one_image_milliseconds"] = 5.678
    document |= {"parameters": 100, "macs": 1000, "students": [offer], "timing": timing}
    inspection = from_json(Inspection, document)
    part = environment().get_template("_teacher.html")
    text = part.render(
        teacher={"status": "ready", "id": "tch_1"},
        found=inspection,
        offers=offers(inspection),
        students=[],
        exports=["onnx"],
        steps=2000,
    )
    assert "4.0× smaller</strong> cnn8, width 9" in text
    assert ", 5.68 ms an image" in text
    assert "200 multiply-accumulates, 1.23 ms an image" in text
    assert "&#34;architecture&#34;: &#34;cnn8&#34;" in text or '"architecture": "cnn8"' in text


def test_the_form_for_labelled_images_after_the_end(
    client: TestClient, submit: Submit, finished: Any
) -> None:
    from app.models import Job
    from app.models.job import Measurement
    from app.platform.db import session_scope

    job_id = submit().json()["id"]
    assert 'id="measure"' not in client.get(f"/ui/jobs/{job_id}").text
    network = {"architecture": "mlp8", "latency_milliseconds": None}
    finished(job_id, result={"teacher": network, "student": network, "compression": 4.0})
    page = client.get(f"/ui/jobs/{job_id}").text
    assert f'<form id="measure" data-job="{job_id}">' in page
    assert re.search(r"/static/measure[^\"]*js", page)
    asked = Measurement(
        status="waiting", filename="<a>.npz", sha256="0", asked_at="2026-01-01T00:00:00Z", finished_at=None,
        error=None,
    )  # fmt: skip
    failed = {"status": "failed", "error": {"code": "bad_evaluation_data", "message": "No <images>."}}
    for change, text, has_form in (
        ({}, "Accuracy on &lt;a&gt;.npz is being measured.", False),
        (failed, "Accuracy on &lt;a&gt;.npz was not measured. No &lt;images&gt;.", True),
    ):
        with session_scope() as session:
            session.get_one(Job, job_id).measurement = Measurement(**{**asked, **change})
        page = client.get(f"/ui/jobs/{job_id}").text
        assert text in page
        assert ('<form id="measure"' in page) == has_form
