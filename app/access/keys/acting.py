"""For which tenant somebody acts: the one that a header or, on the page, a cookie names, if they may."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser

from app.access.keys.principal import CHOICE_PATH, TENANT_PATTERN, Principal
from app.models.tenancy import ALL_TENANTS
from app.platform.errors import FieldProblem, InvalidBody, ServiceError

HEADER = "DFAD-Tenant"
KEY_COOKIE = "dfad_key"
SESSION_COOKIE = "dfad_session"
TENANT_COOKIE = "dfad_tenant"
"""What was chosen on the page; it counts for requests with what the browser keeps."""
UNCHANGING = frozenset({"GET", "HEAD", "OPTIONS"})
_NAME = re.compile(TENANT_PATTERN)

PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "For the operator: the tenant to act for, or `*` to look at the rows of all tenants "
    "(GET alone). For people: one of the tenants in which they have a role. Others may name their own.",
    "schema": {"type": "string", "pattern": r"^(\*|[a-z0-9][a-z0-9._-]{0,63})$"},
}
"""The header in OpenAPI."""


def acting(principal: Principal, path: str, headers: Headers) -> Principal:
    """`principal` with the tenant it acts for.

    Raises ServiceError 403 for a tenant that is not one's to name, 422 for what is no tenant's name, and 400
    where one of several has to be named.
    """
    named = headers.getlist(HEADER)
    if not named:
        chosen = _chosen(headers) if path != CHOICE_PATH else None
        if chosen is not None and may_name(principal, chosen):
            return principal.acting_for(chosen)
        if principal.must_choose:
            names = ", ".join(tenant for tenant, _ in principal.roles)
            text = f"You have a role in several tenants: name one of them in {HEADER}: {names}."
            raise ServiceError(400, "tenant_required", text)
        return principal
    wanted = ", ".join(named)
    if principal.operator and not is_choice(wanted):
        problem = FieldProblem(f"/{HEADER}", f"neither a tenant's name nor {ALL_TENANTS}")
        raise InvalidBody("The header names no tenant.", problem)
    if may_name(principal, wanted):
        return principal.acting_for(wanted)
    if wanted != principal.tenant_id:
        text = f"The operator alone may name another tenant in {HEADER}."
        if principal.person is not None:
            text = f"Your groups give you no role in the tenant that {HEADER} names."
        raise ServiceError(403, "forbidden", text)
    return principal


def may_name(principal: Principal, tenant_id: str) -> bool:
    """Whether it may choose to act for that tenant, or to look at all."""
    return principal.operator or tenant_id in dict(principal.roles)


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


def _chosen(headers: Headers) -> str | None:
    """What was chosen on the page; None for nothing, and for what no page offers."""
    cookies = cookie_parser(headers.get("cookie", ""))
    chosen = cookies.get(TENANT_COOKIE, "")
    by_browser = (KEY_COOKIE in cookies or SESSION_COOKIE in cookies) and "authorization" not in headers
    return chosen if by_browser and is_choice(chosen) else None
