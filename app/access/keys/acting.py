"""For which tenant the operator acts: the one that a request's header or, on the page, a cookie names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser

from app.access.keys.principal import TENANT_PATTERN, Principal
from app.models.tenancy import ALL_TENANTS
from app.platform.errors import FieldProblem, InvalidBody, ServiceError

HEADER = "DFAD-Tenant"
KEY_COOKIE = "dfad_key"
TENANT_COOKIE = "dfad_tenant"
"""What the operator chose on the page; it counts for requests with the key that the browser keeps."""
UNCHANGING = frozenset({"GET", "HEAD", "OPTIONS"})
CHOICE_PATH = "/ui/tenant"
"""Where the page sends the choice: the operator's own doing, whatever was chosen before."""
_NAME = re.compile(TENANT_PATTERN)

PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "For the operator: the tenant to act for, or `*` to look at the rows of all tenants "
    "(GET alone). Others may name their own tenant.",
    "schema": {"type": "string", "pattern": r"^(\*|[a-z0-9][a-z0-9._-]{0,63})$"},
}
"""The header in OpenAPI."""


def acting(principal: Principal, path: str, headers: Headers) -> Principal:
    """`principal` with the tenant it acts for.

    Raises ServiceError 403 for another tenant than one's own, and 422 for what is no tenant's name.
    """
    named = headers.getlist(HEADER)
    if not named:
        chosen = _chosen(headers) if principal.operator and path != CHOICE_PATH else None
        return principal if chosen is None else _for(principal, chosen)
    wanted = ", ".join(named)
    if not principal.operator:
        if wanted != principal.tenant_id:
            raise ServiceError(403, "forbidden", f"The operator alone may name another tenant in {HEADER}.")
        return principal
    if not is_choice(wanted):
        problem = FieldProblem(f"/{HEADER}", f"neither a tenant's name nor {ALL_TENANTS}")
        raise InvalidBody("The header names no tenant.", problem)
    return _for(principal, wanted)


async def check_change(request: Request) -> None:
    """For all routes: raise ServiceError 400 for a change by somebody who looks at all tenants.

    After the routing: a method that a path does not have is refused as such.
    """
    if request.method in UNCHANGING or not request.state.principal.sees_all:
        return
    text = f"Nothing can be changed for all tenants at once: name one tenant in {HEADER}."
    if HEADER not in request.headers:
        text = "Nothing can be changed while all tenants are shown: choose one tenant at the top of the page."
    raise ServiceError(400, "tenant_required", text)


def is_choice(text: str) -> bool:
    """Whether it is a tenant's name, or stands for all tenants."""
    return text == ALL_TENANTS or _NAME.fullmatch(text) is not None


def _for(principal: Principal, tenant_id: str) -> Principal:
    return replace(principal, tenant_id=tenant_id, named_tenant=True)


def _chosen(headers: Headers) -> str | None:
    """What was chosen on the page; None for nothing, and for what no page offers."""
    cookies = cookie_parser(headers.get("cookie", ""))
    chosen = cookies.get(TENANT_COOKIE, "")
    by_browser = KEY_COOKIE in cookies and "authorization" not in headers
    return chosen if by_browser and is_choice(chosen) else None
