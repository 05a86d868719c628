"""An attempt as spans, in the trace of the request that submitted its job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from app.jobs.lifecycle import Claim
from app.telemetry import tracing
from app.telemetry.tracing import Span
from worker.service import Service


@contextmanager
def attempt_span(claim: Claim, woken: datetime, service: Service) -> Iterator[Span]:
    """Around an attempt; before it, what came before: the wait in the queue, and the claim since `woken`."""
    if not tracing.running():
        yield Span()
        return
    trace = service.job_trace(claim)
    parent = trace.traceparent
    if trace.queued_at is not None:
        tracing.begin("job wait", parent=parent, since=trace.queued_at).end()
    tracing.begin("job claim", parent=parent, since=woken).end()
    with tracing.span("job attempt", kind="consumer", parent=parent) as span:
        yield span


class PhaseSpans:
    """One span after another, each until the next phase."""

    def __init__(self) -> None:
        self._open: Span | None = None

    def next(self, phase: str) -> None:
        """The attempt is in `phase` now."""
        self.close()
        self._open = tracing.begin(f"phase {phase}")

    def close(self) -> None:
        """The last one is over."""
        if self._open is not None:
            self._open.end()
            self._open = None
