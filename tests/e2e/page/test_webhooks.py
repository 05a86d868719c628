"""The pages of webhooks in a real browser, with a real worker and a receiver that answers.

Guards: added, tested and looked at by hand, with scripts and without; no rule of WCAG 2.1 AA broken in light
and in dark, and nothing wider than 360 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app.webhooks.conftest import Receiver
from tests.e2e.page.conftest import Service, check, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


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
    tests = [headers for _, headers, body in receiver.got if json.loads(body)["type"] == "webhook.test"]
    assert [headers["webhook-id"][:4] for headers in tests] == ["dlv_", "dlv_"]
    assert faults == []


def test_without_scripts(service: Service, page: Page, receiver: Receiver) -> None:
    assert page.context.browser is not None
    context = page.context.browser.new_context(base_url=service.url, java_script_enabled=False)
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
