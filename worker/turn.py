"""One turn of a worker: wait for its GPU, claim the job whose turn it is, run one attempt of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from app.telemetry.context import bound
from dfad_core.contract.machine import has_gpu
from worker.attempt_runner import Attempt
from worker.gpu_lock import gpu_lock
from worker.rounds import job_running
from worker.service import Service
from worker.shutdown import shutdown_asked
from worker.spans import attempt_span

logger = logging.getLogger(__name__)


def take_turn(service: Service, devices: Sequence[str]) -> bool | None:
    """Whether there was a job to claim; None where the worker shuts down before it has its GPU."""
    with gpu_lock(shutdown_asked) as held:
        if held is None:
            return None
        woken = datetime.now(UTC)
        taken = service.claim_job(devices, gpu=has_gpu())
        if taken is None:
            return False
        names = {"job_id": taken.job_id, "attempt": taken.attempt, "tenant_id": taken.tenant_id}
        with bound(**names), attempt_span(taken, woken, service) as span:
            logger.info("the attempt begins")
            with job_running():
                ended = Attempt(taken, shutdown_asked, service=service, runner_keeps=held).run()
            logger.info("the attempt ends: %s", ended)
            if ended in ("failed", "requeued", "stale"):
                span.failed(ended)
    return True
