"""Time to open the page of a long job in a browser, and tasks that block it.

`python -m benchmarks.page_load` starts the server on a folder of its own, gives one job a hundred thousand
readings, opens its page in Chromium several times with an empty cache, moves over the curves, and
prints and records what the browser itself measured. Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.record import RESULTS, append
from testing.stack import Part, Stack, wait_until_ready

READINGS, OPENINGS, MOVES = 100_000, 5, 120
SERIES = (
    "discrepancy", "bn_statistics", "one_hot", "generator_loss", "student_discrepancy", "student_loss",
    "agreement", "class_entropy", "sample_distance", "step_seconds", "teacher_queries", "learning_rate",
    "memory_bytes",
)  # fmt: skip
WATCH = """
window.shifted = 0; window.slow = [];
const watch = (type, act) => new PerformanceObserver((list) => list.getEntries().forEach(act))
  .observe({ type, buffered: true });
watch('layout-shift', (entry) => { if (!entry.hadRecentInput) window.shifted += entry.value; });
watch('longtask', (entry) => window.slow.push(Math.round(entry.duration)));
const when = (name) => addEventListener('DOMContentLoaded', () => new MutationObserver((_, watcher) => {
  if (!document.querySelector(`[data-${name}]`)) return;
  watcher.disconnect();
  window[name] = performance.now();
}).observe(document.body, { subtree: true, attributes: true, attributeFilter: [`data-${name}`] }));
when('drawn'); when('complete');
"""


def long_job(url: str, home: Path) -> str:
    """A job that was cancelled after so many readings; its id."""
    spec = json.dumps({"student": {"architecture": "mlp8"}, "budget": {"steps": READINGS}})
    files: dict[str, Part] = {
        "teacher": ("teacher.pt", b"PK\x03\x04weights"),
        "spec": (None, spec, "application/json"),
    }
    job_id = str(httpx.post(f"{url}/jobs", files=files).raise_for_status().json()["id"])
    httpx.post(f"{url}/jobs/{job_id}/cancel").raise_for_status()
    rows = []
    for step in range(1, READINGS + 1):
        noise = (step * 7919 % 1000) / 1000
        series = {
            name: math.exp(-step / READINGS) + noise * (1 + place) / 20 for place, name in enumerate(SERIES)
        }
        rows.append((job_id, step, step / 20, json.dumps(series)))
    with sqlite3.connect(home / "dfad.sqlite3", timeout=30) as database:
        database.executemany(
            "INSERT INTO job_metrics(job_id, step, seconds, series) VALUES (?, ?, ?, ?)", rows
        )
    return job_id


def opened(browser: Any, url: str, job_id: str) -> dict[str, Any]:
    """One opening with an empty cache, and what moving about costs."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(f"/ui/jobs/{job_id}")
    page.wait_for_selector(".curves[data-complete] canvas")
    page.wait_for_timeout(500)
    found = page.evaluate("({ drawn, complete, loading: slow.splice(0) })")
    canvas = page.locator(".curves canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for move in range(MOVES):
        page.mouse.move(box["x"] + 70 + move, box["y"] + 60 + move % 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 60, steps=10)
    page.mouse.up()
    page.wait_for_timeout(300)
    page.get_by_role("button", name="Show all steps").click()
    page.wait_for_timeout(500)
    found |= page.evaluate("({ moving: window.slow, shifted: window.shifted })")
    found["nodes"] = page.evaluate("document.querySelectorAll('*').length")
    context.close()
    return dict(found)


def answered(url: str, address: str) -> tuple[float, int]:
    """Median seconds of five answers, and their bytes."""
    times, size = [], 0
    for _ in range(5):
        begun = time.perf_counter()
        size = len(httpx.get(f"{url}{address}", timeout=30).raise_for_status().content)
        times.append(time.perf_counter() - begun)
    return statistics.median(times), size


def measured() -> dict[str, Any]:
    """Everything, from an empty folder."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        stack = Stack(Path(folder), full=False)
        try:
            wait_until_ready(url := stack.url)
            job_id = long_job(url, Path(folder) / "home")
            series, series_bytes = answered(url, f"/jobs/{job_id}/metrics?points=1000&peaks=true")
            even, even_bytes = answered(url, f"/jobs/{job_id}/metrics?points=500")
            html, html_bytes = answered(url, f"/ui/jobs/{job_id}")
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            openings = [opened(browser, url, job_id) for _ in range(OPENINGS)]
            browser.close()
        finally:
            stack.close()
    return {
        "benchmark": "page_load",
        "readings": READINGS,
        "series": len(SERIES),
        "load": round(os.getloadavg()[0], 2),
        "drawn_milliseconds": [round(one["drawn"]) for one in openings],
        "complete_milliseconds": [round(one["complete"]) for one in openings],
        "html_milliseconds": round(1000 * html),
        "html_bytes": html_bytes,
        "series_with_peaks_milliseconds": round(1000 * series),
        "series_evenly_milliseconds": round(1000 * even),
        "series_with_peaks_bytes": series_bytes,
        "series_evenly_bytes": even_bytes,
        "layout_shift": max(round(one["shifted"], 4) for one in openings),
        "long_tasks_loading_milliseconds": [one["loading"] for one in openings],
        "long_tasks_moving_milliseconds": [one["moving"] for one in openings],
        "nodes": max(one["nodes"] for one in openings),
    }


def main() -> None:
    """Measure, print, and append a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "page_load.jsonl")
    arguments = parser.parse_args()
    figures = measured()
    print(json.dumps(figures, indent=2))
    append(arguments.output, figures, torch.device("cpu"))


if __name__ == "__main__":
    main()
