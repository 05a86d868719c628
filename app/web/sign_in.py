"""Keys of people with a browser: a cookie that scripts cannot read and other sites cannot send.

Whoever is sent here on the way to a page goes on to it afterwards: the form carries its address as `next`.
"""

from __future__ import annotations

import posixpath
import re
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.access.audit.service import record
from app.access.keys.acting import KEY_COOKIE, TENANT_COOKIE
from app.access.keys.principal import Principal
from app.access.keys.wrong_keys import audited_failures, principal_from
from app.http.problems import database_away
from app.platform.client_address import source_of
from app.platform.errors import ServiceError
from app.platform.settings import get_settings
from app.web.rendering import page

router = APIRouter(include_in_schema=False)

KEPT_SECONDS = 12 * 3600
SIGN_IN = "/ui/sign-in"
NO_DESTINATIONS = (SIGN_IN, "/ui/sign-out")
MAX_ADDRESS_CHARACTERS = 6000


def return_address(address: str) -> str:
    """`address` if it is that of a page of this site, else that of the list of jobs.

    Anybody can write a link to the sign-in, so the page behind it must be none of theirs. Browsers read `\\`
    as `/`, drop control characters and resolve dots, encoded ones too.
    """
    path = posixpath.normpath(unquote(re.split("[?#]", address, maxsplit=1)[0]))
    is_page = path == "/" or (path.startswith("/ui/") and path not in NO_DESTINATIONS)
    is_plain = address.startswith("/") and address.isprintable() and "\\" not in address
    return address if is_page and is_plain and len(address) <= MAX_ADDRESS_CHARACTERS else "/"


def sign_in_address(address: str) -> str:
    """The sign-in's address for somebody who wanted to see the page at `address`."""
    wanted = return_address(address)
    return SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='/?=')}"


@router.get(SIGN_IN)
def sign_in_page(request: Request) -> Response:
    """Ask for the key."""
    next_page = return_address(request.query_params.get("next", ""))
    return page(request, "sign_in.html", problem=None, next_page=next_page)


@router.post(SIGN_IN)
async def sign_in(
    request: Request,
    key: Annotated[str, Form()] = "",
    next_page: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """Keep a key that opens something, and go on to the page that was wanted."""
    next_page = return_address(next_page)
    address = request.client.host if request.client else None
    try:
        principal = await principal_from(address, f"Bearer {key.strip()}", get_settings())
    except (ServiceError, SQLAlchemyError) as error:
        refusal = error if isinstance(error, ServiceError) else database_away(error)
        await _record_failure(request, refusal, address)
        about = {"problem": refusal.detail, "next_page": next_page}
        refused = page(request, "sign_in.html", http_status=refusal.status, **about)
        refused.headers.update(refusal.headers)
        return refused
    answer = RedirectResponse(next_page, 303)
    if principal.name:  # else the server has no keys, and anything is let in
        await _record(request, principal, 303, address)
        answer.delete_cookie(TENANT_COOKIE)
        answer.set_cookie(
            KEY_COOKIE, key.strip(), max_age=KEPT_SECONDS, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
    return answer


async def _record(request: Request, principal: Principal | None, status: int, address: str | None) -> None:
    request_id = request.state.request_id
    await run_in_threadpool(record, principal, f"POST {SIGN_IN}", status, request_id, address)


async def _record_failure(request: Request, refusal: ServiceError, address: str | None) -> None:
    """Write down a wrong key. Those who try many may not fill the audit: the log tells of them."""
    source = source_of(address)
    if refusal.status == 401 and not audited_failures.wait_seconds(source):
        audited_failures.add(source)
        await _record(request, None, refusal.status, address)


@router.post("/ui/sign-out")
def sign_out() -> Response:
    """Forget the key."""
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(KEY_COOKIE)
    answer.delete_cookie(TENANT_COOKIE)
    return answer
