"""The list, the form and the keyboard, in a browser.

Guards: what is done to one job and to several, and that it is told; that deleting asks; filters; curves of
several jobs over each other; a whole job by keyboard alone; what more settings become; an upload that broke
off and goes on after the page was loaded again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.page.conftest import TEACHER, Service, check, shot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

MOST_KEYS = 60


def test_several_jobs_at_once(
    service: Service, teacher_id: str, done: str, page: Page, faults: list[str], tmp_path: Path
) -> None:
    ids = [service.job(teacher_id, 1_000_000, metadata={"run": str(n)}, seed=n) for n in (1, 2)]
    page.goto("/")
    for one in ids:
        page.locator(f"#c-{one}").check()
    page.wait_for_timeout(3500)  # the list has renewed itself, the ticks are still there
    assert page.locator("input:checked").count() == 2
    shot(page, "list", tmp_path)
    check(page)
    page.get_by_role("button", name="Cancel", exact=True).click()
    assert "2 jobs were asked to end." in page.inner_text(".told")
    for one in ids:
        service.wait(f"/jobs/{one}", lambda job: job["terminal"])
    page.goto("/")
    page.locator(f"#c-{ids[0]}").check()
    page.locator(f"#c-{done}").check()
    page.get_by_role("button", name="Pause", exact=True).click()
    assert "Nothing was changed." in page.inner_text(".told")
    assert "cannot be paused" in page.inner_text(".told")
    page.locator(f"#c-{ids[0]}").check()
    page.locator(f"#c-{done}").check()
    page.locator(f"#c-{done}").press("Enter")  # compares, and does nothing worse
    page.wait_for_url("**/ui/compare?**")
    assert "seed" in page.inner_text("table")
    page.wait_for_selector(".curves[data-drawn] canvas")
    shot(page, "compare", tmp_path)
    check(page)
    page.goto("/")
    for one in ids:
        page.locator(f"#c-{one}").check()
    page.get_by_role("button", name="Delete …").click()
    assert "Delete these 2 jobs?" in page.inner_text("h1")
    check(page)
    page.get_by_role("button", name="Delete for good").click()
    assert "2 jobs were deleted." in page.inner_text(".told")
    assert all(httpx.get(f"{service.url}/jobs/{one}").status_code == 404 for one in ids)
    assert faults == []


def test_one_job_from_the_list(service: Service, done: str, page: Page, faults: list[str]) -> None:
    page.goto("/")
    page.get_by_label("Metadata").fill("team=vision")
    page.get_by_role("button", name="Filter").click()
    page.locator(f"#rerun-{done}").click()
    assert "One job was started once more." in page.inner_text(".told")
    page.get_by_role("link", name="team=vision").first.click()
    rows = page.locator("tbody tr")
    assert rows.count() == rows.filter(has_text="team=vision").count() >= 2
    page.get_by_label("Metadata").fill("vision")
    page.get_by_role("button", name="Filter").click()
    assert page.inner_text("#label-problem") == "Write it as name=value."
    page.get_by_label("Metadata").fill("team=sound")
    page.get_by_role("button", name="Filter").click()
    page.get_by_text("No job yet that fits.").wait_for()
    page.goto("/ui/jobs/nonsense")
    assert "To the jobs" in page.inner_text("main")
    check(page)
    faults[:] = [fault for fault in faults if "422" not in fault]
    assert faults == []


def test_a_job_by_keyboard_alone(service: Service, page: Page, faults: list[str]) -> None:
    # The browser is told to hand the dialog over when the first listener comes, and nobody waits until it is.
    page.on("filechooser", lambda _: None)
    page.goto("/ui/new")

    def to(selector: str) -> None:
        for _ in range(MOST_KEYS):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"{selector} is out of the keyboard's reach")

    to("#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(TEACHER)
    page.wait_for_selector("form#job")
    page.wait_for_function("() => document.getElementById('cost').textContent !== ''")
    to("[name=student]")
    page.keyboard.press("ArrowDown")
    to("[name=method]")
    to("[name=steps]")
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    to(".advanced summary")
    page.keyboard.press("Enter")
    to("[name=seed]")
    page.keyboard.press("Control+a")
    page.keyboard.type("7")
    to("[name=metadata]")
    page.keyboard.type("by=keys")
    to("button:not([type=button])")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/jobs/job_*")
    spec = httpx.get(f"{service.url}/jobs/{page.url.rpartition('/')[2]}").json()["spec"]
    assert spec["student"] == {"architecture": "cnn8", "args": {"width": 5}}
    assert (spec["seed"], spec["budget"], spec["metadata"]) == (7, {"steps": 3}, {"by": "keys"})
    assert faults == []


def test_more_settings(
    service: Service, teacher_id: str, page: Page, faults: list[str], tmp_path: Path
) -> None:
    import numpy as np

    data = tmp_path / "labelled.npz"
    np.savez(data, images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 10)
    page.goto(f"/ui/new?teacher={teacher_id}")
    page.get_by_text("More settings").click()
    page.get_by_label("By name").check()
    page.select_option("[name=architecture]", "cnn8")
    page.fill("[name=args]", "width=x")
    page.fill("[name=metadata]", "team=vision\nnote=a = b")
    page.fill("[name=minutes]", "0.05")
    page.fill("[name=deadline]", "10")
    page.set_input_files("[name=labelled]", data)
    page.get_by_text("Uploaded labelled.npz.").wait_for()
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("[data-for='/student']:visible")
    page.fill("[name=args]", "width=4")
    page.locator("[name=steps]").focus()
    page.get_by_text("The spec as JSON").click()
    page.wait_for_function("() => document.getElementById('spec').textContent.includes('\"width\": 4')")
    spec = json.loads(page.inner_text("#spec"))
    assert spec["student"] == {"architecture": "cnn8", "args": {"width": 4}}
    assert spec["budget"] == {"steps": 2000, "train_seconds": 3, "max_runtime_seconds": 600}
    assert spec["metadata"] == {"team": "vision", "note": "a = b"}
    check(page)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.wait_for_selector(".state.succeeded")
    page.reload()
    assert "right on 20 labelled images" in page.inner_text(".headline")
    assert [fault for fault in faults if "422" not in fault] == []


def test_an_upload_goes_on_after_a_reload(
    service: Service, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    large = tmp_path_factory.mktemp("large") / "large.safetensors"
    large.write_bytes(b"\0" * (3 * 2**20))
    arrived: list[str] = []
    network = "up"
    context = browser.new_context(base_url=service.url)
    page = context.new_page()

    def part(route: Route) -> None:
        nonlocal network
        if arrived == ["1", "2"] and network == "up":
            network = "down"
        if network == "down":  # for the page's own further attempts too
            route.abort()
        else:
            arrived.append(route.request.url.rpartition("/")[2])
            route.continue_()

    page.route("**/uploads/*/parts/*", part)
    page.goto("/ui/new")
    page.set_input_files("#file", large)
    page.get_by_text("Connection lost").wait_for()
    assert arrived == ["1", "2"]
    page.reload()
    network = "mended"
    page.get_by_text("The upload of large.safetensors broke off.").wait_for()
    page.set_input_files("#file", large)
    page.locator("#fault", has_text="The file is not a safetensors file").wait_for()  # and it has arrived
    assert arrived == ["1", "2", "3"]
    context.close()
