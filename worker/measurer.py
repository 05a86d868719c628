"""Measures finished jobs on labelled images: a thread of the worker, beside its job's."""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy.exc import DBAPIError

from app.jobs.measurements import claim_measurement, give_back, renew
from app.platform.full import is_full
from app.platform.settings import get_settings
from app.storage import StoreAway
from worker.identity import owner
from worker.measurement import measure_job
from worker.rounds import ClaimKeeper, Rounds
from worker.shutdown import shutdown_asked

logger = logging.getLogger(__name__)


class Measurer(Rounds):
    """One job after the other."""

    def __init__(self) -> None:
        super().__init__("measurer")

    def _round(self) -> bool:
        if shutdown_asked():
            return False
        claim = claim_measurement(owner())
        if claim is None:
            return False
        with self._task(job_id=claim.job_id, tenant_id=claim.tenant_id):
            try:
                status = measure_job(claim, ClaimKeeper(partial(renew, claim), self._end))
            except (OSError, DBAPIError) as error:
                if is_full(error) or isinstance(
                    error, StoreAway
                ):  # no fault of the images: it does not count
                    give_back(claim, get_settings().lease_seconds)
                raise
            logger.info("the measurement: %s", status)
        if status == "waiting":
            give_back(claim)
        return True
