"""People of several tenants at one page.

Guards: that the key of any tenant signs in and shows the jobs of that tenant alone, that one is then where
one wanted to go, with scripts and without, and that the page says whose key it is, on a telephone too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from testing.running_service import end
from tests.e2e.page.conftest import TEACHER, Service, check, shot, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OPERATOR = "a-long-secret-key-of-the-operator"
LONG_NAME = "Nightly-distillation-of-" + "every-classifier-" * 6


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for a key, without a worker."""
    found = started(tmp_path_factory.mktemp("tenants"), "app", DFAD_API_KEY=OPERATOR)
    yield found
    end(found.processes)


def ask(closed: Service, method: str, path: str, key: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.request(method, f"{closed.url}{path}", headers=headers, timeout=30, **more)
    return answer.raise_for_status()


def make(closed: Service, tenant: str, **more: Any) -> dict[str, Any]:
    """A key of the tenant."""
    body = {"name": "ci", "tenant_id": tenant, **more}
    return dict(ask(closed, "POST", "/keys", OPERATOR, json=body).json())


def submit(closed: Service, key: str) -> str:
    """A job that waits; its id."""
    files = {
        "teacher": (TEACHER.name, TEACHER.read_bytes()),
        "spec": (None, '{"student": {"architecture": "cnn8"}}'),
    }
    return str(ask(closed, "POST", "/jobs", key, files=files).json()["id"])


@contextmanager
def opened(browser: Browser, closed: Service, **more: Any) -> Iterator[Page]:
    """A browser that nobody has signed in with yet."""
    context = browser.new_context(base_url=closed.url, **more)
    page = context.new_page()
    page.add_init_script("window.shifted = 0;")
    yield page
    context.close()


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_each_tenant_sees_its_own_jobs_alone(closed: Service, browser: Browser, tmp_path: Path) -> None:
    keys = {tenant: make(closed, tenant)["key"] for tenant in ("vision", "audio")} | {"local": OPERATOR}
    jobs = {tenant: submit(closed, key) for tenant, key in keys.items()}
    names = {
        "vision": "vision · ci (read, write)",
        "audio": "audio · ci (read, write)",
        "local": "local · operator",
    }
    with opened(browser, closed) as page:
        for tenant, key in keys.items():
            page.goto("/")
            enter(page, key)
            page.locator(".jobs tbody tr").first.wait_for()
            links = page.locator(".jobs tbody a").evaluate_all(
                "all => all.map(one => one.getAttribute('href'))"
            )
            assert {other for other, job in jobs.items() if f"/ui/jobs/{job}" in links} == {tenant}
            for path in ("/", "/ui/new", f"/ui/jobs/{jobs[tenant]}", "/ui/webhooks"):
                page.goto(path)
                assert names[tenant] in page.inner_text("header")
            page.goto("/ui/nothing")
            assert names[tenant] in page.inner_text("header")
            page.goto("/")
            check(page)
            shot(page, f"signed-in-{tenant}", tmp_path)
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url("**/ui/sign-in")
            assert tenant not in page.inner_text("header")


@pytest.mark.parametrize("scripts", [True, False])
def test_one_is_then_where_one_wanted_to_go(closed: Service, browser: Browser, scripts: bool) -> None:
    key = make(closed, "vision")["key"]
    wanted = f"/ui/compare?job={submit(closed, key)}&job={submit(closed, key)}"
    with opened(browser, closed, java_script_enabled=scripts) as page:
        page.goto(wanted)
        enter(page, "wrong")
        page.get_by_text("A valid API key is needed.").wait_for()
        enter(page, key)
        page.wait_for_url(f"{closed.url}{wanted}")
        assert page.get_by_role("heading", level=1).inner_text() == "Comparison"


def test_a_link_of_others_leads_to_no_page_of_theirs(closed: Service, browser: Browser) -> None:
    for wanted in ("//evil.example/", "https://evil.example/", "/%5Cevil.example/", "/%09/evil.example/"):
        with opened(browser, closed) as page:
            page.goto(f"/ui/sign-in?next={wanted}")
            enter(page, OPERATOR)
            page.wait_for_url(f"{closed.url}/")


def test_a_key_that_is_revoked_while_somebody_looks(closed: Service, browser: Browser) -> None:
    old, new = make(closed, "vision"), make(closed, "vision")
    wanted = "/?status=queued"
    with opened(browser, closed) as page:
        page.goto(wanted)
        enter(page, old["key"])
        page.wait_for_url(f"{closed.url}{wanted}")
        ask(closed, "DELETE", f"/keys/{old['id']}", OPERATOR)
        page.wait_for_url(f"{closed.url}/ui/sign-in?next={wanted}")  # the list renews itself
        enter(page, new["key"])
        page.wait_for_url(f"{closed.url}{wanted}")


def test_long_names_on_a_telephone(closed: Service, browser: Browser, tmp_path: Path) -> None:
    key = make(closed, "t" * 64, name=LONG_NAME, scopes=["read", "write", "admin"])["key"]
    with opened(browser, closed) as page:
        page.goto("/ui/new")
        enter(page, key)
        page.locator("h1").wait_for()
        assert LONG_NAME in page.inner_text("header")
        check(page)
        page.set_viewport_size({"width": 360, "height": 740})
        shot(page, "long-names", tmp_path)


@pytest.mark.parametrize("scripts", [True, False])
def test_the_operator_chooses_whose_jobs_are_shown(
    closed: Service, browser: Browser, tmp_path: Path, scripts: bool
) -> None:
    job = submit(closed, make(closed, "speech")["key"])
    with opened(browser, closed, java_script_enabled=scripts) as page:
        page.goto("/")
        enter(page, OPERATOR)
        page.get_by_label("Tenant").select_option("All tenants")
        page.get_by_role("button", name="Show", exact=True).click()
        page.get_by_text("All tenants are shown").wait_for()
        row = page.locator(".jobs tbody tr", has=page.locator(f"a[href='/ui/jobs/{job}']"))
        assert row.locator("td[data-label=Tenant]").inner_text() == "speech"
        assert page.get_by_role("button", name="Cancel").count() == 0
        if scripts:
            check(page)
            shot(page, "all-tenants", tmp_path)
            page.set_viewport_size({"width": 360, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            shot(page, "all-tenants-narrow", tmp_path)
        page.get_by_label("Tenant").select_option("speech")
        page.get_by_role("button", name="Show", exact=True).click()
        page.get_by_text("speech · operator").wait_for()
        page.locator(f"a[href='/ui/jobs/{job}']").first.click()
        assert "--tenant speech" in page.inner_text("main")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("cancelled").first.wait_for()
