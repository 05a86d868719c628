"""People sign in through a real provider, in a real browser and over the API.

Guards: that the whole way there and back works with cookies, redirects and policies as browsers hold them;
that everybody sees the jobs of their tenants alone; that the sign-out is one at the provider as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from testing.running_service import end
from tests.e2e.page.conftest import Service, check, shot, started
from tests.e2e.page.test_sign_in import OPERATOR, ask, make, opened, submit
from tests.e2e.sign_in_provider import PASSWORD, SignInProvider, running_provider

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def provider(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], None]
) -> Iterator[SignInProvider]:
    with running_provider(tmp_path_factory.mktemp("provider"), missing) as found:
        yield found


@pytest.fixture(scope="module")
def closed(provider: SignInProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that knows the provider, without a worker."""
    home = tmp_path_factory.mktemp("people")
    found = started(home, "app", DFAD_API_KEY=OPERATOR, **provider.settings())
    provider.register(found.url)
    yield found
    end(found.processes)


def go(page: Page) -> None:
    """To the provider."""
    page.get_by_role("link", name="Sign in through localhost").click()


def enter(page: Page, person: str) -> None:
    """In the provider's own form."""
    page.locator("#username").fill(person)
    page.locator("#password").fill(PASSWORD)
    page.locator("#password").press("Enter")
    page.get_by_role("button", name="Continue").click()


def test_a_person_sees_their_tenants_jobs_and_signs_out(
    closed: Service, provider: SignInProvider, browser: Browser, tmp_path: Path
) -> None:
    jobs = {tenant: submit(closed, make(closed, tenant)["key"]) for tenant in ("vision", "audio")}
    with opened(browser, closed) as page:
        page.goto("/ui/webhooks")
        check(page)
        shot(page, "sign-in-with-provider", tmp_path)
        go(page)
        enter(page, "ada")
        page.wait_for_url(f"{closed.url}/ui/webhooks")
        page.goto("/")
        page.get_by_text("vision · Ada (writer)").wait_for()
        links = page.locator(".jobs tbody a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        assert f"/ui/jobs/{jobs['vision']}" in links
        assert f"/ui/jobs/{jobs['audio']}" not in links
        check(page)
        page.locator(f"a[href='/ui/jobs/{jobs['vision']}']").first.click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("cancelled").first.wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{provider.url}/**")  # which asks whether that is meant
        with page.expect_response(lambda answer: answer.request.method == "DELETE" and answer.ok):
            page.get_by_role("button", name="Logout").last.click()
        page.goto(f"{closed.url}/")
        page.wait_for_url(f"{closed.url}/ui/sign-in")
        go(page)
        page.locator("#username").wait_for()  # it, too, has forgotten who it was
    headers = {"Authorization": f"Bearer {OPERATOR}", "DFAD-Tenant": "vision"}
    lines = httpx.get(f"{closed.url}/audit", headers=headers, timeout=30).json()["data"]
    cancelled = next(one for one in lines if "cancel" in one["action"])
    signed_in = next(one for one in lines if one["action"] == "GET /ui/sign-in/callback")
    assert cancelled["person"] == signed_in["person"] != "ada"


def test_a_person_of_two_tenants_chooses(closed: Service, provider: SignInProvider, browser: Browser) -> None:
    with opened(browser, closed) as page:
        page.goto("/")
        go(page)
        enter(page, "grace")
        page.get_by_text("audio · Grace (admin)").wait_for()
        page.get_by_label("Tenant").select_option("vision")
        page.get_by_role("button", name="Show", exact=True).click()
        page.get_by_text("vision · Grace (reader)").wait_for()


def test_a_person_without_a_role(closed: Service, provider: SignInProvider, browser: Browser) -> None:
    with opened(browser, closed) as page:
        page.goto("/")
        go(page)
        enter(page, "nobody")
        page.get_by_text(re.compile("none of your groups has a role here")).wait_for()
        page.goto("/")
        page.wait_for_url(f"{closed.url}/ui/sign-in")


def test_a_program_of_a_person(closed: Service, provider: SignInProvider) -> None:
    token = provider.access_token("ada", closed.url)
    job = submit(closed, token)
    assert ask(closed, "GET", f"/jobs/{job}", token).json()["tenant_id"] == "vision"
    headers = {"Authorization": f"Bearer {token}"}
    refused = httpx.get(f"{closed.url}/keys", headers=headers, timeout=30)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "role writer in the tenant vision" in refused.json()["detail"]
    no_role = {"Authorization": f"Bearer {provider.access_token('nobody', closed.url)}"}
    answer: Any = httpx.get(f"{closed.url}/jobs", headers=no_role, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (403, "no_role")
    assert ask(closed, "GET", "/metrics", provider.access_token("linus", closed.url)).status_code == 200
    log = (closed.home / "log").read_text()
    assert token not in log
    assert "code=" not in log
