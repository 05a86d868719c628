"""The pages of webhooks in a real browser, with a real sender and a receiver that answers.

Guards: added, tested and looked at by hand, with scripts and without; no rule of WCAG 2.1 AA broken in light
and in dark, and nothing wider than 360 pixels.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.e2e.test_page import check, faults, page, shot

from benchmarks.services import free_port
from tests.app.webhooks.conftest import Receiver
from tests.e2e.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["faults", "page"]

#: The worker's thread without the rest of the worker.
SENDER = "from worker.webhook_sender import WebhookSender; WebhookSender().run()"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home, port = tmp_path_factory.mktemp("page"), free_port()
    environment = {n: v for n, v in os.environ.items() if not n.startswith("DFAD_")}
    environment |= {
        "PYTHONPATH": str(ROOT), "DFAD_HOME": str(home), "DFAD_PORT": str(port), "OMP_NUM_THREADS": "1",
        "DFAD_WEBHOOK_ALLOW": '["127.0.0.1"]', "DFAD_WEBHOOK_POLL_SECONDS": "0.1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True, cwd=home)
    with (home / "log").open("wb") as log:
        processes = [
            subprocess.Popen([sys.executable, *what], env=environment, stdout=log, stderr=log, cwd=home)
            for what in (("-m", "app"), ("-c", SENDER))
        ]
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx2.get(f"{url}/healthz", timeout=5).status_code == 200:
                    break
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=60)


def test_added_tested_and_looked_at(
    page: Page, faults: list[str], receiver: Receiver, tmp_path: Path
) -> None:
    page.goto("/")
    page.get_by_role("link", name="Webhooks").click()
    page.fill("[name=url]", "http://169.254.169.254/latest")
    page.get_by_role("button", name="Add").click()
    page.wait_for_selector("#url-fault")
    assert "not a public one" in page.inner_text("#url-fault")
    assert page.get_attribute("[name=url]", "aria-describedby") == "url-fault"
    shot(page, "webhooks-refused", tmp_path)
    check(page)
    faults[:] = [fault for fault in faults if "422" not in fault]  # what was asked for
    page.fill("[name=url]", receiver.url)
    page.fill("[name=description]", "of this test")
    page.get_by_role("button", name="Add").click()
    page.wait_for_selector("text=whsec_")
    shot(page, "webhook-secret", tmp_path)
    check(page)
    page.get_by_role("link", name="I have kept it").click()
    page.get_by_role("button", name="Send a test").click()
    page.wait_for_selector("#log .succeeded")  # the log renews itself
    receiver.answer = lambda handler: receiver.say(handler, 500)
    page.get_by_role("button", name="Send a test").click()
    page.wait_for_selector("#log .failed")
    assert "http error" in page.inner_text("#log")
    shot(page, "webhook", tmp_path)
    check(page)
    page.get_by_role("button", name="Disable").click()
    page.wait_for_selector("text=disabled")
    page.goto("/ui/webhooks")
    shot(page, "webhooks", tmp_path)
    check(page)
    assert [headers["webhook-id"][:4] for _, headers, _ in receiver.got] == ["dlv_", "dlv_"]
    assert faults == []


def test_without_scripts(service: str, page: Page, receiver: Receiver) -> None:
    assert page.context.browser is not None
    context = page.context.browser.new_context(base_url=service, java_script_enabled=False)
    plain = context.new_page()
    plain.goto("/ui/webhooks")
    plain.fill("[name=url]", receiver.url)
    plain.get_by_role("button", name="Add").click()
    assert "whsec_" in plain.inner_text("main")
    plain.get_by_role("link", name="I have kept it").click()
    plain.get_by_role("button", name="Send a test").click()
    assert "webhook.test" in plain.inner_text("#log")
    plain.locator("summary", has_text="Delete").click()
    plain.get_by_role("button", name="Delete this webhook").click()
    assert plain.url.endswith("/ui/webhooks")
