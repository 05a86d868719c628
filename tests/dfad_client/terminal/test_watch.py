"""What is shown while a job goes on: curves on a terminal, lines in a pipe, nothing when quiet."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from dfad_client import Event
from dfad_client.terminal.watch import Watch


def events(count: int = 12) -> list[Event]:
    found = [Event(1, "phase", {"phase": "distilling"})]
    for step in range(1, count + 1):
        metrics = {"student_loss": 2.0 / step, "agreement": step / count, "generator_loss": float("nan")}
        about = {"step": step, "total_steps": count, "percent": 100 * step / count, "eta_seconds": None}
        found.append(Event(1 + step, "progress", {**about, "metrics": metrics}))
    return [*found, Event(99, "warning", {"code": "collapse"}), Event(100, "job.succeeded", {})]


def shown(monkeypatch: pytest.MonkeyPatch, *, term: str, utf8: bool = True, **options: Any) -> str:
    monkeypatch.setenv("TERM", term)
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8" if utf8 else "ascii", errors="replace")
    console = Console(file=out, width=90, height=30, **options)
    with Watch(console=console) as watch:
        watch.waiting("No answer.", 3)
        for event in events():
            watch.show(event)
    out.flush()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw.getvalue().decode())


def test_curves_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, term="xterm", force_terminal=True)
    assert "student loss 0.167" in text
    assert "agreement 1" in text
    assert "generator loss" not in text, "what is no number is not drawn"
    assert re.search("[⠁-⣿]", text)
    assert "warning: collapse" in text
    assert "succeeded" in text


@pytest.mark.parametrize(
    ("term", "options"),
    [("xterm", {"force_terminal": False}), ("dumb", {"force_terminal": True})],
)
def test_lines_where_nothing_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, term: str, options: dict[str, Any]
) -> None:
    text = shown(monkeypatch, term=term, **options)
    assert not re.search("[⠁-⣿]", text)
    assert "No answer. Trying again in 3 s." in text
    assert "100 %  step 12/12" in text
    assert len(text.splitlines()) < 20


def test_a_terminal_that_knows_no_braille_gets_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, term="xterm", utf8=False, force_terminal=True)
    assert "student loss" not in text
    assert "100%" in text


def evaluating() -> list[Event]:
    """A training that is over, and an evaluation that goes on."""
    about = {"step": 9, "total_steps": 9, "percent": 99.0, "metrics": {}}
    found = [Event(1, "progress", {**about, "eta_seconds": 41.0}), Event(2, "phase", {"phase": "evaluating"})]
    for done, left in ((1024, 30.0), (3072, 10.0)):
        phase = {"done": done, "total": 4096, "unit": "images"}
        found.append(Event(3, "progress", {**about, "eta_seconds": left, "phase": phase}))
    return found


def test_an_evaluation_has_a_progress_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.events", evaluating)
    text = shown(monkeypatch, term="dumb")
    assert "99 %  step 9/9, 41 s left" in text
    assert "evaluating" in text
    assert "25 %  1,024 of 4,096 images, 30 s left" in text
    assert "75 %  3,072 of 4,096 images, 10 s left" in text
    assert "100 %" not in text


def test_the_bar_is_full_once_the_job_has_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.events", lambda: [*evaluating(), Event(9, "job.succeeded", {})])
    text = shown(monkeypatch, term="xterm", utf8=False, force_terminal=True)
    assert "100%" in text.splitlines()[-1] or "100%" in text


def test_what_others_say_steers_no_terminal() -> None:
    out = io.StringIO()
    with Watch(console=Console(file=out, width=90)) as watch:
        watch.show(Event(1, "warning", {"message": "\x1b]0;mine\x07 \x9b31m"}))
        watch.show(Event(2, "phase", {"phase": "\x1b[2J"}))
    assert not set(out.getvalue()) & {"\x1b", "\x07", "\x9b"}
    assert r"\x1b]0;mine\x07 \x9b31m" in out.getvalue()
