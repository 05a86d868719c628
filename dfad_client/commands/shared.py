"""What all commands share: exit codes, options, how results are told, one line for every failure."""

from __future__ import annotations

import functools
import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from dfad_client.commands.spec import UsageError
from dfad_client.errors import ApiError, ConnectionFailed, DownloadCorrupt, UnusableEnvironment
from dfad_client.profiles import ProfileError
from dfad_client.sync.client import Client
from dfad_client.terminal.completion import complete_profile
from dfad_client.terminal.plain import plain


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
    str | None,
    typer.Option("--url", help="The server. [default: DFAD_BASE_URL, the profile's, http://127.0.0.1:8000]"),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Server and key from the file of profiles. [default: DFAD_PROFILE]",
        autocompletion=complete_profile,
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="NAME",
        help="Act for this tenant, of several that one has; '*' looks at all. [default: the key's]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the essential: an id, a path, a status.")]


@dataclass(frozen=True)
class Session:
    """One run of one command: which server, and how it speaks."""

    url: str | None = None
    profile: str | None = None
    tenant: str | None = None
    as_json: bool = False
    quiet: bool = False

    def connected(
        self,
        *,
        patient: bool = False,
        on_wait: Callable[[str, float], None] | None = None,
        timeout_seconds: float = 60.0,
        tenant: str | None = None,
    ) -> Client:
        """A client that gives up within a few seconds; `patient` ones survive a restart of the server.

        It acts for `tenant`, or else the session's.
        """
        return Client(
            self.url,
            profile=self.profile,
            tenant=tenant if tenant is not None else self.tenant,
            timeout_seconds=timeout_seconds,
            retries=7 if patient else 3,
            backoff_seconds=0.5 if patient else 0.3,
            on_wait=on_wait,
        )

    @property
    def tenant_option(self) -> str:
        """The option that another command of the same tenant needs, or ""."""
        return "" if self.tenant is None else f" --tenant {shlex.quote(self.tenant)}"

    def tell(self, raw: Any, *, essential: str, human: str) -> None:
        """The result on standard output, in the form that was asked for; "" is not printed."""
        if self.as_json:
            typer.echo(json.dumps(raw))
        elif text := essential if self.quiet else human:
            typer.echo(plain(text))

    def note(self, text: str) -> None:
        """Something beside the result, for people alone."""
        if not (self.quiet or self.as_json):
            typer.echo(plain(text), err=True)

    def fail(self, code: Exit, kind: str, text: str, **more: Any) -> NoReturn:
        """One line for people; for programs the same as JSON."""
        typer.echo(f"dfad: {plain(text)}", err=True)
        if self.as_json:
            typer.echo(json.dumps({"error": {"code": kind, "detail": text, **more}}))
        raise typer.Exit(code)

    @contextmanager
    def explained(self, goes_on: str = "") -> Iterator[None]:
        """Turn every expected failure into one line and its exit code."""
        try:
            yield
        except (UsageError, ProfileError) as error:
            self.fail(Exit.USAGE, "usage", str(error))
        except ApiError as error:
            places = [{"pointer": e.pointer, "detail": e.detail} for e in error.errors]
            more = {"status": error.status, "errors": places, "request_id": error.request_id}
            self.fail(Exit.REFUSED, error.code, f"{error} [{error.status} {error.code}]", **more)
        except DownloadCorrupt as error:
            self.fail(Exit.NO_CONNECTION, "damaged", str(error))
        except UnusableEnvironment as error:
            self.fail(Exit.NO_CONNECTION, "environment", str(error))
        except ConnectionFailed as error:
            hint = "Start a server with `dfad up`, or name one with --url or DFAD_BASE_URL."
            self.fail(Exit.NO_CONNECTION, "no_connection", f"{error} {hint}")
        except BrokenPipeError:
            raise  # whoever reads has enough; that is no failure to be told
        except OSError as error:
            self.fail(Exit.USAGE, "file", f"{error.filename or 'file'}: {error.strerror or error}")
        except KeyboardInterrupt:
            self.fail(Exit.INTERRUPTED, "interrupted", f"interrupted. {goes_on}".strip())


Command = Callable[..., None]


def register(app: typer.Typer, function: Command, *, name: str | None = None, local: bool = False) -> None:
    """Make a command of `function`, whose first parameter is the Session.

    The options that make up a session are added to its own; `local` commands ask no server.
    """
    shared: dict[str, Any] = {"as_json": AsJson, "quiet": Quiet}
    if not local:
        shared = {"url": Url, "profile": Profile, "tenant": Tenant, **shared}
    # `keys create` has a --tenant of its own.
    parameters = inspect.signature(function, eval_str=True).parameters
    shared = {option: kind for option, kind in shared.items() if option not in parameters}

    @functools.wraps(function)
    def run(**given: Any) -> None:
        session = Session(**{option: given.pop(option) for option in shared})
        with session.explained():
            function(session, **given)

    own = list(parameters.values())[1:]
    more = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=_default(option))
        for option, kind in shared.items()
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *more]}
    del run.__wrapped__  # its signature is another one
    app.command(name)(run)


def _default(option: str) -> Any:
    return None if option in ("url", "profile", "tenant") else False


class Group(TyperGroup):
    """Commands whose wrong usage is JSON, too, where JSON was asked for."""

    def main(self, args: Any = None, *more: Any, **options: Any) -> Any:
        """See TyperGroup."""
        given = sys.argv[1:] if args is None else list(args)
        if "--json" not in given or not options.get("standalone_mode", True):
            return super().main(args, *more, **options)
        try:
            code = super().main(args, *more, **{**options, "standalone_mode": False})
        except TyperException as error:
            text = error.format_message()
            typer.echo(f"dfad: {text}", err=True)
            typer.echo(json.dumps({"error": {"code": "usage", "detail": text}}))
            sys.exit(error.exit_code)
        sys.exit(code or 0)
