"""While nothing happens yet, the page says what it waits for; what can never happen is refused at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from testing.running_service import ROOT, clean_environment, end
from tests.e2e.page.conftest import TEACHER, Service, check, shot, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NONE_ALIVE = "Waiting for a worker: none is alive."


def test_a_file_that_is_no_teacher_is_refused_at_the_file(
    page: Page, faults: list[str], tmp_path: Path
) -> None:
    page.goto("/ui/new")
    page.set_input_files("#file", ROOT / "README.md")
    page.locator("#fault", has_text="The file is text, not a safetensors file").wait_for()
    assert page.get_attribute("#file", "aria-invalid") == "true"
    assert page.locator("#inspection").count() == 0
    shot(page, "refused", tmp_path)
    check(page)
    page.set_input_files("#file", TEACHER)
    page.wait_for_selector("form#job")
    assert page.locator("#fault").is_hidden()
    assert [fault for fault in faults if "422" not in fault] == []


def test_beside_a_job_a_teacher_is_inspected(service: Service, teacher_id: str, page: Page) -> None:
    job_id = service.job(teacher_id, steps=1_000_000)
    service.wait(f"/jobs/{job_id}", lambda job: job["progress"]["step"] > 0)
    page.goto("/ui/new")
    page.set_input_files("#file", TEACHER)
    page.wait_for_selector("form#job")
    assert service.wait(f"/jobs/{job_id}", bool)["status"] == "running"
    service.post(f"/jobs/{job_id}/cancel")


def test_without_a_worker(browser: Browser, tmp_path: Path) -> None:
    alone = started(tmp_path, "app")
    worker = None
    context = browser.new_context(base_url=alone.url)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.add_init_script("window.shifted = 0;")
    try:
        page.goto("/ui/new")
        page.set_input_files("#file", TEACHER)
        page.locator("#inspection", has_text=NONE_ALIVE).wait_for()
        shot(page, "waiting", tmp_path)
        check(page)
        found = page.url.rpartition("=")[2]
        page.goto(f"/ui/jobs/{alone.job(found)}")
        page.locator("#state", has_text=NONE_ALIVE).wait_for()
        check(page)
        page.goto(f"/ui/new?teacher={found}")
        environment = clean_environment(DFAD_HOME=str(tmp_path))
        with (tmp_path / "worker.log").open("wb") as log:
            command = [sys.executable, "-m", "worker"]
            worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        page.wait_for_selector("form#job")
    finally:
        context.close()
        end([*alone.processes, *([worker] if worker else [])])
