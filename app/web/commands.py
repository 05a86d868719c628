"""The same job as a command line and as a program."""

from __future__ import annotations

import json
import pprint
import shlex
from typing import Any

from app.jobs.views import JobView


def commands(url: str, job: JobView, *, with_key: bool, tenant: str | None = None) -> list[tuple[str, str]]:
    """(title, text) for each way. `with_key`: the reader had to show a key, as these then do.

    `tenant`: whom the operator acts for, where that is not their own tenant.
    """
    about = (url, job.spec, job.teacher["id"], with_key, tenant)
    return [("curl", _curl(*about)), ("Command line", _command_line(*about)), ("Python", _python(*about))]


def _curl(url: str, spec: dict[str, Any], teacher_id: str, with_key: bool, tenant: str | None) -> str:
    key = ' -H "Authorization: Bearer $DFAD_API_KEY"' if with_key else ""
    key += f" -H 'DFAD-Tenant: {tenant}'" if tenant else ""
    body = json.dumps({"teacher_id": teacher_id, **spec})
    return f"curl -H 'Content-Type: application/json'{key} \\\n  -d {shlex.quote(body)} \\\n  {url}/jobs"


def _command_line(url: str, spec: dict[str, Any], teacher_id: str, with_key: bool, tenant: str | None) -> str:
    note = "# the key is taken from DFAD_API_KEY\n" if with_key else ""
    given = shlex.quote(json.dumps(spec))
    send = f"DFAD_BASE_URL={shlex.quote(url)} dfad submit {teacher_id} --spec - --wait"
    send += f" --tenant {tenant}" if tenant else ""
    return f"{note}printf %s {given} |\n  {send}"


def _python(url: str, spec: dict[str, Any], teacher_id: str, with_key: bool, tenant: str | None) -> str:
    note = "  # the key is taken from DFAD_API_KEY" if with_key else ""
    whose = f", tenant={tenant!r}" if tenant else ""
    written = pprint.pformat(spec, sort_dicts=False, width=84)
    return (
        "from dfad_client import Client\n\n"
        f"spec = {written}\n"
        f"with Client({url!r}{whose}) as dfad:{note}\n"
        f"    job = dfad.jobs.create(teacher_id={teacher_id!r}, spec=spec)\n"
        "    job = dfad.jobs.wait(job.id)\n"
        "    print(job.id, job.status)\n"
    )
