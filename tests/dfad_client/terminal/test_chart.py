"""Curves in braille: hand-computed dots, and nothing that a width or an odd series could break."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dfad_client.terminal.chart import KEPT, Charts, Series, draw


def test_a_rising_line_goes_from_corner_to_corner() -> None:
    # Four dots across two characters, four down one: (0,3) (1,2) (2,1) (3,0).
    assert draw([(0, 0.0), (3, 3.0)], 2, 1) == ["⡠⠊"]


def test_a_level_line_lies_in_the_middle() -> None:
    assert draw([(1, 5.0), (9, 5.0)], 3, 1) == ["⠤⠤⠤"]


def test_highest_above_lowest_below() -> None:
    top, bottom = draw([(0, 1.0), (1, 0.0)], 1, 2)
    assert top.strip()
    assert bottom.strip()
    assert draw([], 3, 2) == ["   ", "   "]


def test_one_point_is_a_dot() -> None:
    assert draw([(7, 7.0)], 2, 1) == ["⠄ "]


def test_a_series_that_starts_anew_forgets_what_came_after() -> None:
    series = Series("loss")
    for step in (1, 2, 3, 2):
        series.add(step, step)
    assert [x for x, _ in series.points] == [1, 2]


def test_long_series_are_thinned_where_they_are_old() -> None:
    series = Series("loss")
    for step in range(10 * KEPT):
        series.add(step, 0.5)
    assert len(series.points) <= KEPT
    assert series.points[0][0] == 0
    assert series.points[-1][0] == 10 * KEPT - 1


def drawn(width: int, series: list[Series], **options: object) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, **options)  # type: ignore[arg-type]
    console.print(Charts(series))
    return out.getvalue().splitlines()


@pytest.fixture
def series() -> list[Series]:
    made = [Series("student loss"), Series("agreement")]
    for one in made:
        for step in range(1, 20):
            one.add(step, 1 / step)
    return made


@pytest.mark.parametrize("width", [20, 45, 80, 300])
def test_no_line_is_wider_than_the_terminal(series: list[Series], width: int) -> None:
    lines = drawn(width, series, no_color=True, legacy_windows=False, color_system=None)
    assert max(map(len, lines)) <= width
    assert "student loss" in lines[0]
    assert ("agreement" in lines[0]) == (width >= 60)
    assert "19" in lines[-1]


def test_without_colour_there_is_none(series: list[Series], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert any("36m" in line for line in drawn(80, series, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("36m" in line for line in drawn(80, series, color_system="standard"))


def test_nothing_to_draw_is_nothing() -> None:
    assert "".join(drawn(80, [Series("loss")])).strip() == ""
