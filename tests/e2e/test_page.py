"""The page in a real browser, over a real server and a real worker.

Guards: the way from a file to a student that somebody takes who has nothing but the page; that it breaks no
rule of WCAG 2.1 AA that axe-core knows, in light and in dark; that it fits 360 pixels. Screenshots lie in the
test's folder, or in DFAD_SCREENSHOTS.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from benchmarks.services import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
TEACHER = ROOT / "examples" / "digits" / "teacher.safetensors"
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
MILLISECONDS = 60_000
SCREENSHOTS = os.environ.get("DFAD_SCREENSHOTS")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home, port = tmp_path_factory.mktemp("page"), free_port()
    environment = {n: v for n, v in os.environ.items() if not n.startswith("DFAD_")}
    environment |= {
        "PYTHONPATH": str(ROOT), "DFAD_HOME": str(home), "DFAD_PORT": str(port), "OMP_NUM_THREADS": "1",
        "DFAD_RUNNER_THREADS": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True, cwd=home)
    with (home / "log").open("wb") as log:
        processes = [
            subprocess.Popen([sys.executable, "-m", m], env=environment, stdout=log, stderr=log, cwd=home)
            for m in ("app", "worker")
        ]
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=60)


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained of."""
    return []


@pytest.fixture
def page(service: str, faults: list[str], missing: Callable[[str], None]) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("Chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root; what it opens here is ours.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(base_url=service, accept_downloads=True)
        found = context.new_page()
        found.set_default_timeout(MILLISECONDS)
        found.on("pageerror", lambda error: faults.append(str(error)))
        found.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        known = (service, "data:", "blob:")
        context.on("request", lambda one: None if one.url.startswith(known) else faults.append(one.url))
        yield found
        browser.close()


def shot(page: Page, name: str, folder: Path) -> None:
    page.screenshot(path=Path(SCREENSHOTS or folder) / f"{name}.png", full_page=True)


def check(page: Page) -> None:
    """Accessible in light and dark, and no wider than a small telephone."""
    from axe_playwright_python.sync_playwright import Axe

    before: Any = page.viewport_size
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        violations = Axe().run(page, options=WCAG).response["violations"]
        told = [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in violations]
        assert told == [], (page.url, scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, page.url
    page.set_viewport_size(before)


def begin(page: Page, steps: int) -> None:
    """From the first page to a job that runs."""
    page.goto("/")
    page.get_by_role("link", name="New job").first.click()
    page.set_input_files("#file", TEACHER)
    page.wait_for_selector("form#job")
    page.fill("[name=steps]", str(steps))
    page.check("[name=exports][value=onnx]")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.wait_for_selector(".state.running")


def test_from_a_file_to_a_student(page: Page, faults: list[str], tmp_path: Path) -> None:
    page.goto("/")
    check(page)
    page.goto("/ui/new")
    page.set_input_files("#file", TEACHER)
    page.wait_for_selector("form#job")
    assert hashlib.sha256(TEACHER.read_bytes()).hexdigest() in page.inner_text("#told")
    assert "cnn8" in page.inner_text("#inspection")
    page.fill("[name=max_parameters]", "1")
    page.locator("[name=seed]").focus()
    page.keyboard.press("Tab")
    page.wait_for_function("document.getElementById('cost').textContent !== ''")
    page.fill("[name=steps]", "0")
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("[data-for='/budget']:visible")
    shot(page, "new", tmp_path)
    check(page)
    faults[:] = [fault for fault in faults if "422" not in fault]  # what was asked for
    page.fill("[name=steps]", "40")
    page.fill("[name=max_parameters]", "6000")
    page.check("[name=exports][value=onnx]")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.wait_for_selector(".state.succeeded")
    page.wait_for_selector(".curves canvas")
    shot(page, "job", tmp_path)
    check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="student.onnx").click()
    content = Path(download.value.path()).read_bytes()
    assert hashlib.sha256(content).hexdigest() in page.inner_text(".downloads")
    page.goto("/")
    assert "succeeded" in page.inner_text("table")
    assert faults == []


def test_a_job_watched_paused_and_cancelled(page: Page, faults: list[str], tmp_path: Path) -> None:
    begin(page, 100_000)
    page.wait_for_function("document.querySelector('#live progress').value > 0")
    page.wait_for_selector(".curves canvas")
    before = page.inner_text("#live")
    page.wait_for_function("before => document.getElementById('live').innerText !== before", arg=before)
    shot(page, "running", tmp_path)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector(".state.paused")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector(".state.running")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".state.cancelled")
    page.get_by_role("link", name="student.safetensors").wait_for()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_selector(".state.running, .state.queued")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".state.cancelled")
    page.goto("/")
    for box in page.get_by_role("checkbox").all()[:2]:
        box.check()
    page.wait_for_timeout(3500)  # the list has renewed itself, the ticks are still there
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/ui/compare?**")
    page.wait_for_selector(".curves canvas")
    shot(page, "compare", tmp_path)
    check(page)
    assert faults == []


def test_without_scripts_everything_can_be_read(service: str, page: Page, tmp_path: Path) -> None:
    assert page.context.browser is not None
    context = page.context.browser.new_context(base_url=service, java_script_enabled=False)
    plain = context.new_page()
    plain.goto("/")
    plain.get_by_role("link", name="job_").first.click()
    assert plain.get_by_role("heading", name="States").is_visible()
    shot(plain, "plain", tmp_path)
