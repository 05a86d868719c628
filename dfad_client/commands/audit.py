"""`dfad audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from dfad_client.answers import Json
from dfad_client.commands.shared import Session


def audit(
    session: Session,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on, as 2026-01-31T00:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then. [default: now]")] = None,
) -> None:
    """Who changed what, the oldest first; with --json an object a line. Needs an admin's key."""
    with session.connected() as client:
        for line in client.audit.export(since=since, until=until):
            session.tell(line, essential=line["id"], human=_shown(line))


def _shown(line: Json) -> str:
    who = line.get("person") or ("operator" if line["operator"] else line["key_id"] or "nobody")
    shown = f"{line['created_at']}  {line['tenant_id'] or '-'}  {who}  {line['status']}  {line['action']}"
    return f"{shown}  {line['subject_id']}" if line["subject_id"] else shown
