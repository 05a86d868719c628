"""Labelled images on the page of a job that has ended: chosen, measured, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from tests.e2e.page.conftest import Service, check

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_images_that_come_after_the_end(
    service: Service, teacher_id: str, page: Page, faults: list[str], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    np.savez(good, images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 10)
    bad.write_bytes(b"no images")
    job_id = service.job(teacher_id)
    service.wait(f"/jobs/{job_id}", lambda found: found["terminal"])
    page.goto(f"/ui/jobs/{job_id}")
    check(page)
    page.set_input_files("#measure [name=labelled]", bad)
    page.get_by_role("button", name="Measure accuracy").click()
    page.get_by_text("Accuracy on bad.npz was not measured.").wait_for()
    page.set_input_files("#measure [name=labelled]", good)
    page.get_by_role("button", name="Measure accuracy").click()
    page.get_by_text("right on 20 labelled images").wait_for()
    check(page)
    job = httpx.get(f"{service.url}/jobs/{job_id}").json()
    assert (job["measurement"]["status"], job["measurement"]["filename"]) == ("succeeded", "good.npz")
    assert faults == []
