"""Conditions of the list of jobs."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from app.http.problems import invalid_body
from app.jobs.schemas import JobPatch
from app.models import Job
from app.platform.errors import FieldProblem, InvalidBody
from app.platform.text import storable


def labelled(session: Session, name: str, value: str) -> ColumnElement[bool]:
    """Jobs of which `metadata[name]` is `value`. Raises InvalidBody for what no job can have."""
    try:
        JobPatch(metadata={name: value})
    except ValidationError as error:
        raise invalid_body(error) from error
    if not storable(value):
        raise InvalidBody("The query cannot be used.", FieldProblem(f"/metadata/{name}", "has a NUL"))
    if session.get_bind().dialect.name == "sqlite":
        # Its JSON paths compare names as they are escaped in the text; json_each compares what they mean.
        pair = func.json_each(Job.labels).table_valued("key", "value")
        return exists(select(1).select_from(pair).where(pair.c.key == name, pair.c.value == value))
    matches: ColumnElement[bool] = Job.labels[name].as_string() == value
    return matches
