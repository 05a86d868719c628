"""`python -m app.migrate`: bring the database to the newest revision, or back with `--down-to 0004`.

Safe when several start at once: the first holds the database's own lock, the others find nothing
left to do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from app.platform.db import get_engine
from app.platform.startup import settings_or_exit, warn_of_unknown_variables
from app.telemetry.logs import configure

#: Any fixed number: all migrating processes must choose the same.
LOCK_KEY = 0x0DFAD


def alembic_config() -> Config:
    """Alembic's settings; there is no alembic.ini to keep in step."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(revision: str = "head") -> None:
    """Apply what is missing, in one transaction."""
    _run(command.upgrade, revision)


def downgrade(revision: str) -> None:
    """Take back what came after `revision` (`base`: everything), in one transaction."""
    _run(command.downgrade, revision)


def _run(move: Callable[[Config, str], None], revision: str) -> None:
    config = alembic_config()
    with get_engine().begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        config.attributes["connection"] = connection
        move(config, revision)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m app.migrate", description="Upgrade the database.")
    parser.add_argument("--down-to", metavar="REVISION", help="take back what came after it instead")
    options = parser.parse_args()
    configure(settings_or_exit(), "migrate")
    warn_of_unknown_variables()
    if options.down_to is None:
        upgrade()
    else:
        downgrade(options.down_to)


if __name__ == "__main__":
    main()
