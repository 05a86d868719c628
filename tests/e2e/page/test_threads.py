"""A job whose number of threads is left open, beside a program that keeps the processors busy: what was taken
stands in its events, on its page, in its result and in its manifest.

Which number that is depends on the machine; that it is told everywhere alike does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from benchmarks.busy_machine import BUSY
from testing.running_service import end
from tests.e2e.page.conftest import SMALL, Service, check, shot, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def two_threads(tmp_path: Path) -> Iterator[Service]:
    found = started(tmp_path, "app", "worker", DFAD_RUNNER_THREADS="2", OMP_NUM_THREADS="2")
    yield found
    end(found.processes)


@pytest.fixture
def busy() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    yield
    process.kill()
    process.wait()


@pytest.mark.timeout(600)
def test_the_number_of_threads_is_chosen_and_told(
    two_threads: Service, busy: None, browser: Browser, tmp_path: Path
) -> None:
    service = two_threads
    job_id = service.job(service.teacher(), 3, training=SMALL)
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    page.set_default_timeout(300_000)
    page.add_init_script("window.shifted = 0")
    page.goto(f"/ui/jobs/{job_id}")
    page.wait_for_selector(".state.succeeded")
    note = page.locator("#log").get_by_text(re.compile(r"Training uses [12] of 2 threads"))
    number = int(note.inner_text().split("Training uses ")[1][0])
    assert re.search(rf"CPU threads\s+{number}\b", page.inner_text("#resources"))
    shot(page, "threads", tmp_path)
    check(page)
    context.close()
    job = httpx.get(f"{service.url}/jobs/{job_id}").json()
    assert job["result"]["training"]["threads"] == number
    artifacts = httpx.get(f"{service.url}/jobs/{job_id}/artifacts").json()["data"]
    (manifest_id,) = [one["id"] for one in artifacts if one["kind"] == "manifest"]
    manifest = httpx.get(f"{service.url}/artifacts/{manifest_id}").json()
    assert (manifest["spec"]["training"]["threads"], manifest["repeatable"]) == (number, True)
