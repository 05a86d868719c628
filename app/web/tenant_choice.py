"""The choice of one of several tenants, which the browser keeps until the sign-out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from app.access.keys.acting import TENANT_COOKIE, is_choice, may_name
from app.access.keys.principal import CHOICE_PATH
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from app.web.sign_in import set_cookie

router = APIRouter(include_in_schema=False)

LISTS = ("/", "/ui/new", "/ui/webhooks")
"""Pages that every tenant has."""


@router.post(CHOICE_PATH)
def choose_tenant(
    request: Request,
    tenant: Annotated[str, Form()] = "",
    next_page: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """Show that tenant's things from now on, or to the operator those of all tenants with `*`."""
    principal = request.state.principal
    if principal.anonymous or not (principal.operator or principal.roles):
        raise ServiceError(403, "forbidden", "Other tenants are shown to the operator alone.")
    if not is_choice(tenant):
        raise InvalidBody("That is no tenant.", FieldProblem("/tenant", "no tenant's name"))
    if not may_name(principal, tenant):
        raise ServiceError(403, "forbidden", "Your groups give you no role in that tenant.")
    answer = RedirectResponse(next_page if next_page in LISTS else "/", 303)
    set_cookie(answer, request, TENANT_COOKIE, tenant)
    return answer
