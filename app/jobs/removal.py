"""Deleting a job that has ended, with all that belongs to it."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.files.artifacts.blobs import remove_artifacts
from app.models import Artifact, Job


def drop_job(session: Session, job_id: str) -> list[str]:
    """Delete its rows; the blobs to forget after the commit."""
    blobs = remove_artifacts(session, Artifact.job_id == job_id)
    session.execute(delete(Job).where(Job.id == job_id))
    return blobs
