"""The sign-in without a browser.

Guards: that keys of all tenants sign in, that one is then where one wanted to go and never on another site,
and that every page says whose key is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from tests.app.http.conftest import SPEC

OPERATOR = "a-long-secret-key"
BROWSER = {"Accept": "text/html"}
AWAY = (
    "https://evil.example/",
    "//evil.example/ui/new",
    "///evil.example/ui/new",
    "/\\evil.example",
    "\\\\evil.example",
    "/ui/\\..\\..\\evil.example",
    "/\t/evil.example",
    "/ui/new\r\nSet-Cookie: a=b",
    "/\n/evil.example",
    "\x00/ui/new",
    " //evil.example",
    "/%2Fevil.example",
    "/ui/../..//evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "ui/new",
    "%2Fui/new",
    "/jobs",
    "/ui/sign-in",
    "/ui/sign-in?next=/ui/new",
    "/ui/sign-in/",
    "/ui//sign-in",
    "/ui/./sign-in",
    "/ui/x/../sign-in",
    "/ui/x/%2e%2e/sign-in",
    "/ui/%73ign-in#x",
    "/ui/sign-out",
    "/ui/new?" + "x" * 7000,
)


@pytest.fixture
def client(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server with the operator's key, and a browser that follows nothing by itself."""
    monkeypatch.setenv("DFAD_API_KEY", OPERATOR)
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), headers=BROWSER, follow_redirects=False) as test_client:
        yield test_client


@pytest.fixture
def make(client: TestClient) -> Callable[..., str]:
    """Makes a key as the operator; what opens the service."""

    def create(tenant: str, name: str = "ci", **more: Any) -> str:
        asked = {"name": name, "tenant_id": tenant, **more}
        return str(client.post("/keys", json=asked, headers=bearer(OPERATOR)).json()["key"])

    return create


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def sign_in(client: TestClient, key: str, **more: str) -> Any:
    return client.post("/ui/sign-in", data={"key": key, **more})


def words(text: str) -> str:
    """The text of a page's header, on one line."""
    return " ".join(text.partition("<nav")[2].partition("</nav>")[0].split())


def test_keys_of_all_tenants_sign_in(client: TestClient, make: Callable[..., str]) -> None:
    from app.models import ApiKey
    from app.platform.db import read_scope

    for tenant in ("vision", "audio", "local"):
        assert sign_in(client, make(tenant)).status_code == 303
        assert client.get("/").status_code == 200
        client.cookies.clear()
    with read_scope() as session:
        assert all(key.last_used_at is not None for key in session.scalars(select(ApiKey)))


def test_who_asks_is_looked_up_among_all_tenants(client: TestClient, make: Callable[..., str]) -> None:
    """Whoever's rows a request may see, the key that it brings is found."""
    from app.access.keys.service import any_keys, look_up
    from app.models.tenancy import acting_for
    from app.platform.settings import get_settings

    key = make("vision")
    with acting_for("audio"):
        assert look_up(f"Bearer {key}", get_settings())[0].tenant_id == "vision"
        assert any_keys()


def test_each_sees_its_own_jobs_alone(client: TestClient, make: Callable[..., str]) -> None:
    jobs = {}
    for tenant in ("vision", "audio"):
        key = make(tenant)
        files = {
            "teacher": ("t.pt", b"PK\x03\x04" + tenant.encode()),
            "spec": (None, str(SPEC).replace("'", '"')),
        }
        jobs[tenant] = client.post("/jobs", files=files, headers=bearer(key)).json()["id"]
        sign_in(client, key)
        shown = client.get("/").text
        assert {name for name, job in jobs.items() if job in shown} == {tenant}
        client.cookies.clear()


def test_one_is_then_where_one_wanted_to_go(client: TestClient, make: Callable[..., str]) -> None:
    key = make("vision")
    wanted = "/ui/compare?job=job_1&job=job_2&of=a%26b+c"
    away = client.get(wanted)
    assert away.status_code == 303
    form = client.get(away.headers["location"]).text
    assert 'name="next" value="/ui/compare?job=job_1&amp;job=job_2&amp;of=a%26b+c"' in form
    for wrong in ("wrong", "", " ", "x" * 5000, "ключ"):
        refused = sign_in(client, wrong, next=wanted)
        assert (refused.status_code, 'name="next"' in refused.text) == (401, True)
    right = sign_in(client, key, next=wanted)
    assert (right.status_code, right.headers["location"]) == (303, wanted)


@pytest.mark.parametrize("wanted", ["/", "/?status=queued", "/ui/new", "/ui/jobs/job_1", "/ui/jobs/ä ö"])
def test_pages_of_this_site(client: TestClient, wanted: str) -> None:
    away = urlsplit(client.get(wanted).headers["location"])
    assert away.path == "/ui/sign-in"
    assert (away.query == "") == (wanted == "/")
    arrived = sign_in(client, OPERATOR, next=wanted).headers["location"]
    assert client.get(arrived).request.url == client.get(wanted).request.url


@pytest.mark.parametrize("wanted", AWAY)
def test_pages_of_other_sites(client: TestClient, wanted: str) -> None:
    assert sign_in(client, OPERATOR, next=wanted).headers["location"] == "/"
    client.cookies.clear()
    form = client.get("/ui/sign-in", params={"next": wanted})
    assert (form.status_code, 'name="next"' in form.text) == (200, False)
    assert 'name="next"' not in sign_in(client, "wrong", next=wanted).text


def test_a_button_that_came_too_late(client: TestClient) -> None:
    """After it there is a way to sign in, and from there back to the page that has the button."""
    page = "/ui/jobs/job_1?tab=log"
    for referer, leads in (
        (urljoin(str(client.base_url), page), "/ui/sign-in?next=/ui/jobs/job_1?tab=log"),
        (f"https://evil.example{page}", "/ui/sign-in"),
        (str(client.base_url).rstrip("/") + ".evil.example/ui/new", "/ui/sign-in"),
    ):
        late = client.post("/ui/jobs/job_1/cancel", headers={"Referer": referer})
        assert (late.status_code, f'href="{leads}"' in late.text) == (401, True)


def test_every_page_says_whose_key_it_is(client: TestClient, make: Callable[..., str]) -> None:
    reader = make("vision", "ci <b>", scopes=["read"])
    assert "Signed in" not in client.get("/ui/sign-in").text
    sign_in(client, reader)
    shown = [client.get(path) for path in ("/", "/ui/new", "/ui/webhooks", "/ui/compare", "/nothing")]
    refused = client.post("/ui/act", data={"action": "cancel"})
    assert (shown[-1].status_code, refused.status_code) == (404, 403)
    for page in (*shown, refused):
        assert "vision · <bdi>ci &lt;b&gt;</bdi> (read)" in words(page.text), page.url
    sign_in(client, make("audio", scopes=["admin", "read"]))
    assert "audio · <bdi>ci</bdi> (read, admin)" in words(client.get("/").text)
    sign_in(client, OPERATOR)
    assert "local · <bdi>operator</bdi></p>" in words(client.get("/").text)


def test_a_server_without_keys_names_none(home: Path, database: str) -> None:
    from app.main import create_app

    with TestClient(create_app(), follow_redirects=False) as client:
        assert "Signed in" not in client.get("/").text
        answer = sign_in(client, "ключ", next="/ui/new")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/new")
        assert "set-cookie" not in answer.headers
        assert "Sign" not in words(client.get("/").text)
