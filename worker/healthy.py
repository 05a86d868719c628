"""`python -m worker.healthy`: 0 if a worker of this machine (or container) was heard of lately, else 1.

Where the database cannot be asked it is 1 as well: no work is done without it. `--unless-away` makes that 0,
for whoever would end the worker on a 1: it would lose its job, and the next one could do no better.
"""

from __future__ import annotations

import argparse
import socket
import sys

from sqlalchemy.exc import SQLAlchemyError

from app.platform.startup import settings_or_exit


def main() -> int:
    """Look for the beat that `worker.reconciler` leaves."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.healthy", description="Is this machine's worker alive?"
    )
    parser.add_argument("--unless-away", action="store_true", help="no complaint while the database is away")
    options = parser.parse_args()
    if settings_or_exit().server is not None:
        print("a worker of DFAD_SERVER has no database to ask: GET /capabilities lists it", file=sys.stderr)
        return 1
    from app.workers.seen import live_workers

    try:
        hosts = {beat.report.host for beat in live_workers()}
    except SQLAlchemyError as error:
        print(f"the database is away ({type(error).__name__})", file=sys.stderr)
        return 0 if options.unless_away else 1
    if socket.gethostname() in hosts:
        return 0
    print("no worker of this machine has been heard of lately", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
