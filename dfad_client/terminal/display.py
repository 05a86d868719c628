"""What people see: a live bar on standard error while a job runs, and plain text about jobs."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from dfad_client.answers import Event, Job, Json

PHASES = {
    "loading": "loading the teacher",
    "warming_up": "warming up",
    "distilling": "distilling",
    "evaluating": "evaluating",
    "exporting": "exporting",
}


class Watch:
    """Shows a job's events: a bar on a terminal, a line now and then elsewhere.

    `quiet` shows nothing. Use it in a `with` block.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("waiting for a worker", total=100, detail="")
        self._said_percent = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Take in one event."""
        data = event.data
        if event.type == "progress":
            self._progress(data)
        elif event.type == "phase":
            self._stage(PHASES.get(str(data.get("phase")), str(data.get("phase"))))
        elif event.type == "job.queued":
            self._stage("waiting for a worker")
        elif event.type == "job.requeued":
            self._say(f"back in the queue: {data.get('reason', 'interrupted')}")
            self._stage("waiting for a worker")
        elif event.type == "job.running" and data.get("attempt", 1) > 1:
            self._say(f"attempt {data['attempt']}")
        elif event.type == "job.cancelling":
            self._stage("stopping")
        elif event.type == "warning":
            note = "note" if data.get("level") == "info" else "warning"
            self._say(f"{note}: {data.get('message') or data.get('code')}")

    def _progress(self, data: dict[str, Any]) -> None:
        percent = float(data.get("percent") or 0.0)
        eta = data.get("eta_seconds")
        detail = f"step {data.get('step')}/{data.get('total_steps')}"
        if eta is not None:
            detail += f", {duration(eta)} left"
        self._bar.update(self._task, completed=percent, detail=detail)
        if not self._live and (percent >= self._said_percent + 10 or percent < self._said_percent):
            self._said_percent = percent - percent % 10
            self._say(f"{percent:3.0f} %  {detail}")

    def _stage(self, text: str) -> None:
        self._bar.update(self._task, description=text, detail="")
        if not self._live:
            self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)


def duration(seconds: float) -> str:
    """As people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def verdict(job: Job) -> str:
    """One line on how a job stands."""
    text = f"{job.id}: {job.status}"
    if job.error:
        text += f" ({job.error.code}: {job.error.message})"
    elif not job.terminal and job.phase:
        text += f", {PHASES.get(job.phase, job.phase)}, {job.progress.percent:.0f} %"
    return text


def summary(job: Job) -> list[str]:
    """A job in a few lines."""
    student = job.resolved_spec.get("student") or job.spec.get("student") or {}
    method = job.resolved_spec.get("method") or {}
    lines = [verdict(job), f"  method      {method.get('name', 'auto')}, {job.progress.total_steps} steps"]
    if job.attempt > 1:
        lines.append(f"  attempts    {job.attempt}")
    result = job.result
    if not result:
        return [*lines, f"  student     {_student_name(student) or '?'}"]
    for role in ("teacher", "student"):
        part = result.get(role) or {}
        lines.append(f"  {role:11} {part.get('architecture', '?')}, {part.get('parameters', 0):,} parameters")
    if result.get("compression"):
        lines.append(f"  compression {result['compression']:.1f} times fewer parameters")
    fidelity = result.get("fidelity") or {}
    # Those alone that were seen to follow accuracy, where the service says which.
    shown = result.get("fidelity_proof") or fidelity
    agreements = [
        f"{fidelity[key]:.1%} of {key.removeprefix('agreement_').replace('_', ' ')}"
        for key in fidelity
        if key in shown and key.startswith("agreement_")
    ]
    if agreements:
        lines.append(f"  fidelity    agrees with the teacher on {', '.join(agreements)} inputs")
    measured = result.get("accuracy")
    if measured:
        on = measured.get("data", "labelled data")
        scores = f"teacher {measured['teacher']:.2%}, student {measured['student']:.2%}"
        lines.append(f"  accuracy    {scores} on {on}")
    else:
        lines.append("  accuracy    not measured: that needs labelled data")
    for name, about in (result.get("exports") or {}).items():
        told = about.get("error") or f"{about['bytes']:,} bytes, checked against the trained student"
        lines.append(f"  {name:11} {told}")
    return lines


def _student_name(student: Json) -> str:
    """As it was asked for."""
    ways = {"layers": "layers", "transformers": "transformers", "target": "from a target"}
    asked = next((told for way, told in ways.items() if student.get(way)), "")
    return str(student.get("architecture") or asked)


def table(jobs: list[Job]) -> list[str]:
    """Jobs in columns, never cut: ids are there to be copied."""
    rows = [("JOB", "STATUS", "PROGRESS", "STUDENT", "CREATED")]
    for job in jobs:
        student = job.resolved_spec.get("student") or job.spec.get("student") or {}
        created = (job.created_at or "")[:19].replace("T", " ")
        percent = f"{job.progress.percent:.0f} %"
        rows.append((job.id, job.status, percent, _student_name(student), created))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
