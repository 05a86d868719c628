"""Measures finished jobs on labelled images: a thread of the worker, beside its job's."""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy.exc import DBAPIError

from app.platform.full import is_full
from app.storage import StoreAway
from worker.measurement import measure_job
from worker.rounds import ClaimKeeper, Rounds
from worker.shutdown import shutdown_asked
from worker.this_service import get_service

logger = logging.getLogger(__name__)


class Measurer(Rounds):
    """One job after the other."""

    def __init__(self) -> None:
        super().__init__("measurer")

    def _round(self) -> bool:
        if shutdown_asked():
            return False
        service = get_service()
        claim = service.claim_measurement()
        if claim is None:
            return False
        with self._task(job_id=claim.job_id, tenant_id=claim.tenant_id):
            try:
                keeper = ClaimKeeper(partial(service.renew_measurement, claim), service, self._end)
                status = measure_job(claim, service, keeper)
            except (OSError, DBAPIError) as error:
                if is_full(error) or isinstance(error, StoreAway):  # no fault of the images
                    service.give_back_measurement(claim, service.lease_seconds)
                raise
            logger.info("the measurement: %s", status)
        if status == "waiting":
            service.give_back_measurement(claim)
        return True
