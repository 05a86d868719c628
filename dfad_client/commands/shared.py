"""What all commands share: exit codes, options, one line for every failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer

from dfad_client import Client
from dfad_client.commands.spec import UsageError
from dfad_client.errors import ApiError, ConnectionFailed, DownloadCorrupt


class Exit(IntEnum):
    """Exit codes; scripts may rely on them."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    REFUSED = 3
    NO_CONNECTION = 4
    CANNOT_START = 5
    INTERRUPTED = 130


Url = Annotated[
    str | None, typer.Option("--url", help="The server. [default: DFAD_BASE_URL or http://127.0.0.1:8000]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable JSON on standard output.")]


def fail(code: Exit, kind: str, text: str, as_json: bool, **more: Any) -> NoReturn:
    """One line for people; for programs the same as JSON."""
    typer.echo(f"dfad: {text}", err=True)
    if as_json:
        typer.echo(json.dumps({"error": {"code": kind, "detail": text, **more}}))
    raise typer.Exit(code)


@contextmanager
def explained(as_json: bool, goes_on: str = "") -> Iterator[None]:
    """Turn every expected failure into one line and its exit code."""
    try:
        yield
    except UsageError as error:
        fail(Exit.USAGE, "usage", str(error), as_json)
    except ApiError as error:
        places = [{"pointer": e.pointer, "detail": e.detail} for e in error.errors]
        more = {"status": error.status, "errors": places, "request_id": error.request_id}
        fail(Exit.REFUSED, error.code, f"{error} [{error.status} {error.code}]", as_json, **more)
    except DownloadCorrupt as error:
        fail(Exit.NO_CONNECTION, "damaged", str(error), as_json)
    except ConnectionFailed as error:
        hint = "Start a server with `dfad up`, or name one with --url or DFAD_BASE_URL."
        fail(Exit.NO_CONNECTION, "no_connection", f"{error} {hint}", as_json)
    except OSError as error:
        fail(Exit.USAGE, "file", f"{error.filename or 'file'}: {error.strerror or error}", as_json)
    except KeyboardInterrupt:
        fail(Exit.INTERRUPTED, "interrupted", f"interrupted. {goes_on}".strip(), as_json)


def connected(url: str | None, *, patient: bool = False) -> Client:
    """A client that gives up within a few seconds; `patient` ones survive a restart of the server."""
    return Client(url, retries=6 if patient else 3, backoff_seconds=0.5 if patient else 0.3)
