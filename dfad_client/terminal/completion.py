"""What the shell offers behind a half-written word. Nothing is said where nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from dfad_client import profiles
from dfad_client.errors import DfadClientError
from dfad_client.local import engine_process
from dfad_client.sync.client import Client

MOST_JOBS = 30
PATIENCE_SECONDS = 1.5


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """The newest jobs, with what they are."""
    with suppress(DfadClientError), Client(timeout_seconds=PATIENCE_SECONDS, retries=0) as client:
        jobs = islice(client.jobs.list(page_size=MOST_JOBS), MOST_JOBS)
        return [(job.id, job.status) for job in jobs if job.id.startswith(incomplete)]
    return []


def complete_architecture(incomplete: str) -> list[str]:
    """Architectures of the catalogue."""
    return [name for name in _names("architectures") if name.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    """Methods of the catalogue."""
    return [name for name in _names("methods") if name.startswith(incomplete)]


def complete_format(incomplete: str) -> list[str]:
    """Formats that a student can be had in."""
    return [name for name in _names("formats") if name.startswith(incomplete)]


def complete_profile(incomplete: str) -> list[str]:
    """Profiles of the file."""
    with suppress(DfadClientError):
        return [name for name in profiles.names() if name.startswith(incomplete)]
    return []


def _names(kind: str) -> Iterator[str]:
    """As the engine knows them if it is installed, else the server."""
    if not engine_process.missing_packages():
        yield from engine_process.names().get(kind, [])
        return
    with suppress(DfadClientError), Client(timeout_seconds=PATIENCE_SECONDS, retries=0) as client:
        catalogue = client.capabilities()
        if kind == "formats":
            yield from catalogue.get("formats", {}).get("student", [])
            return
        rows = catalogue.get("architectures", []) if kind == "architectures" else catalogue.get("methods", [])
        yield from (str(row["name"]) for row in rows)
