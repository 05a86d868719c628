"""A job on the page: from a file to a student, watched, steered, and what is shown of it.

Guards: the way that somebody takes who has nothing but the page; that it breaks no rule of WCAG 2.1 AA that
axe-core knows, in light and in dark; that it fits 360 pixels and moves nothing by itself; that pages can be
read without scripts; that a long job's page stays small.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.page.conftest import SMALL, TEACHER, Service, check, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

LONG, MOST_POINTS, MOST_NODES, MOST_BYTES = 100_000, 1000, 1500, 400_000


def test_from_a_file_to_a_student(page: Page, faults: list[str], tmp_path: Path) -> None:
    page.goto("/")
    check(page)
    page.get_by_role("link", name="New job").first.click()
    page.set_input_files("#file", TEACHER)
    page.wait_for_selector("form#job")
    assert hashlib.sha256(TEACHER.read_bytes()).hexdigest() in page.inner_text("#told")
    assert "cnn8" in page.inner_text("#inspection")
    offered = page.locator("[data-student]")
    assert offered.count() == 3
    assert "4.47× smaller cnn8, width 9" in page.inner_text("form#job")
    assert json.loads(offered.nth(1).get_attribute("data-student") or "") == {
        "architecture": "cnn8", "args": {"width": 9},
    }  # fmt: skip
    page.wait_for_function("() => document.getElementById('cost').textContent !== ''")
    page.get_by_label("The largest within limits").check()
    page.fill("[name=max_parameters]", "1")
    page.fill("[name=steps]", "0")
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("[data-for='/budget']:visible")
    page.wait_for_function("() => document.activeElement.name === 'steps'")
    assert "Steps:" in page.inner_text("[data-for='/budget']")
    shot(page, "new", tmp_path)
    check(page)
    faults[:] = [fault for fault in faults if "422" not in fault]  # what was asked for
    page.fill("[name=steps]", "40")
    page.fill("[name=max_parameters]", "6000")
    page.check("[name=exports][value=onnx]")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/jobs/job_*")
    # By itself, with what there is to download in its place.
    page.wait_for_selector(".state.succeeded")
    page.get_by_role("link", name="Download the student").wait_for()
    page.wait_for_selector(".curves[data-drawn] canvas")
    assert page.title().startswith("succeeded")
    page.locator("#log").get_by_text("job.succeeded").wait_for()
    assert page.evaluate("window.shifted") < 0.01
    page.reload()
    page.wait_for_selector(".curves[data-drawn] canvas")
    shot(page, "job", tmp_path)
    check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="student.onnx").click()
    content = Path(download.value.path()).read_bytes()
    assert hashlib.sha256(content).hexdigest() in page.inner_text(".downloads")
    page.get_by_role("button", name="Copy SHA-256").first.click()
    assert page.evaluate("navigator.clipboard.readText()") in page.inner_text(".downloads")
    page.goto("/")
    assert "succeeded" in page.inner_text("table")
    assert faults == []


def test_a_job_watched_and_steered(
    service: Service, teacher_id: str, page: Page, faults: list[str], tmp_path: Path
) -> None:
    job_id = service.job(teacher_id, 1_000_000, training=SMALL)
    page.goto(f"/ui/jobs/{job_id}")
    page.wait_for_selector(".state.running")
    page.wait_for_function("() => document.getElementById('bar').value > 0")
    page.wait_for_selector(".curves[data-drawn] canvas")
    assert "% · running" in page.title()
    before = page.inner_text("#step")
    page.wait_for_function("before => document.getElementById('step').innerText !== before", arg=before)
    shot(page, "running", tmp_path)
    check(page)
    page.context.set_offline(True)
    page.get_by_text("Connection lost").wait_for()
    page.context.set_offline(False)
    page.get_by_text("Connection lost").wait_for(state="hidden")
    faults[:] = [fault for fault in faults if "ERR_INTERNET_DISCONNECTED" not in fault]
    before = page.inner_text("#step")
    page.wait_for_function("before => document.getElementById('step').innerText !== before", arg=before)
    page.get_by_role("button", name="Pause").click()
    assert "asked to pause" in page.inner_text(".told")
    page.wait_for_selector(".state.paused")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector(".state.running")
    log = page.locator("#log")
    page.select_option("#log [name=kind]", "states")
    log.get_by_role("button", name="Show").click()
    page.wait_for_selector("#log-rows[data-kind=states]")
    assert log.get_by_text("job.paused").count() == 1
    service.post(f"/jobs/{job_id}/pause")  # by others: the log hears of it, under its filter
    log.get_by_text("job.paused").nth(1).wait_for()
    page.wait_for_selector(".state.paused")
    service.post(f"/jobs/{job_id}/resume")
    page.wait_for_selector(".state.running")
    assert page.locator("#log-rows").get_attribute("data-kind") == "states"
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".state.cancelled")
    page.get_by_role("link", name="Download the partial student").wait_for()
    page.reload()
    assert "peak" not in page.inner_text("#resources")
    assert "MiB" in page.inner_text("#resources")
    page.select_option("#log [name=kind]", "states")
    log.get_by_role("button", name="Show").click()
    log.get_by_text("job.paused").nth(1).wait_for()
    assert "phase" in page.inner_text("#log table")
    assert faults == []


def test_an_evaluation_is_counted_on_the_page(
    service: Service, teacher_id: str, page: Page, faults: list[str]
) -> None:
    job_id = service.job(teacher_id, 1_000_000, training=SMALL)
    service.wait(f"/jobs/{job_id}", lambda job: job["progress"]["step"] > 0)
    service.post(f"/jobs/{job_id}/pause")
    service.wait(f"/jobs/{job_id}", lambda job: job["status"] == "paused")
    page.goto(f"/ui/jobs/{job_id}")
    page.wait_for_selector(".state.paused")
    told = {"step": 1_000_000, "total_steps": 1_000_000, "percent": 99.0, "eta_seconds": 31.0, "metrics": {}}
    for done, left in ((512, 31.0), (1024, 25.0)):
        phase = {"done": done, "total": 4096, "unit": "images"}
        log(service, job_id, "progress", {**told, "eta_seconds": left, "phase": phase})
        page.get_by_text(f"{done:,} of 4,096 images").wait_for()
        assert page.inner_text("#eta") == f"{left:.0f} s left"
    assert page.locator("#bar").evaluate("bar => bar.value") == 99
    assert page.title().startswith("99 %")
    service.post(f"/jobs/{job_id}/cancel")
    page.wait_for_selector(".state.cancelled")
    page.get_by_role("link", name="Download the partial student").wait_for()
    assert faults == []


def test_samples_over_time_and_classes(
    service: Service, done: str, page: Page, faults: list[str], tmp_path: Path
) -> None:
    page.goto(f"/ui/jobs/{done}")
    slider = page.locator(".samples input[type=range]")
    last = page.locator(".samples img").get_attribute("src")
    assert page.locator(".histogram rect").count() == 10
    assert "Images a class" in (page.locator(".histogram").get_attribute("aria-label") or "")
    slider.focus()
    page.keyboard.press("Home")
    first = page.locator(".samples img").get_attribute("src")
    assert first != last
    assert page.inner_text(".samples output") == "step 1"
    page.keyboard.press("End")
    assert page.locator(".samples img").get_attribute("src") == last
    check(page)
    assert faults == []


def test_without_scripts_everything_can_be_read(
    service: Service, done: str, page: Page, tmp_path: Path
) -> None:
    assert page.context.browser is not None
    context = page.context.browser.new_context(base_url=service.url, java_script_enabled=False)
    plain = context.new_page()
    plain.goto("/")
    plain.locator(f"a[href='/ui/jobs/{done}']").click()
    assert plain.get_by_role("heading", name="States").is_visible()
    plain.get_by_text("The latest values as a table").click()
    assert "student_loss" in plain.inner_text("table.latest")
    plain.get_by_role("link", name="Delete").click()
    assert "for good" in plain.inner_text("main")
    plain.get_by_role("link", name="Keep").click()
    shot(plain, "plain", tmp_path)
    context.close()


def test_a_hundred_thousand_readings(
    service: Service, teacher_id: str, page: Page, faults: list[str]
) -> None:
    job_id = service.job(teacher_id)
    service.wait(f"/jobs/{job_id}", lambda job: job["terminal"])
    fill(service, job_id, LONG)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/metrics?*peaks=true", lambda route: None)  # for now
    page.goto(f"/ui/jobs/{job_id}")
    page.wait_for_selector(".curves[data-drawn]:not([data-complete]) canvas")
    assert LONG // 400 < int(page.get_attribute(".curves", "data-drawn") or 0) <= MOST_POINTS // 2
    page.unroute("**/metrics?*peaks=true")
    with (
        page.expect_response(lambda answer: "points=500" in answer.url) as few,
        page.expect_response(lambda answer: "peaks=true" in answer.url) as answer,
    ):
        page.reload()
    assert sum("/metrics?" in url for url in asked) == 4, "two for each opening"
    body = answer.value.body()
    data = json.loads(body)["data"]
    assert LONG // 200 < len(data) <= MOST_POINTS
    assert len(few.value.body()) + len(body) < MOST_BYTES
    assert max(point["student_loss"] for point in data) == 50.0
    page.wait_for_selector(".curves[data-complete] canvas")
    assert int(page.get_attribute(".curves", "data-drawn") or 0) == len(data)
    assert page.evaluate("document.querySelectorAll('*').length") < MOST_NODES
    page.get_by_role("button", name="Logarithmic scale: Losses").click()
    canvas = page.locator(".curves canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 60, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Show all steps").click()
    assert page.get_by_role("button", name="Show all steps").is_disabled()
    check(page)
    assert faults == []


def test_what_is_known_better_stays(service: Service, teacher_id: str, page: Page) -> None:
    job_id = service.job(teacher_id)
    service.wait(f"/jobs/{job_id}", lambda job: job["terminal"])
    fill(service, job_id, 2000)
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    page.route("**/metrics?points=500", hold)
    page.goto(f"/ui/jobs/{job_id}")
    page.wait_for_selector(".curves[data-complete] canvas")
    drawn = page.get_attribute(".curves", "data-drawn")
    with page.expect_response(lambda answer: "points=500" in answer.url) as glance:
        for route in late:
            route.continue_()
    glance.value.finished()
    page.wait_for_timeout(300)
    assert page.get_attribute(".curves", "data-drawn") == drawn, "fewer readings, and later"
    page.unroute("**/metrics?points=500")
    page.route("**/metrics?*peaks=true", hold)
    late.clear()
    page.reload()
    page.wait_for_selector(".curves[data-drawn]:not([data-complete]) canvas")
    with page.expect_response(lambda answer: "peaks=true" in answer.url):
        late[0].fulfill(status=503)
    page.wait_for_timeout(300)
    page.evaluate("document.querySelectorAll('.curves canvas').forEach((one) => one.dataset.before = '')")
    page.get_by_role("button", name="Logarithmic scale: Losses").click()
    page.locator(".curves canvas:not([data-before])").wait_for()  # there is still something to draw


def log(service: Service, job_id: str, kind: str, data: dict[str, object]) -> None:
    """One more event of a job that nobody works on."""
    with sqlite3.connect(service.home / "dfad.sqlite3", timeout=30) as database:
        database.execute("UPDATE jobs SET last_seq = last_seq + 1 WHERE id = ?", (job_id,))
        database.execute(
            "INSERT INTO job_events(job_id, seq, type, data, created_at) "
            "SELECT id, last_seq, ?, ?, created_at FROM jobs WHERE id = ?",
            (kind, json.dumps(data), job_id),
        )


def fill(service: Service, job_id: str, readings: int) -> None:
    """Give a job a long past, with one peak in it."""
    names = ("student_loss", "generator_loss", "agreement", "class_entropy", "step_seconds", "memory_bytes")
    rows = []
    for step in range(1, readings + 1):
        series = dict.fromkeys(names, 1 + step % 97 / 97)
        if step == readings // 3:
            series["student_loss"] = 50.0
        rows.append((job_id, step, step / 20, json.dumps(series)))
    with sqlite3.connect(service.home / "dfad.sqlite3", timeout=30) as database:
        database.execute("DELETE FROM job_metrics WHERE job_id = ?", (job_id,))
        database.executemany(
            "INSERT INTO job_metrics(job_id, step, seconds, series) VALUES (?, ?, ?, ?)", rows
        )
