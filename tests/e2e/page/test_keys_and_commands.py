"""Keys in a browser, and the same job by other means.

Guards: that somebody signs in and out, that a key that may only read is met politely, and that the commands
which a job's page shows do what they say, with a key and without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from testing.running_service import ROOT, end
from tests.e2e.page.conftest import TEACHER, Service, check, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

KEY = "a-long-secret-key-of-the-operator"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for a key, without a worker."""
    found = started(tmp_path_factory.mktemp("closed"), "app", DFAD_API_KEY=KEY)
    yield found
    end(found.processes)


@pytest.fixture(scope="module")
def queued(closed: Service) -> str:
    """A job that waits there; its id."""
    files = {
        "teacher": (TEACHER.name, TEACHER.read_bytes()),
        "spec": (None, '{"student": {"architecture": "cnn8"}}'),
    }
    answer = httpx.post(f"{closed.url}/jobs", files=files, headers={"Authorization": f"Bearer {KEY}"})
    return str(answer.raise_for_status().json()["id"])


def sign_in(page: Page, key: str) -> None:
    page.goto("/")
    page.wait_for_url("**/ui/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_key_in_a_browser(closed: Service, queued: str, browser: Browser) -> None:
    context = browser.new_context(base_url=closed.url)
    page = context.new_page()
    page.add_init_script("window.shifted = 0;")
    sign_in(page, "wrong")
    assert page.get_by_label("API key").get_attribute("aria-invalid") == "true"
    check(page)
    sign_in(page, KEY)
    page.locator(f"a[href='/ui/jobs/{queued}']").first.click()
    page.get_by_text("number 1 in the queue").wait_for()
    assert "$DFAD_API_KEY" in page.inner_text("main")
    assert all(cookie != "dfad_key" for cookie in page.evaluate("document.cookie").split("="))
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"/ui/jobs/{queued}")
    page.wait_for_url(f"**/ui/sign-in?next=/ui/jobs/{queued}")
    context.close()


def test_a_key_that_may_only_look(closed: Service, queued: str, browser: Browser) -> None:
    made = httpx.post(
        f"{closed.url}/keys", json={"name": "reader", "tenant_id": "local", "scopes": ["read"]},
        headers={"Authorization": f"Bearer {KEY}"},
    )  # fmt: skip
    context = browser.new_context(base_url=closed.url)
    page = context.new_page()
    page.add_init_script("window.shifted = 0;")
    sign_in(page, made.raise_for_status().json()["key"])
    page.get_by_text("This key may look, and change nothing.").wait_for()
    assert page.get_by_role("button", name="Cancel").count() == 0
    page.goto(f"/ui/jobs/{queued}")
    assert page.get_by_role("button", name="Cancel").count() == 0
    page.goto("/ui/new")
    assert page.locator("#file").count() == 0
    check(page)
    context.close()


def shown_commands(page: Page) -> list[str]:
    return page.locator("h3 + .copied pre").all_inner_texts()


def run(text: str, *, python: bool, **more: str) -> str:
    """What the shell, or Python, says of it."""
    programs = Path(sys.executable).parent
    environment = {n: v for n, v in os.environ.items() if not n.startswith("DFAD_")}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-c", text] if python else ["sh", "-c", text]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    return done.stdout


def test_the_same_job_by_other_means(service: Service, done: str, page: Page) -> None:
    page.goto(f"/ui/jobs/{done}")
    curl, dfad, program = shown_commands(page)
    assert "$DFAD_API_KEY" not in curl
    run(curl, python=False)
    # The page shows the command as people have it on their path.
    run(dfad.replace("dfad submit", f"{sys.executable} -m dfad_client submit"), python=False)
    assert "succeeded" in run(program, python=True)
    spec = httpx.get(f"{service.url}/jobs/{done}").json()["resolved_spec"]
    made = httpx.get(f"{service.url}/jobs?limit=3").json()["data"]
    assert done not in {job["id"] for job in made}
    assert [job["resolved_spec"] for job in made] == [spec] * 3


def test_the_same_job_with_a_key(closed: Service, queued: str, browser: Browser) -> None:
    context = browser.new_context(base_url=closed.url)
    page = context.new_page()
    sign_in(page, KEY)
    page.goto(f"/ui/jobs/{queued}")
    curl, dfad, program = shown_commands(page)
    assert KEY not in curl + dfad + program
    assert '"status":"queued"' in run(curl, python=False, DFAD_API_KEY=KEY)
    dfad = dfad.replace("dfad submit", f"{sys.executable} -m dfad_client submit").replace("--wait", "")
    assert "job_" in run(dfad, python=False, DFAD_API_KEY=KEY)
    program = program.replace("    job = dfad.jobs.wait(job.id)\n", "")
    assert "queued" in run(program, python=True, DFAD_API_KEY=KEY)
    context.close()


def test_a_server_that_goes_and_comes_back(
    closed: Service, queued: str, browser: Browser, tmp_path: Path
) -> None:
    """The last to need it: it comes back as another process."""
    context = browser.new_context(base_url=closed.url)
    page = context.new_page()
    sign_in(page, KEY)
    page.goto(f"/ui/jobs/{queued}")
    end(closed.processes)
    page.get_by_text("Connection lost").wait_for()
    port = int(closed.url.rpartition(":")[2])
    closed.processes = started(closed.home, "app", port=port, DFAD_API_KEY=KEY).processes
    page.get_by_text("Connection lost").wait_for(state="hidden")
    answer = httpx.post(f"{closed.url}/jobs/{queued}/pause", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.json()["status"] == "paused"
    page.wait_for_selector(".state.paused")
    context.close()
