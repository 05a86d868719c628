"""Lists: newest first, by id, because ids sort by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Self, TypeVar

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from app.platform.errors import FieldProblem, InvalidBody
from app.platform.ids import is_id

Limit = Annotated[int, Query(ge=1, le=100, description="Entries a page.")]
After = Annotated[str | None, Query(max_length=64, description="The last id of the page before.")]


View = TypeVar("View", bound=BaseModel)


class Page(BaseModel, Generic[View]):
    """A page of a list, newest first."""

    data: list[View]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, views: Sequence[Any], *, more: bool) -> Self:
        """The page of these views, which have ids; `more`: whether others follow."""
        first, last = (views[0].id, views[-1].id) if views else (None, None)
        return cls(data=list(views), has_more=more, first_id=first, last_id=last)


def page(
    session: Session,
    query: Select[*tuple[Any, ...]],
    id_column: InstrumentedAttribute[str],
    *,
    prefix: str,
    after: str | None,
    limit: int,
) -> tuple[Sequence[Any], bool]:
    """Rows of one page and whether more follow. InvalidBody for a cursor that is no id."""
    if after is not None:
        if not is_id(after, prefix):
            raise InvalidBody("The cursor is not an id of this list.", FieldProblem("/after", "not an id"))
        query = query.where(id_column < after)
    rows = session.execute(query.order_by(id_column.desc()).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit
