"""Task bodies. Redelivery, loss and disorder of messages are harmless: the row decides."""

from __future__ import annotations

import logging

from app.db import read_scope, session_scope
from app.dispatch import send_due
from app.jobs.lifecycle import RUN_JOB, claim
from app.models import Teacher
from app.teachers.tasks import INSPECT_TEACHER
from worker.attempt_runner import Attempt
from worker.celery_app import celery_app
from worker.identity import owner
from worker.inspection import inspect_teacher
from worker.shutdown import shutdown_asked

logger = logging.getLogger(__name__)


@celery_app.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Claim the job and run one attempt. A second delivery finds nothing to claim and ends."""
    if shutdown_asked():
        return  # the reconciler of another worker announces the job again
    with session_scope() as session:
        taken = claim(session, job_id, owner())
    if taken is None:
        logger.info("%s is not to be had", job_id)
        return
    logger.info("%s: attempt %d begins", job_id, taken.attempt)
    ended = Attempt(taken, shutdown_asked).run()
    logger.info("%s: attempt %d %s", job_id, taken.attempt, ended)
    send_due()


@celery_app.task(name=INSPECT_TEACHER)
def run_inspection(teacher_id: str) -> None:
    """Inspect a teacher that is still waiting for it; a second delivery finds it done."""
    with read_scope() as session:
        teacher = session.get(Teacher, teacher_id)
    if teacher is not None and teacher.status == "inspecting":
        logger.info("%s: %s", teacher_id, inspect_teacher(teacher_id))
