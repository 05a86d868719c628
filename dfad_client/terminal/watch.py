"""A job or a run while it goes on: bar and curves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from dfad_client.answers import Event
from dfad_client.terminal.chart import Charts, Series
from dfad_client.terminal.display import PHASES, counted, duration
from dfad_client.terminal.plain import plain

CURVES = {"student_loss": "student loss", "agreement": "agreement", "generator_loss": "generator loss"}
"""Which metrics are drawn, the most telling first."""
LEAST_ROWS = 12
"""Of a terminal in which there is room for curves."""


class Watch:
    """Shows events on standard error, in a `with` block. `quiet` shows nothing."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        console: Console | None = None,
        waiting_for: str = "waiting for a worker",
    ) -> None:
        self._console = console or Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(waiting_for, total=100, detail="")
        self._series = {name: Series(title) for name, title in CURVES.items()}
        self._notice = ""
        self._wait_shown = False
        live = self._console.is_terminal and not self._console.is_dumb_terminal and not quiet
        self._live = (
            Live(console=self._console, get_renderable=self._drawn, refresh_per_second=4) if live else None
        )
        self._said_percent = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def _drawn(self) -> Group:
        parts: list[Any] = [self._bar]
        utf8 = self._console.encoding.startswith("utf")
        if utf8 and self._console.height >= LEAST_ROWS:
            parts.append(Charts(list(self._series.values())))
        if self._notice:
            parts.append(Text(self._notice))
        return Group(*parts)

    def show(self, event: Event) -> None:
        """Take in one event."""
        self._notice = ""
        data = event.data
        if event.type == "progress":
            self._progress(data)
        elif event.type == "phase":
            self._stage(PHASES.get(str(data.get("phase")), str(data.get("phase"))))
        elif event.type == "job.queued" and not self._wait_shown:
            self._stage("waiting for a worker")
        elif event.type == "job.requeued":
            self._say(f"back in the queue: {data.get('reason', 'interrupted')}")
            self._stage("waiting for a worker")
        elif event.type == "job.running" and data.get("attempt", 1) > 1:
            self._say(f"attempt {data['attempt']}")
        elif event.type == "job.cancelling":
            self._stage("stopping")
        elif event.terminal:
            whole = 100 if event.type == "job.succeeded" else None
            self._bar.update(self._task, description=plain(event.type.removeprefix("job.")), completed=whole)
        elif event.type in ("warning", "note"):
            text = data.get("message") or ("" if event.type == "note" else data.get("code"))
            if text:
                self._say(f"{event.type}: {text}")

    def waits_for(self, text: str) -> None:
        """What the job waits for before it begins."""
        self._wait_shown = True
        self._stage(text)

    def waiting(self, why: str, seconds: float) -> None:
        """The connection is gone for now; see `Client(on_wait=…)`."""
        text = f"{why} Trying again in {seconds:.0f} s."
        if self._live:
            self._notice = plain(text)
        else:
            self._say(text)

    def stopping(self) -> None:
        """Somebody has asked for the end."""
        self._stage("stopping; the student is kept (Ctrl-C again: at once)")

    def _progress(self, data: dict[str, Any]) -> None:
        percent = float(data.get("percent") or 0.0)
        eta, phase = data.get("eta_seconds"), data.get("phase")
        of = f"/{data['total_steps']}" if data.get("total_steps") else ""
        detail = f"step {data.get('step')}{of}"
        if phase:  # the bar is then of what follows training
            percent, detail = 100 * phase["done"] / max(1, phase["total"]), counted(phase)
        if eta is not None:
            detail += f", {duration(eta)} left"
        self._bar.update(self._task, completed=percent, detail=detail)
        for name, series in self._series.items():
            value = (data.get("metrics") or {}).get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                series.add(float(data.get("step") or 0), float(value))
        if not self._live and (percent >= self._said_percent + 10 or percent < self._said_percent):
            self._said_percent = percent - percent % 10
            self._say(f"{percent:3.0f} %  {detail}")

    def _stage(self, text: str) -> None:
        self._bar.update(self._task, description=plain(text), detail="")
        if not self._live:
            self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(plain(text), markup=False)
