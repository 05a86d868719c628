"""The operator's choice of a tenant on the page, without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.http.conftest import SPEC

OPERATOR = "a-long-secret-key"
BROWSER = {"Accept": "text/html"}
LOOK_ONLY = "All tenants are shown"


@pytest.fixture
def client(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A browser at a server with the operator's key; it follows nothing by itself."""
    monkeypatch.setenv("DFAD_API_KEY", OPERATOR)
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), headers=BROWSER, follow_redirects=False) as test_client:
        yield test_client


@pytest.fixture
def keys(client: TestClient) -> dict[str, str]:
    """Admin keys of two tenants; vision has a job as well."""
    found = {}
    for tenant in ("vision", "nlp"):
        asked = {"name": "k", "tenant_id": tenant, "scopes": ["admin"]}
        found[tenant] = client.post("/keys", json=asked, headers=bearer(OPERATOR)).json()["key"]
    return found


@pytest.fixture
def job(client: TestClient, keys: dict[str, str]) -> str:
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps(SPEC), "application/json"),
    }
    return str(client.post("/jobs", files=files, headers=bearer(keys["vision"])).json()["id"])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def sign_in(client: TestClient, key: str) -> None:
    assert client.post("/ui/sign-in", data={"key": key}).status_code == 303


def choose(client: TestClient, tenant: str, **more: str) -> Any:
    return client.post("/ui/tenant", data={"tenant": tenant, **more})


def offered(text: str) -> dict[str, bool]:
    """Titles of the tenants to choose from, and whether each is chosen."""
    options = re.findall(
        r'<option value="([^"]*)" (selected)?>([^<]*)</option>', text.partition("</header>")[0]
    )
    return {title: bool(selected) for _, selected, title in options}


def test_the_operator_sees_what_it_chooses(client: TestClient, job: str) -> None:
    sign_in(client, OPERATOR)
    first = client.get("/").text
    assert offered(first) == {"All tenants": False, "local": True, "nlp": False, "vision": False}
    assert job not in first
    answer = choose(client, "vision")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    shown = client.get("/").text
    assert job in shown
    assert offered(shown)["vision"]
    assert "<th>Tenant</th>" not in shown
    about = client.get(f"/ui/jobs/{job}").text
    assert "-H &#39;DFAD-Tenant: vision&#39;" in about
    assert "--tenant vision" in about
    assert "tenant=&#39;vision&#39;" in about
    # What scripts of the page ask goes by the choice as well.
    assert client.get(f"/jobs/{job}/metrics").status_code == 200
    assert client.post(f"/ui/jobs/{job}/cancel").status_code == 303
    assert client.get(f"/jobs/{job}").json()["status"] == "cancelled"
    choose(client, "nlp")
    assert client.get(f"/ui/jobs/{job}").status_code == 404
    choose(client, "local")
    assert client.get(f"/jobs/{job}").status_code == 404


def test_all_tenants_are_looked_at_and_not_changed(client: TestClient, job: str) -> None:
    hook = {"url": "https://hooks.example.com/"}
    for_vision = bearer(OPERATOR) | {"DFAD-Tenant": "vision"}
    hook_id = client.post("/webhooks", json=hook, headers=for_vision).json()["id"]
    sign_in(client, OPERATOR)
    choose(client, "*")
    pages = ("/", f"/ui/jobs/{job}", "/ui/new", "/ui/webhooks", f"/ui/webhooks/{hook_id}")
    for path in pages:
        text = client.get(path).text
        assert LOOK_ONLY in text, path
        assert offered(text)["All tenants"]
        posts = re.findall(r'(?:formaction|method="post" action)="([^"]*)"', text)
        assert set(posts) == {"/ui/tenant", "/ui/sign-out"}, path
    listed = client.get("/").text
    assert "<th>Tenant</th>" in listed
    assert '<td data-label="Tenant">vision</td>' in listed
    assert "<td>vision</td>" in client.get("/ui/webhooks").text
    assert "of tenant vision" in client.get(f"/ui/jobs/{job}").text
    for path in (f"/ui/jobs/{job}/cancel", "/ui/act", "/ui/webhooks", f"/ui/webhooks/{hook_id}/delete"):
        refused = client.post(path, data={"action": "cancel", "job": job})
        assert refused.status_code == 400
        assert "choose one tenant at the top of the page" in refused.text
        assert offered(refused.text)["All tenants"]
    assert client.get(f"/jobs/{job}").json()["status"] == "queued"
    assert choose(client, "vision").status_code == 303
    assert client.post(f"/ui/jobs/{job}/cancel").status_code == 303


def test_where_one_was_if_every_tenant_has_it(client: TestClient, job: str) -> None:
    sign_in(client, OPERATOR)
    for here, there in (
        ("/ui/webhooks", "/ui/webhooks"),
        ("/ui/new", "/ui/new"),
        (f"/ui/jobs/{job}", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
    ):
        assert choose(client, "vision", next=here).headers["location"] == there


def test_what_is_no_tenant_cannot_be_chosen(client: TestClient) -> None:
    sign_in(client, OPERATOR)
    for name in ("", "Vision", "a b", "a;b=c", "x" * 65):
        assert choose(client, name).status_code == 422
    client.cookies.set("dfad_tenant", "a b")
    assert offered(client.get("/").text)["local"]


def test_nobody_else_chooses(client: TestClient, keys: dict[str, str], job: str) -> None:
    """Neither by the form nor by the cookie, which may be left from somebody else at the same browser."""
    sign_in(client, keys["nlp"])
    assert choose(client, "vision").status_code == 403
    client.cookies.set("dfad_tenant", "vision")
    for choice in ("vision", "*"):
        client.cookies.set("dfad_tenant", choice)
        shown = client.get("/").text
        assert job not in shown
        assert "nlp · <bdi>k</bdi>" in shown
        assert offered(shown) == {}
        assert client.get(f"/jobs/{job}").status_code == 404


def test_the_choice_ends_with_the_sign_out(client: TestClient, job: str) -> None:
    sign_in(client, OPERATOR)
    choose(client, "vision")
    client.post("/ui/sign-out")
    assert "dfad_tenant" not in client.cookies
    sign_in(client, OPERATOR)
    choose(client, "vision")
    sign_in(client, OPERATOR)
    assert offered(client.get("/").text)["local"]


def test_programs_are_not_bound_by_it(client: TestClient, job: str) -> None:
    """A header comes before the cookie, and a key in a header is not that of the browser."""
    sign_in(client, OPERATOR)
    choose(client, "vision")
    assert client.get("/jobs", headers={"DFAD-Tenant": "nlp"}).json()["data"] == []
    assert client.get("/jobs", headers=bearer(OPERATOR)).json()["data"] == []


def test_a_page_that_says_the_database_is_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    from app.web import jobs_list, rendering

    def away(*_: Any) -> None:
        raise OperationalError("", None, Exception())

    sign_in(client, OPERATOR)
    choose(client, "vision")
    monkeypatch.setattr(jobs_list, "read_scope", away)
    monkeypatch.setattr(rendering, "tenant_names", away)
    page = client.get("/")
    assert page.status_code == 503
    assert offered(page.text) == {"All tenants": False, "vision": True}


def test_what_is_chosen_is_not_audited(client: TestClient) -> None:
    sign_in(client, OPERATOR)
    choose(client, "vision")
    found = client.get("/audit", headers=bearer(OPERATOR) | {"DFAD-Tenant": "*"}).json()["data"]
    assert [line["action"] for line in found] == ["POST /ui/sign-in"]
