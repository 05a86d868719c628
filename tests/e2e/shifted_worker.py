"""A worker without an engine on a machine whose clock is set while it works.

The file that CLOCK_FILE names says by how many seconds the time of day is ahead. The time since the boot is
left as it is; libfaketime changes how long a process sleeps, too.
"""

import os
import runpy
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

import app.platform.db

_true_now = app.platform.db.database_now
_file = Path(os.environ["CLOCK_FILE"])


def shifted(session: Session) -> datetime:
    """SQLite's time of day, as the file has it."""
    return _true_now(session) + timedelta(seconds=float(_file.read_text() or "0"))


if __name__ == "__main__":
    app.platform.db.database_now = shifted  # before anybody else takes it from there
    runpy.run_module("testing.light_worker", run_name="__main__")
