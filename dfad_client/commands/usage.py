"""`dfad usage` and `dfad quotas`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dfad_client.answers import Limits, Quota, TenantUsage
from dfad_client.commands.shared import Session, register
from dfad_client.commands.spec import UsageError
from dfad_client.terminal.display import columns, duration

LIMITS = ("queued_jobs", "running_jobs", "stored_bytes", "requests_per_minute")
TITLES = ("QUEUED", "RUNNING", "STORED BYTES", "REQUESTS/MIN")
NOT_SET = "none"


def usage(
    session: Session,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="This month alone, of UTC.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="From this month on. [default: the last twelve]")
    ] = None,
) -> None:
    """Show what you may have, what you have, and what you used by month; to the operator, of all tenants."""
    with session.connected() as client:
        found = client.usage(month=month, since_month=since)
    if not found:
        session.note("Nobody has used anything.")
    session.tell(
        {"data": found},
        essential="\n".join(f"{u['tenant_id']} {m['month']}" for u in found for m in u["months"]),
        human="\n".join(_usage_lines(found)) if found else "",
    )


def _usage_lines(found: Sequence[TenantUsage]) -> list[str]:
    now: list[tuple[str, ...]] = [("TENANT", *TITLES)]
    for one in found:
        in_use: dict[str, Any] = {**one["in_use"]}
        limits: dict[str, Any] = {**one["quota"]}
        now.append((one["tenant_id"], *(_of(in_use.get(name), limits.get(name)) for name in LIMITS)))
    months = [("MONTH", "TENANT", "JOBS", "SUCCEEDED", "CPU", "CUDA", "REQUESTS", "MOST STORED BYTES")]
    for one in found:
        for month in one["months"]:
            seconds = month["device_seconds"]
            months.append(
                (
                    month["month"],
                    one["tenant_id"],
                    f"{month['jobs_submitted']:,}",
                    f"{month['jobs_succeeded']:,}",
                    duration(seconds["cpu"]),
                    duration(seconds["cuda"]),
                    f"{month['requests']:,}",
                    f"{month['peak_stored_bytes']:,}",
                )
            )
    return [*columns(now), "", *columns(months)] if len(months) > 1 else columns(now)


def _of(number: int | None, limit: int | None) -> str:
    most = "no limit" if limit is None else f"{limit:,}"
    return most if number is None else f"{number:,} of {most}" if limit is not None else f"{number:,}"


class _ListsByDefault(TyperGroup):
    """A group whose command `list` needs no name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click's Group."""
        named = bool(args) and (not args[0].startswith("-") or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["list", *args])


quotas = typer.Typer(
    cls=_ListsByDefault,
    help="Quotas of all tenants; for the operator. [default: list]",
    rich_markup_mode=None,
)
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Its name; '*' for everybody.")]


def list_quotas(session: Session) -> None:
    """List everybody's quota and those of all tenants with their own."""
    with session.connected() as client:
        found = list(client.quotas.list())
    _tell(session, {"data": found}, found)


def set_quota(
    session: Session,
    tenant: Tenant,
    queued_jobs: Annotated[str | None, typer.Option(metavar="N|none", help="Queued and paused ones.")] = None,
    running_jobs: Annotated[str | None, typer.Option(metavar="N|none", help="At the same time.")] = None,
    stored_bytes: Annotated[
        str | None, typer.Option(metavar="N|none", help="Teachers, uploads and what jobs make.")
    ] = None,
    requests_per_minute: Annotated[str | None, typer.Option(metavar="N|none")] = None,
) -> None:
    """Set limits of a tenant; those not named here stay as they were set. In force within a few seconds.

    `none` takes a limit back that was set so: then DFAD_QUOTAS of the server and everybody's quota count.
    """
    given = (queued_jobs, running_jobs, stored_bytes, requests_per_minute)
    changes = {
        name: _number(text, name) for name, text in zip(LIMITS, given, strict=True) if text is not None
    }
    if not changes:
        raise UsageError("Name a limit to be set, e.g. --running-jobs 4.")
    with session.connected() as client:
        before: dict[str, Any] = {**(client.quotas.get(tenant)["stored"] or Limits())}
        after = {name: before.get(name) for name in LIMITS} | changes
        made = client.quotas.set(tenant, **after)
    _tell(session, made, [made])


def _number(text: str, name: str) -> int | None:
    if text == NOT_SET:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--{name.replace('_', '-')}: {text} is neither a whole number nor {NOT_SET}.")
    return int(text)


def unset_quota(session: Session, tenant: Tenant) -> None:
    """Forget all limits that were set for a tenant; DFAD_QUOTAS of the server holds again."""
    with session.connected() as client:
        client.quotas.delete(tenant)
        left = client.quotas.get(tenant)
    _tell(session, left, [left])


def _tell(session: Session, raw: Any, found: Sequence[Quota]) -> None:
    rows: list[tuple[str, ...]] = [("TENANT", *TITLES, "SET HERE")]
    for quota in found:
        holds: dict[str, Any] = {**quota["holds"]}
        stored: dict[str, Any] = {**(quota["stored"] or Limits())}
        here = ", ".join(name for name in LIMITS if stored.get(name) is not None) or "-"
        rows.append((quota["tenant_id"], *(_of(None, holds.get(name)) for name in LIMITS), here))
    session.tell(
        raw,
        essential="\n".join(quota["tenant_id"] for quota in found),
        human="\n".join(columns(rows)),
    )


register(quotas, list_quotas, name="list")
register(quotas, set_quota, name="set")
register(quotas, unset_quota, name="unset")
