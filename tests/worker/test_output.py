"""Guards: what a runner writes becomes log lines of its attempt, whatever it writes; memory is told."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from app.telemetry.context import bound, ids
from worker import output


def lines_of(code: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged of a process that runs `code`."""
    with caplog.at_level(logging.INFO, "of.it"):
        made = output.Output("of.it")
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=made.descriptor, stderr=made.descriptor
        )
        made.handed_over()
        process.wait(timeout=30)
        made.close()
    return [record.message for record in caplog.records if record.name == "of.it"]


def test_each_line_is_one(caplog: pytest.LogCaptureFixture) -> None:
    found = lines_of(r"import sys; print('one\n\n  two'); sys.stdout.buffer.write(b'\xff half')", caplog)
    assert found == ["one", "  two", "\ufffd half"]


def test_neither_long_lines_nor_many_fill_the_disk(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MAX_LINES", 3)
    found = lines_of("print('x' * 100_000); [print(n) for n in range(1000)]", caplog)
    assert found == ["x" * output.MAX_LINE_BYTES, "0", "1", "more than 3 lines: no more"]


def test_lines_have_the_ids_of_who_started_it() -> None:
    seen: list[Any] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(dict(ids()))

    logger = logging.getLogger("of.ids")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler := Handler())
    with bound(job_id="job_1", attempt=2):
        made = output.Output("of.ids")
    os.write(made.descriptor, b"a line\n")
    made.close()
    logger.removeHandler(handler)
    assert seen == [{"job_id": "job_1", "attempt": 2}]


def test_a_process_without_a_gpu_tells_of_none() -> None:
    from worker.hooks import gpu_memory

    assert gpu_memory() is None
