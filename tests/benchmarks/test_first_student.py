"""The walk's verdict; the walk itself is done in a browser by the benchmark itself."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import first_student
from examples.digits.demo import TEACHER


@pytest.fixture
def a_perfect_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without service and browser: the student is the teacher's own file."""

    @contextlib.contextmanager
    def service(home: Path) -> Iterator[str]:
        home.mkdir()
        yield "http://127.0.0.1:1"

    def in_chromium(url: str, student: Path) -> dict[str, str]:
        shutil.copy(TEACHER, student)
        return {"steps": "500"}

    monkeypatch.setattr(first_student, "service", service)
    monkeypatch.setattr(first_student, "in_chromium", in_chromium)


@pytest.mark.parametrize(("limit", "code"), [("300", 0), ("0", 1)])
def test_it_tells_what_came_out(
    a_perfect_walk: None, capsys: pytest.CaptureFixture[str], limit: str, code: int
) -> None:
    assert first_student.main(["--no-record", "--limit", limit]) == code
    told = dict(pair.split("=") for pair in capsys.readouterr().out.split()[1:])
    assert int(told["student_bytes"]) == TEACHER.stat().st_size
    assert told["student_accuracy"] == told["teacher_accuracy"] == "0.9917"
