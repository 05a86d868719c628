"""`python -m app.storage move --to s3`: all bytes into the store that new ones go to, while the service runs.

May be ended and started again at any time, and goes on with what is left. Exit codes: 0 nothing is left,
1 some files are damaged or missing and stay where they are, 2 wrong settings, 3 another move is under way,
4 a store or the database does not answer, 130 ended by a signal.
"""

from __future__ import annotations

import argparse
import signal
import sys

from sqlalchemy.exc import SQLAlchemyError

from app.platform.settings import Settings
from app.platform.startup import WRONG_SETTINGS, settings_or_exit
from app.storage import StoreAway, get_store
from app.storage.move import Busy, Move, Stopped, shares, told

DONE, DAMAGED, BUSY, AWAY, ENDED = 0, 1, 3, 4, 130
STORES = ("database", "filesystem", "s3")


def main() -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.storage", description="The stores of bytes.")
    command = parser.add_subparsers(required=True, metavar="move").add_parser(
        "move", help="move all bytes into one store while the service runs", description=__doc__
    )
    command.add_argument(
        "--to", required=True, choices=STORES, help="the store, as DFAD_ARTIFACT_STORE names it"
    )
    command.add_argument("--dry-run", action="store_true", help="say what is where, and move nothing")
    options = parser.parse_args()
    settings = settings_or_exit()
    try:
        get_store(options.to).check()
        return _look(settings, options.to) if options.dry_run else _move(settings, options.to)
    except StoreAway as error:
        print(f"{error}.", file=sys.stderr)
        return WRONG_SETTINGS if options.to == "s3" and settings.s3_url is None else AWAY
    except (SQLAlchemyError, OSError) as error:
        print(f"a store or the database does not answer ({type(error).__name__}); {AGAIN}", file=sys.stderr)
        return AWAY


AGAIN = "start this again, it goes on with what is left"


def _look(settings: Settings, target: str) -> int:
    for name, share in shares().items():
        print(f"{name}: {told(share.files, share.bytes)}{'' if name == target else ', to be moved'}")
    if settings.artifact_store != target:
        print(_not_the_store_of_new_bytes(settings, target))
    return DONE


def _not_the_store_of_new_bytes(settings: Settings, target: str) -> str:
    return (
        f"DFAD_ARTIFACT_STORE is {settings.artifact_store}: new bytes are written there. Set it to {target} "
        "for every server and worker, start them again, and then start this with the same settings."
    )


def _move(settings: Settings, target: str) -> int:
    if settings.artifact_store != target:
        print(_not_the_store_of_new_bytes(settings, target), file=sys.stderr)
        return WRONG_SETTINGS
    move = Move(target, lambda line: print(line, flush=True))

    def end(_number: int, _frame: object) -> None:
        move.stop = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        move.run()
    except Busy:
        print("another move is under way; it does this one's work", file=sys.stderr)
        return BUSY
    except Stopped:
        print(f"ended before everything was moved; {AGAIN}", file=sys.stderr)
        return ENDED
    report = move.report
    print(f"moved {told(report.moved, report.bytes)}")
    if report.late:
        print(
            f"{told(report.late, report.late_bytes)} of them came to another store meanwhile: some server or "
            "worker still has another DFAD_ARTIFACT_STORE"
        )
    if report.damaged:
        print(f"{len(report.damaged)} damaged or missing files are left where they are", file=sys.stderr)
        return DAMAGED
    print(f"nothing is left: all bytes are in the store {target}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
