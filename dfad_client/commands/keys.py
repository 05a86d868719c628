"""`dfad keys`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from dfad_client.commands.shared import AsJson, Url, connected, explained

keys = typer.Typer(help="Keys that open the service.", no_args_is_help=True, rich_markup_mode=None)


@keys.command()
def create(  # noqa: PLR0917  (the options of a command)
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write or admin; several are allowed.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose; for the operator. [default: one's own]")] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="Until it expires. [default: never]")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    expires_at = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with explained(as_json), connected(url) as client:
        made = client.keys.create(
            name, scopes=scope or ["read", "write"], tenant_id=tenant, expires_at=expires_at
        )
    if as_json:
        typer.echo(json.dumps(made))
    else:
        typer.echo(made["key"])
        about = f"{made['id']}, tenant {made['tenant_id']}, {' '.join(made['scopes'])}"
        typer.echo(f"Made {about}. Keep the key now: it is not shown again.", err=True)


@keys.command("list")
def list_keys(url: Url = None, as_json: AsJson = False) -> None:
    """List keys, newest first."""
    with explained(as_json), connected(url) as client:
        found = list(client.keys.list())
    if as_json:
        typer.echo(json.dumps({"data": found}))
    for key in [] if as_json else found:
        state = "revoked" if key["revoked_at"] else f"until {key['expires_at'] or 'revoked'}"
        typer.echo(f"{key['id']}  {key['tenant_id']}  {','.join(key['scopes'])}  {state}  {key['name']}")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="key_…")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Close a key for ever."""
    with explained(as_json), connected(url) as client:
        client.keys.revoke(key_id)
    typer.echo(json.dumps({"id": key_id, "revoked": True}) if as_json else f"{key_id} is revoked.")
