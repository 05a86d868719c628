"""The operator's choice of a tenant, or of all to look at. The browser keeps it until the sign-out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from app.access.keys.acting import CHOICE_PATH, TENANT_COOKIE, is_choice
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from app.web.sign_in import KEPT_SECONDS

router = APIRouter(include_in_schema=False)

LISTS = ("/", "/ui/new", "/ui/webhooks")
"""Pages that every tenant has."""


@router.post(CHOICE_PATH)
def choose_tenant(
    request: Request,
    tenant: Annotated[str, Form()] = "",
    next_page: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """Show that tenant's things from now on, or those of all tenants with `*`."""
    principal = request.state.principal
    if not (principal.operator and principal.name):
        raise ServiceError(403, "forbidden", "Other tenants are shown to the operator alone.")
    if not is_choice(tenant):
        raise InvalidBody("That is no tenant.", FieldProblem("/tenant", "no tenant's name"))
    answer = RedirectResponse(next_page if next_page in LISTS else "/", 303)
    answer.set_cookie(
        TENANT_COOKIE, tenant, max_age=KEPT_SECONDS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer
