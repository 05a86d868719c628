"""`dfad worker`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from dfad_client.commands.shared import Exit, Session
from dfad_client.commands.spec import UsageError


def worker(
    session: Session,
    server: Annotated[
        str | None,
        typer.Option("--server", envvar="DFAD_SERVER", metavar="URL", help="The server, by https://."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            envvar="DFAD_API_KEY",
            metavar="KEY",
            show_envvar=True,
            help="A key of the scope worker. Others of this machine see an option; the variable they do not.",
        ),
    ] = None,
) -> None:
    """Run jobs of a server on this machine, with no access but HTTPS, until Ctrl-C.

    The first Ctrl-C lets a running job save itself; it goes on elsewhere. Settings of workers count, such as
    DFAD_HOME and DFAD_WORKER_DEVICES.
    """
    from dfad_client.local.service_processes import environment, missing_for_worker, module_command

    if server is None:
        raise UsageError("name the server with --server or DFAD_SERVER")
    if key is None and not os.environ.get("DFAD_API_KEY_FILE"):
        raise UsageError("give a key of the scope worker with --key, DFAD_API_KEY or DFAD_API_KEY_FILE")
    if missing := missing_for_worker():
        text = f"`dfad worker` needs the worker, and this installation lacks {', '.join(missing)}. "
        session.fail(Exit.CANNOT_START, "client_only", f"{text}Install dfad with the extra worker.")
    command, env = module_command("worker"), environment(DFAD_SERVER=server)
    if key is not None:
        env["DFAD_API_KEY"] = key
    # In the place of this process, so that signals and the exit code are the worker's own.
    os.execve(command[0], command, env)  # noqa: S606  (our own interpreter)
