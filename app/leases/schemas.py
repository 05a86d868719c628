"""Bodies of workers' requests, and the answers to them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from app.http.fields import Strict
from app.leases.ends import How, Stop

Data = dict[str, JsonValue]
Receipt = Annotated[str, Field(max_length=4096)]
Device = Literal["auto", "cpu", "cuda"]


class ClaimRequest(Strict):
    """Which jobs a worker can run."""

    devices: Annotated[list[Device], Field(min_length=1, max_length=3)]
    gpu: bool = False
    """Whether it has one, which jobs that take any device run on."""


class RecordRequest(Strict):
    """Something to be told of a running job."""

    kind: Literal["progress", "phase", "phase_progress", "note", "warning", "inspection", "rejection"]
    data: Data


class PublishRequest(Strict):
    """Samples, a checkpoint, or the student before its evaluation."""

    receipt: Receipt
    student: Data | None = None
    """Of the student: whether it is `complete`, and the `result` until then."""


class EndRequest(Strict):
    """How an attempt ended; see `app.leases.ends.Ending`."""

    how: How
    stop: Stop | None = None
    reason: Annotated[str, Field(max_length=64)] = ""
    error: Data | None = None
    result: Data | None = None
    receipts: Annotated[list[Receipt], Field(max_length=64)]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.how == "trained" and self.result is None:
            raise ValueError("a trained student has a result")
        if self.how in ("failed", "gave_up") and self.error is None:
            raise ValueError("there is no error")
        return self


class InspectionRequest(Strict):
    """What a teacher is, or why it is refused."""

    inspection: Data | None = None
    error: Data | None = None


class MeasurementRequest(Strict):
    """The accuracy with the receipt of its report, or why there is none."""

    accuracy: Data | None = None
    receipt: Receipt | None = None
    error: Data | None = None


class PauseRequest(Strict):
    """When another worker may begin."""

    pause_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class ReportRequest(Strict):
    """What a worker says of itself; see `app.models.worker_beat.WorkerReport`."""

    report: Data


class ReceiptsRequest(Strict):
    """Files that nobody wants."""

    receipts: Annotated[list[Receipt], Field(max_length=64)]
