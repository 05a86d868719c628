"""`dfad up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfad_client.commands.shared import Exit, Session


def up(
    session: Session,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Beyond loopback an API key is needed.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Jobs that run at the same time.")] = 1,
    home: Annotated[
        Path, typer.Option(envvar="DFAD_HOME", help="The folder of all data.", show_default=True)
    ] = Path(".dfad"),
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from dfad_client.local.up import CannotStart, Up

    try:
        Up(
            home=home,
            host=host,
            port=port,
            workers=workers,
            as_json=session.as_json,
            quiet=session.quiet,
        ).run()
    except CannotStart as error:
        session.fail(Exit.CANNOT_START, error.code, str(error))
