"""A job's other files: labelled data to measure on, and weights that its student begins with.

Each becomes an artifact of the job's own that shares the stored bytes, so that it goes when the job goes.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import database_now
from app.errors import FieldProblem, InvalidBody
from app.ids import new_id, require_id
from app.jobs.schemas import JobSpec
from app.models import Artifact, Job, Upload
from app.models.artifact import INPUTS

STUDENTS = ("student",)


def attach(session: Session, job: Job, spec: JobSpec) -> None:
    """Give `job` the files that its spec names. Raises InvalidBody for what the tenant has not."""
    if spec.evaluation.upload_id is not None:
        source = _uploaded(session, job.tenant_id, spec.evaluation.upload_id, "/evaluation/upload_id")
        _share(session, job, source, "evaluation")
    begin = spec.student.init_from
    if begin is not None and begin.upload_id is not None:
        source = _uploaded(session, job.tenant_id, begin.upload_id, "/student/init_from/upload_id")
        _share(session, job, source, "initial")
    elif begin is not None and begin.artifact_id is not None:
        source = _student(session, job.tenant_id, begin.artifact_id)
        _share(session, job, source, "initial")


def attach_same(session: Session, job: Job, before: str) -> None:
    """Give `job` the files of the job with the id `before`."""
    mine = (Artifact.job_id == before, Artifact.kind.in_(INPUTS))
    for source in session.scalars(select(Artifact).where(*mine).with_for_update()):
        _share(session, job, source, source.kind)


def _uploaded(session: Session, tenant_id: str, upload_id: str, pointer: str) -> Artifact:
    require_id(upload_id, "upl", pointer)
    query = select(Artifact).join(Upload, Upload.artifact_id == Artifact.id)
    query = query.where(Upload.id == upload_id, Upload.tenant_id == tenant_id)
    query = query.where(Upload.expires_at > database_now(session)).with_for_update(of=Artifact)
    return _found(session.scalar(query), pointer, "There is no such completed upload.")


def _student(session: Session, tenant_id: str, artifact_id: str) -> Artifact:
    pointer = "/student/init_from/artifact_id"
    require_id(artifact_id, "art", pointer)
    query = select(Artifact).where(Artifact.id == artifact_id, Artifact.tenant_id == tenant_id)
    query = query.where(Artifact.kind.in_(STUDENTS), Artifact.published_at.is_not(None))
    return _found(session.scalar(query.with_for_update()), pointer, "There is no such student.")


def _found(artifact: Artifact | None, pointer: str, text: str) -> Artifact:
    if artifact is None:
        raise InvalidBody(text, FieldProblem(pointer, text))
    return artifact


def _share(session: Session, job: Job, source: Artifact, kind: str) -> None:
    now = database_now(session)
    about = {name: getattr(source, name) for name in ("tenant_id", "blob_id", "filename", "bytes", "sha256")}
    session.add(
        Artifact(id=new_id("art"), job_id=job.id, kind=kind, created_at=now, published_at=now, **about)
    )
