"""Spans, for those who collect them. Nothing of OpenTelemetry is imported unless it is asked for.

A request, the submission of a job, its wait in the queue, each attempt and each of the attempt's phases is a
span; those of one job are in the trace of the request that submitted it. What carries the trace to the
worker is the job's first event (`traceparent`, as W3C Trace Context has it). Where spans go, how many are
kept and under which name is told by the usual OTEL_* variables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from app.platform.settings import Settings
from app.telemetry.context import ids

logger = logging.getLogger(__name__)

Kind = Literal["internal", "server", "producer", "consumer"]
_provider: Any = None
_NAMES = ("request_id", "tenant_id", "job_id", "attempt")


class Span:
    """One that is open; without OpenTelemetry, nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, **attributes: Any) -> None:
        """Add attributes, under our prefix."""
        if self._span is not None:
            self._span.set_attributes({f"dfad.{name}": value for name, value in attributes.items()})

    def failed(self, code: str) -> None:
        """What it is about did not succeed."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, code))

    def ends_request(self, name: str, request_id: str, about: Mapping[str, Any]) -> None:
        """Name and attributes of an HTTP request, by OpenTelemetry's conventions."""
        if self._span is None:
            return
        self._span.update_name(name)
        self._span.set_attributes(
            {
                "http.request.method": about["method"],
                "http.route": about["route"],
                "http.response.status_code": about["status"],
            }
        )
        self.set(request_id=request_id, **({"job_id": about["job_id"]} if "job_id" in about else {}))
        if about["status"] >= 500:
            self.failed(str(about["status"]))

    def end(self) -> None:
        """It is over; for those made by `begin`."""
        if self._span is not None:
            self._span.end()


_NOTHING = Span()


def start(settings: Settings, service: str) -> None:
    """Begin to send spans, if that is asked for. Once a process, never before a fork."""
    global _provider  # noqa: PLW0603  (one a process, as the libraries have it)
    asked = settings.otlp_endpoint is not None if settings.otel is None else settings.otel
    if not asked or _provider is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("spans are asked for, but OpenTelemetry is not installed: install dfad[otel]")
        return
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logger.info("sending spans")


def stop() -> None:
    """Send what is left."""
    global _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
        _provider = None


def running() -> bool:
    """Whether spans are sent."""
    return _provider is not None


def _parent(traceparent: str | None) -> Any:
    """The context of a W3C `traceparent`; None: whatever is open."""
    if traceparent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _attributes(more: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in ids().items() if name in _NAMES}
    return {f"dfad.{name}": value for name, value in {**known, **more}.items()}


@contextmanager
def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, **attributes: Any
) -> Iterator[Span]:
    """A span around the block; `parent` is a W3C `traceparent`, else the span that is open."""
    if _provider is None:
        yield _NOTHING
        return
    from opentelemetry.trace import SpanKind

    with _provider.get_tracer("dfad").start_as_current_span(
        name, context=_parent(parent), kind=SpanKind[kind.upper()], attributes=_attributes(attributes)
    ) as opened:
        yield Span(opened)


def begin(name: str, *, parent: str | None = None, since: datetime | None = None, **attributes: Any) -> Span:
    """A span that `end` ends, and that is not the parent of others."""
    if _provider is None:
        return _NOTHING
    start_ns = None if since is None else int(since.timestamp() * 1e9)
    opened = _provider.get_tracer("dfad").start_span(
        name, context=_parent(parent), start_time=start_ns, attributes=_attributes(attributes)
    )
    return Span(opened)


def traceparent() -> dict[str, str]:
    """`{"traceparent": …}` of the span that is open; empty without one."""
    carrier: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carrier)
    return {name: value for name, value in carrier.items() if name == "traceparent"}
