"""`dfad keys`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from dfad_client.answers import Json
from dfad_client.commands.shared import Session, register
from dfad_client.profiles import config_path

keys = typer.Typer(help="Keys that open the service.", no_args_is_help=True, rich_markup_mode=None)


def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, write, admin or metrics; several are allowed. Of a worker: worker, or worker:cuda."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose; for the operator. [default: one's own]")] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="Until it expires. [default: never]")] = None,
) -> None:
    """Make a key and show it, this once.

    The first one of a server without DFAD_API_KEY needs --scope admin; then every request needs a key.
    """
    expires_at = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with session.connected() as client:
        made = client.keys.create(
            name, scopes=scope or ["read", "write"], tenant_id=tenant, expires_at=expires_at
        )
    session.tell(made, essential=made["key"], human=made["key"])
    about = f"{made['id']}, tenant {made['tenant_id']}, {' '.join(made['scopes'])}"
    session.note(f"Made {about}. Keep the key now: it is not shown again.")
    if made.get("first"):
        session.note(
            "From now on every request to this server needs a key. Give this one to clients as DFAD_API_KEY "
            f"in their environment, or as api_key of a profile in {config_path()}. It makes other keys, too."
        )


def list_keys(session: Session) -> None:
    """List keys, newest first."""
    with session.connected() as client:
        found = list(client.keys.list())
    lines = []
    for key in found:
        state = "revoked" if key["revoked_at"] else f"until {key['expires_at'] or 'revoked'}"
        lines.append(f"{key['id']}  {key['tenant_id']}  {','.join(key['scopes'])}  {state}  {key['name']}")
        secrets = key.get("secrets", [])  # a server of an earlier version has none
        if len(secrets) > 1:
            lines += [f"  {_secret(secret, number)}" for number, secret in enumerate(secrets)]
    session.tell(
        {"data": found}, essential="\n".join(str(key["id"]) for key in found), human="\n".join(lines)
    )


def _secret(secret: Json, number: int) -> str:
    """A secret of a key that has two, the newest first."""
    until = f"until {secret['expires_at']}" if number else "the newest"
    return f"secret {secret['number']}  {until}  last used {secret['last_used_at'] or 'never'}"


def rotate(
    session: Session,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="key_…")],
    overlap_hours: Annotated[
        float,
        typer.Option(min=0, max=720, help="For how long the secret before it opens the service as well."),
    ] = 24,
) -> None:
    """Give a key a new secret and show it, this once; the one before it stays valid for a while.

    With --overlap-hours 0 it ends at once: for a secret that has leaked.
    """
    with session.connected() as client:
        rotated = client.keys.rotate(key_id, overlap_seconds=overlap_hours * 3600)
    session.tell(rotated, essential=rotated["key"], human=rotated["key"])
    newest, *before = rotated["secrets"]
    session.note(f"Secret {newest['number']} of {key_id}. Keep the key now: it is not shown again.")
    for secret in before:
        session.note(f"Secret {secret['number']} opens the service until {secret['expires_at']}.")


def revoke(session: Session, key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="key_…")]) -> None:
    """Close a key for ever, with all its secrets."""
    with session.connected() as client:
        client.keys.revoke(key_id)
    session.tell({"id": key_id, "revoked": True}, essential=key_id, human=f"{key_id} is revoked.")


register(keys, create)
register(keys, list_keys, name="list")
register(keys, rotate)
register(keys, revoke)
