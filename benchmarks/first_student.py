"""Time from `dfad up` to a downloaded student, on the page alone.

    python -m benchmarks.first_student

The steps of the README's chapter on the page: start the service, open the page in Chromium, *New job*, choose
the digits teacher, accept the page's defaults, *Start*, wait, download. The clock runs from the start of
`dfad up` to the last byte of the student. Afterwards both networks are scored on digits that no training has
seen. Appends one line to benchmarks/results/first_student.jsonl; exits with 1 after more than `--limit`
seconds, or for a student with less than 97 % of its teacher's accuracy.

Needs Chromium on the machine, and playwright.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.machine_load import MachineLoad, warning
from benchmarks.record import RESULTS, append
from examples.digits.demo import SMALLEST_SHARE, TEACHER, service

if TYPE_CHECKING:
    from playwright.sync_api import Page

FILE = RESULTS / "first_student.jsonl"
LIMIT_SECONDS = 300.0
PATIENCE_MILLISECONDS = 900_000


def walk(page: Page, student: Path) -> dict[str, str]:
    """From the first page to the student's file; returns the form's defaults."""
    page.goto("/")
    page.get_by_role("link", name="New job").first.click()
    page.set_input_files("#file", TEACHER)
    page.wait_for_selector("form#job")
    offered = {name: page.input_value(f"[name={name}]") for name in ("max_parameters", "steps", "seed")}
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.wait_for_selector(".state.succeeded, .state.failed, .state.cancelled")
    with page.expect_download() as download:
        page.get_by_role("link", name="student.safetensors").click()
    download.value.save_as(student)
    return offered


def in_chromium(url: str, student: Path) -> dict[str, str]:
    """`walk` in a browser of its own."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start as root; the only page that it opens is ours.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_context(base_url=url, accept_downloads=True).new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        offered = walk(page, student)
        browser.close()
    return offered


def score(student: Path) -> dict[str, float]:
    """Accuracies on held-out digits, and numbers of parameters."""
    from dfad_core import load_student
    from dfad_core.evaluation.accuracy import accuracy
    from examples.digits.data import digits

    _, (x, y) = digits()
    figures = {}
    for name, path in (("teacher", TEACHER), ("student", student)):
        network = load_student(path)
        figures[f"{name}_accuracy"] = round(accuracy(network, x, y), 4)
        figures[f"{name}_parameters"] = sum(weights.numel() for weights in network.parameters())
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Walk, score, print, append."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_student", description=__doc__)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds that it may take")
    parser.add_argument("--no-record", action="store_true", help="print without a result line")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="dfad-first-"))
    try:
        student = folder / "student.safetensors"
        load = MachineLoad(children=True)
        started = time.monotonic()
        with service(folder / "data") as url:
            offered = in_chromium(url, student)
            seconds = time.monotonic() - started
            others = load.figures()
        if (sentence := warning(others)) is not None:
            print(sentence, file=sys.stderr)
        figures = {"seconds": round(seconds, 1), "student_bytes": student.stat().st_size, **score(student)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.no_record:
        append(
            FILE,
            {
                "benchmark": "first_student",
                **figures,
                "offered": offered,
                **others,
            },
            torch.device("cpu"),
        )
    print("FIRST_STUDENT " + " ".join(f"{name}={value}" for name, value in figures.items()))
    good = figures["student_accuracy"] >= SMALLEST_SHARE * figures["teacher_accuracy"]
    return 0 if good and seconds <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
