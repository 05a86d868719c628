"""How Alembic reaches the database: with the service's own engine and tables."""

from typing import Literal

from alembic import context
from sqlalchemy import Connection

import app.models  # noqa: F401  (registers the tables)
from app.platform.db import Base, UtcDateTime, get_engine


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write our time type into revisions as what the database sees."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with get_engine().connect() as opened:
        _run(opened)
        opened.commit()
