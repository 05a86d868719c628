"""Buttons for several jobs, what is told of them, refusals as pages, the log, and what is offered.

Guards: that what is refused of one job does not keep it from the others and is told; that deleting asks
first; that people get pages and programs get JSON; that a key which may only read is refused politely; that
the log is shown a page at a time; that a method's cost is told before it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.http.conftest import finished, submit

__all__ = ["finished", "submit"]
Submit = Callable[..., Any]
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client(database: str) -> Iterator[TestClient]:
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False) as test_client:
        yield test_client


def test_several_at_once_and_told_once(client: TestClient, submit: Submit) -> None:
    first, second = (submit().json()["id"] for _ in range(2))
    client.post(f"/jobs/{first}/cancel")
    page = client.post("/ui/act", data={"action": "pause", "job": [first, second, second]})
    assert "One job was asked to pause." in page.text
    assert "cannot be paused" in page.text
    assert client.get(f"/jobs/{second}").json()["status"] == "paused"
    assert "asked to pause" not in client.get("/").text
    assert "No job was ticked." in client.post("/ui/act", data={"action": "cancel"}).text
    assert client.post("/ui/act", data={"action": "explode"}).status_code == 404


def test_deleting_asks_first(client: TestClient, submit: Submit) -> None:
    job_id = submit().json()["id"]
    asked = client.get("/ui/delete", params={"job": job_id}).text
    assert "cancel it first" in asked
    assert client.get(f"/jobs/{job_id}").status_code == 200
    client.post(f"/jobs/{job_id}/cancel")
    assert "deleted" in client.post("/ui/act", data={"action": "delete", "job": job_id}).text
    assert client.get(f"/jobs/{job_id}").status_code == 404
    assert "Nothing to delete" in client.get("/ui/delete").text
    assert client.get("/ui/delete", params={"job": job_id}).status_code == 404


@pytest.mark.parametrize("value", ["x", "e30=", "eyJkb25lIjogMX0=", "W1tb" * 370, "a" * 2000])
def test_a_cookie_of_others_tells_nothing(client: TestClient, value: str) -> None:
    page = client.get("/", headers={"Cookie": f"dfad_told={value}"})
    assert (page.status_code, 'class="told"' in page.text) == (200, False)


@pytest.mark.parametrize(
    ("address", "status"),
    [("/nowhere", 404), ("/ui/nowhere", 404), (f"/ui/jobs/job_{'0' * 32}", 404), ("/ui/jobs/x", 422)],
)
def test_people_get_pages_and_programs_json(client: TestClient, address: str, status: int) -> None:
    page = client.get(address, headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "To the jobs" in page.text
    assert page.headers["x-request-id"].startswith("req_")
    other = client.get(address)
    assert (other.status_code, other.headers["content-type"]) == (status, "application/problem+json")
    assert client.get(f"/jobs/job_{'0' * 32}", headers=BROWSER).json()["code"] == "not_found"


def test_a_fault_shows_no_inside(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.web import compare

    def broken(*_: Any) -> Any:
        raise RuntimeError("/etc/secret")

    monkeypatch.setattr(compare, "compared", broken)
    page = client.get("/ui/compare", headers=BROWSER)
    assert (page.status_code, "Something went wrong" in page.text, "secret" in page.text) == (
        500,
        True,
        False,
    )
    assert page.headers["x-request-id"] in page.text


def test_a_key_that_may_only_read(home: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "a-long-secret-key")
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), headers=BROWSER) as client:
        operator = {"Authorization": "Bearer a-long-secret-key"}
        asked = {"name": "reader", "tenant_id": "local", "scopes": ["read"]}
        key = client.post("/keys", json=asked, headers=operator).json()["key"]
        reader = {"Cookie": f"dfad_key={key}"}
        assert "change nothing" in client.get("/", headers=reader).text
        assert 'id="file"' not in client.get("/ui/new", headers=reader).text
        refused = client.post("/ui/act", data={"action": "cancel"}, headers=reader)
        assert (refused.status_code, "That is not allowed" in refused.text) == (403, True)


def test_the_log_a_page_at_a_time(client: TestClient, submit: Submit) -> None:
    from app.jobs.events import append_event
    from app.platform.db import session_scope

    job_id = submit().json()["id"]
    with session_scope() as session:
        for step in range(100):
            append_event(session, job_id, "progress", {"step": step})
        append_event(session, job_id, "warning", {"message": "<b>hot</b>"})
    address = f"/ui/jobs/{job_id}/log"
    shown = client.get(address).text
    assert "&lt;b&gt;hot" in shown
    assert "<td>progress</td>" not in shown
    newest = client.get(address, params={"kind": "progress"}).text
    assert (newest.count("<td>progress</td>"), "before=62" in newest) == (40, True)
    oldest = client.get(address, params={"kind": "all", "before": 3}).text
    assert (oldest.count("<td>progress</td>"), "Older" in oldest, "Newest" in oldest) == (1, False, True)
    assert "job.queued" not in client.get(address, params={"kind": "trouble"}).text
    assert client.get(address, params={"kind": "nonsense"}).status_code == 200


def test_filters_that_cannot_be_say_so(client: TestClient, submit: Submit) -> None:
    job_id = submit({"metadata": {"team": "vision"}}).json()["id"]
    assert f"/ui/jobs/{job_id}" in client.get("/?label=team%3Dvision").text
    assert "Write it as name=value." in client.get("/?label=vision").text
    assert 'aria-invalid="true"' in client.get("/?label=a%5B%3D1").text


def test_methods_have_a_price_before_they_are_chosen() -> None:
    from app.web.offers import offers
    from dfad_core.contract.inspection import Inspection
    from dfad_core.contract.serialization import from_json

    timing = {"images": 16, "threads": 1, "forward_milliseconds": 1.6, "backward_milliseconds": 3.2}
    students = [{"compression": c, "macs": 4000 // c} for c in (2, 4, 10)]
    known = {"timing": timing, "macs": 4000, "students": students, "bn_statistics": True}
    found = offers(
        from_json(Inspection, {**known, "methods": [{"name": "noise", "suits": False, "reason": "no"}]})
    )
    assert found.chosen == 1
    assert found.methods[0].method.name == "best"
    assert found.methods[0].relative == 1
    assert not found.methods[-1].suits
    # 128 images: 0.3 ms there and back and 0.1 ms to label them; five times 128 by a student of a quarter.
    assert found.methods[0].step_seconds == pytest.approx(128 * 0.0004 + 640 * 0.0001 * 3 / 4)
    searching = next(one for one in found.methods if one.method.name == "deepinversion")
    assert searching.relative is not None
    assert searching.relative > 50
    assert offers(None).methods[0].step_seconds is None
    assert offers(None).chosen is None
