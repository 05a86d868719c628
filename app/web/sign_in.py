"""Signing in with a key, and signing out: a cookie that scripts cannot read and other sites cannot send.

Whoever is sent here on the way to a page goes on to it afterwards: the form carries its address as `next`.
People who have no key sign in through a provider (`app.web.provider_sign_in`).
"""

from __future__ import annotations

import posixpath
import re
from functools import partial
from typing import Annotated
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.access.audit.service import record
from app.access.credentials import principal_from
from app.access.keys import service as keys
from app.access.keys.acting import KEY_COOKIE, SESSION_COOKIE, TENANT_COOKIE
from app.access.keys.principal import SIGN_IN_PATHS, Principal
from app.access.keys.wrong_keys import audited_failures
from app.access.people.flow import end_session_address
from app.access.people.provider import provider_of
from app.access.people.sessions import close_session
from app.http.problems import database_away
from app.platform.client_address import source_of
from app.platform.errors import ServiceError
from app.platform.settings import get_settings
from app.web.rendering import page

router = APIRouter(include_in_schema=False)

KEPT_SECONDS = 12 * 3600
SIGN_IN, SIGN_OUT = "/ui/sign-in", "/ui/sign-out"
MAX_ADDRESS_CHARACTERS = 6000


def return_address(address: str) -> str:
    """`address` if it is that of a page of this site, else that of the list of jobs.

    Anybody can write a link to the sign-in, so the page behind it must be none of theirs. Browsers read `\\`
    as `/`, drop control characters and resolve dots, encoded ones too.
    """
    path = posixpath.normpath(unquote(re.split("[?#]", address, maxsplit=1)[0]))
    is_page = path == "/" or (path.startswith("/ui/") and path not in SIGN_IN_PATHS)
    is_plain = address.startswith("/") and address.isprintable() and "\\" not in address
    return address if is_page and is_plain and len(address) <= MAX_ADDRESS_CHARACTERS else "/"


def sign_in_address(address: str) -> str:
    """The sign-in's address for somebody who wanted to see the page at `address`."""
    wanted = return_address(address)
    return SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='/?=')}"


def set_cookie(answer: Response, request: Request, name: str, value: str) -> None:
    """Let the browser keep it as long as a sign-in lasts."""
    answer.set_cookie(
        name, value, max_age=KEPT_SECONDS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip


def sign_in_form(
    request: Request,
    next_page: str,
    refusal: ServiceError | None = None,
    *,
    of_provider: bool = False,
    anew: bool = False,
) -> Response:
    """The page that asks who somebody is, with why they were refused.

    `of_provider`: on the way through it, and not a key; `anew`: the provider shall ask who they are again.
    """
    settings, provider = get_settings(), None
    if settings.oidc_issuer is not None and settings.oidc_client_id is not None:
        wanted = {} if next_page == "/" else {"next": next_page}
        query = urlencode(wanted | ({"anew": "1"} if anew else {}))
        provider = {"host": provider_of(settings.oidc_issuer).host, "query": query and f"?{query}"}
    answer = page(
        request,
        "sign_in.html",
        http_status=refusal.status if refusal else 200,
        problem=refusal and refusal.detail,
        of_provider=of_provider,
        next_page=next_page,
        provider=provider,
    )
    answer.headers.update(refusal.headers if refusal else {})
    return answer


@router.get(SIGN_IN)
def sign_in_page(request: Request) -> Response:
    """Ask for the key."""
    return sign_in_form(request, return_address(request.query_params.get("next", "")))


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
        if principal.person is not None:
            raise ServiceError(401, "unauthorized", "That is no key: sign in through the provider.")
    except (ServiceError, SQLAlchemyError) as error:
        refusal = error if isinstance(error, ServiceError) else database_away(error)
        await record_failure(request, f"POST {SIGN_IN}", refusal)
        return sign_in_form(request, next_page, refusal)
    answer = RedirectResponse(next_page, 303)
    if principal.name:  # else the server has no keys, and anything is let in
        await record_sign_in(request, f"POST {SIGN_IN}", principal, 303)
        await end_session(request)
        answer.delete_cookie(TENANT_COOKIE)
        answer.delete_cookie(SESSION_COOKIE)
        set_cookie(answer, request, KEY_COOKIE, key.strip())
    return answer


async def record_sign_in(
    request: Request, action: str, principal: Principal | None, status: int, person: str | None = None
) -> None:
    """Write it into the audit."""
    address = request.client.host if request.client else None
    about = (principal, action, status, request.state.request_id, address)
    await run_in_threadpool(partial(record, *about, person=person))


async def record_failure(
    request: Request, action: str, refusal: ServiceError, person: str | None = None
) -> None:
    """Write down one that failed. Those who try many may not fill the audit: the log tells of them."""
    source = source_of(request.client.host if request.client else None)
    if refusal.status in (401, 403) and not audited_failures.wait_seconds(source):
        audited_failures.add(source)
        await record_sign_in(request, action, None, refusal.status, person)


async def end_session(request: Request) -> str | None:
    """End the session of the browser, if it has one; the ID token that it began with."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is None:
        return None
    try:
        return await run_in_threadpool(close_session, cookie)
    except SQLAlchemyError as error:
        raise database_away(error) from error
    finally:
        keys.recent.clear()


@router.post(SIGN_OUT)
async def sign_out(request: Request) -> Response:
    """Forget who it was, and let the provider do so as well."""
    answer: Response = RedirectResponse(SIGN_IN, 303)
    if SESSION_COOKIE in request.cookies:
        id_token = await end_session(request)
        back = f"{str(request.base_url).rstrip('/')}{SIGN_IN}"
        address = await end_session_address(get_settings(), id_token, back)
        if address is not None:
            # A page in between: the browser holds the answer to a form to this site (form-action).
            answer = page(request, "signed_out.html", signs_out=True, address=address)
    for name in (KEY_COOKIE, SESSION_COOKIE, TENANT_COOKIE):
        answer.delete_cookie(name)
    return answer
