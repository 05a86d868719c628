"""Curves drawn with braille dots: eight to a character, so that a few rows of a terminal are enough."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

Point = tuple[float, float]
EMPTY = 0x2800
#: The bit of a dot, by its row (0: top) and column in the character.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
ACROSS, DOWN = 2, 4
KEPT = 1200
LABEL_CELLS = 9


class Series:
    """Points of one curve; when there are too many, every second one of the older half goes."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.points: list[Point] = []

    def add(self, x: float, y: float) -> None:
        """The next point; one that goes back (a job that starts anew) ends what came before."""
        while self.points and self.points[-1][0] >= x:
            self.points.pop()
        self.points.append((x, y))
        if len(self.points) > KEPT:
            del self.points[1 : KEPT // 2 : 2]


def draw(points: Sequence[Point], width: int, height: int) -> list[str]:
    """The curve in `height` lines of `width` characters, over the whole range of both axes."""
    if not points:
        return [" " * width] * height
    columns, rows = width * ACROSS, height * DOWN
    cells = [[0] * width for _ in range(height)]
    first, last = points[0][0], points[-1][0]
    low, high = (edge(y for _, y in points) for edge in (min, max))

    def column(x: float) -> int:
        return 0 if last == first else round((x - first) / (last - first) * (columns - 1))

    def row(y: float) -> int:
        return rows // 2 if high == low else round((high - y) / (high - low) * (rows - 1))

    before: tuple[int, int] | None = None
    for x, y in points:
        here = column(x), row(y)
        for across, down in _line(before or here, here):
            cells[down // DOWN][across // ACROSS] |= DOTS[down % DOWN][across % ACROSS]
        before = here
    return ["".join(chr(EMPTY + bits) if bits else " " for bits in line) for line in cells]


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Dots from one to the other, one for each column or row, whichever are more."""
    (x0, y0), (x1, y1) = start, end
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    return [(x0 + round((x1 - x0) * i / steps), y0 + round((y1 - y0) * i / steps)) for i in range(steps + 1)]


class Charts:
    """Several curves side by side, as many as fit, with their ranges and newest values. For rich."""

    def __init__(self, series: Sequence[Series], *, height: int = 5, least_width: int = 30) -> None:
        self._series, self._height, self._least_width = series, height, least_width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of text with the curves in colour, where colours are wanted."""
        shown = [series for series in self._series if len(series.points) > 1]
        shown = shown[: max(1, options.max_width // self._least_width)]
        if not shown:
            return
        width = min(options.max_width // len(shown), 60)
        blocks = [_block(series, width - 1, self._height) for series in shown]
        for row, line in enumerate(zip(*blocks, strict=True)):
            for label, curve in line:
                style = Style(bold=True) if row == 0 else Style(dim=True)
                yield Segment(label, style)
                yield Segment(curve, Style(color="cyan"))
                yield Segment(" ")
            yield Segment.line()


def _block(series: Series, width: int, height: int) -> list[tuple[str, str]]:
    """Title, lines of label and curve, and the range of steps; all `width` wide."""
    inner = width - LABEL_CELLS
    values = [y for _, y in series.points]
    curve = draw(series.points, inner, height)
    labels = [""] * height
    labels[0], labels[-1] = _number(max(values)), _number(min(values))
    title = f"{series.title} {_number(values[-1]).strip()}"
    first, last = (f"{series.points[i][0]:g}" for i in (0, -1))
    steps = f"step {first}".ljust(inner - len(last)) + last if inner > len(last) + 12 else last.rjust(inner)
    lines = [(title[:width].ljust(width), "")]
    lines += [(f"{label:>{LABEL_CELLS - 1}} ", drawn) for label, drawn in zip(labels, curve, strict=True)]
    return [*lines, (" " * LABEL_CELLS + steps, "")]


def _number(value: float) -> str:
    return f"{value:.3g}"
