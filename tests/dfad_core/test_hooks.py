"""Between two batches: a sign of life, a stop that is obeyed, progress; around calls that cannot be split."""

from __future__ import annotations

import threading

import pytest

from dfad_core import hooks as hooks_module
from dfad_core.contract.errors import Stopped
from dfad_core.hooks import Hooks, Pace, PhaseProgress, signs_of_life


class Witness(Hooks):
    def __init__(self) -> None:
        self.asked = 0
        self.reason: str | None = None
        self.reports: list[PhaseProgress] = []

    def should_stop(self) -> str | None:
        self.asked += 1
        return self.reason

    def phase_progress(self, progress: PhaseProgress) -> None:
        self.reports.append(progress)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_call_is_a_sign_of_life_and_obeys_a_stop_only_where_it_should() -> None:
    hooks = Witness()
    pace, deaf = Pace(hooks, "evaluating"), Pace(hooks, "evaluating", obeys=False)
    pace()
    hooks.reason = "cancel"
    deaf(4)
    with pytest.raises(Stopped, match="cancel"):
        pace(4)
    assert hooks.asked == 3


def test_progress_is_told_at_intervals_with_the_time_that_is_left() -> None:
    hooks, clock = Witness(), Clock()
    pace = Pace(
        hooks, "evaluating", total=100, expected_seconds=50, later_seconds=7, bound_seconds=60, clock=clock
    )
    pace(0)
    clock.now += 5
    pace(0)
    clock.now += 5
    pace(20)
    clock.now += 0.5
    pace(20)
    clock.now += 40
    pace(0)
    told = [(one.done, one.total, one.unit, one.eta_seconds) for one in hooks.reports]
    assert told == [
        (0, 100, "images", 45 + 7),
        (20, 100, "images", 40 + 7),
        (40, 100, "images", pytest.approx(60 - 50.5 + 7)),  # its bound comes before 60 images more
    ]
    assert not pace.over()
    clock.now += 10
    assert pace.over()


def test_nothing_is_promised_once_the_expected_time_is_over() -> None:
    hooks, clock = Witness(), Clock()
    pace = Pace(hooks, "exporting", total=2, unit="formats", expected_seconds=10, clock=clock)
    clock.now += 11
    pace()
    assert [(one.done, one.unit, one.eta_seconds) for one in hooks.reports] == [(0, "formats", None)]


def test_a_call_that_cannot_be_split_is_accompanied_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "CALL_SIGN_SECONDS", 0.01)
    signs, enough = [], threading.Event()

    def between() -> None:
        signs.append(threading.current_thread())
        if len(signs) == 3:
            enough.set()

    with signs_of_life(between):
        assert enough.wait(30)
    assert threading.current_thread() not in signs
    assert not any(thread.is_alive() for thread in signs), "signs go on after the call"
    with signs_of_life(between, longest_seconds=0):
        before = len(signs)
        assert not threading.Event().wait(0.1)
        assert len(signs) == before, "a call that hangs would never be noticed"


def test_a_stop_ends_the_signs_and_not_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "CALL_SIGN_SECONDS", 0.01)
    hooks, asked = Witness(), threading.Event()
    hooks.reason = "cancel"

    def between() -> None:
        asked.set()
        Pace(hooks, "exporting")()

    with signs_of_life(between):
        assert asked.wait(30)
    assert hooks.asked == 1
