"""`python -m app`: the server."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

import uvicorn
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.supervisors import Multiprocess

from app.access.keys.service import any_keys
from app.access.keys.tokens import PepperDamaged, check_pepper
from app.http.connections import WAITING_CONNECTIONS, Connection, allow_many_files
from app.http.listener import Listener
from app.platform.settings import Settings
from app.platform.startup import WRONG_SETTINGS, settings_or_exit, warn_of_unknown_variables
from app.telemetry.counts_folder import counts_folder
from app.telemetry.logs import logging_config

STARTUP_FAILED = 3
MIN_KEY_CHARACTERS = 12


def refusal(settings: Settings, keys_made: Callable[[], bool] = lambda: False) -> str | None:
    """Why the server must not start with these settings; None if it may.

    `keys_made` says whether the database has keys; it is asked only where that matters.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        return "DFAD_API_KEY must be printable ASCII without spaces: nothing else fits into a header."
    if key is not None and len(key) < MIN_KEY_CHARACTERS:
        return (
            f"DFAD_API_KEY must have {MIN_KEY_CHARACTERS} characters or more, so that nobody can guess it. "
            "`openssl rand -hex 32` prints a good one."
        )
    if key is None and settings.oidc_issuer is None and not settings.is_loopback and not keys_made():
        return (
            f"DFAD_API_KEY must be set, or a key made, to listen on {settings.host}: "
            "without it everybody could use the server."
        )
    return None


def _keys_made() -> bool:
    try:
        return any_keys()
    except SQLAlchemyError:  # no database yet: no key either
        return False


def _pepper_problem() -> str | None:
    try:
        check_pepper()
    except PepperDamaged as error:
        return str(error)
    return None


def main() -> int:
    """Serve until told to stop. Exit code 2 for settings that are wrong or unsafe."""
    settings = settings_or_exit()
    problem = refusal(settings, _keys_made) or _pepper_problem()
    if problem is not None:
        print(problem, file=sys.stderr)
        return WRONG_SETTINGS
    settings.scratch_folder.mkdir(parents=True, exist_ok=True)
    allow_many_files()
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        http=Connection,
        backlog=WAITING_CONNECTIONS,
        ws="none",  # such a connection would leave the bounds of this one
        host=settings.host,
        port=settings.port,
        server_header=False,
        timeout_graceful_shutdown=5,
        access_log=False,
        forwarded_allow_ips=settings.trusted_proxies,
        log_config=logging_config(settings, "server"),  # in each server process
        workers=settings.server_processes,
    )  # from here on there are logs
    warn_of_unknown_variables()
    if settings.server_processes > 1:
        try:
            listener = Listener(settings.host, settings.port)
        except OSError as error:
            print(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
            return STARTUP_FAILED
        with counts_folder(settings.scratch_folder) as folder:
            # Read by `app.telemetry.requests` in each process; what earlier ones counted is not carried on.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
            Multiprocess(config, sockets=[listener]).run()
        return 0
    # The signal comes again once all has ended; by itself it would end the process as if it had crashed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: raised again once everything has ended
        server.run()
    return 0 if server.started else STARTUP_FAILED


if __name__ == "__main__":
    sys.exit(main())
