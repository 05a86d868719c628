"""Signing in through the provider: there and back, and a session for whoever it says it is.

While somebody is at the provider the browser keeps a cookie that comes along when it is sent back here, which
is from another site (`SameSite=Lax`); it opens nothing. The session's cookie does not come along then, so a
page in between leads on.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.access.credentials import count_wrong, too_many
from app.access.keys.acting import KEY_COOKIE, SESSION_COOKIE, TENANT_COOKIE
from app.access.keys.wrong_keys import wrong_keys
from app.access.people.flow import Flow, begin, finish
from app.access.people.person import Person, principal_of
from app.access.people.sessions import open_session
from app.http.problems import database_away
from app.platform.client_address import source_of
from app.platform.errors import ServiceError
from app.platform.settings import get_settings
from app.web.rendering import page
from app.web.sign_in import (
    SIGN_IN,
    end_session,
    record_failure,
    record_sign_in,
    return_address,
    set_cookie,
    sign_in_form,
)

router = APIRouter(include_in_schema=False)

START, BACK = f"{SIGN_IN}/provider", f"{SIGN_IN}/callback"
FLOW_COOKIE = "dfad_flow"
FLOW_SECONDS = 600


def _redirect_uri(request: Request) -> str:
    """Where the provider sends people back to; it knows the address beforehand, and refuses others."""
    return f"{str(request.base_url).rstrip('/')}{BACK}"


@router.get(START)
async def go_to_provider(request: Request) -> Response:
    """Send the browser to the provider."""
    next_page = return_address(request.query_params.get("next", ""))
    anew = request.query_params.get("anew") == "1"
    try:
        address, flow = await begin(get_settings(), _redirect_uri(request), next_page, anew=anew)
    except ServiceError as refusal:
        if refusal.status == 404:
            raise
        return sign_in_form(request, next_page, refusal, of_provider=True, anew=anew)
    answer = RedirectResponse(address, 303)
    answer.headers["Cache-Control"] = "no-store"
    answer.set_cookie(
        FLOW_COOKIE, flow.cookie(), max_age=FLOW_SECONDS, path=SIGN_IN, httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.get(BACK)
async def come_back(request: Request) -> Response:
    """Open a session for whoever the provider says it is, and go on to the page that was wanted."""
    flow = Flow.read(request.cookies.get(FLOW_COOKIE, ""))
    next_page = return_address(flow.next_page if flow is not None else "")
    source, person = source_of(request.client.host if request.client else None), None
    try:
        settings, query = get_settings(), dict(request.query_params)
        if wait := wrong_keys.wait_seconds(source):
            refusal = await too_many(wait)
            if flow is None or not flow.began(query.get("state", "")):
                raise refusal  # who began here themselves may share the address with somebody who guesses
        person, id_token = await finish(settings, _redirect_uri(request), query, flow)
        answer = await _signed_in(request, person, id_token, next_page)
    except (ServiceError, SQLAlchemyError) as error:
        refusal = error if isinstance(error, ServiceError) else database_away(error)
        if refusal.status == 404:
            raise refusal from None
        if refusal.status == 401:
            count_wrong(source)
        await record_failure(request, f"GET {BACK}", refusal, person.subject if person else None)
        answer = sign_in_form(request, next_page, refusal, of_provider=True, anew=person is not None)
    answer.delete_cookie(FLOW_COOKIE, path=SIGN_IN)
    return answer


async def _signed_in(request: Request, person: Person, id_token: str, next_page: str) -> Response:
    """The page that leads on. Raises ServiceError 403 for somebody without a role."""
    settings = get_settings()
    principal = principal_of(person, settings, credential="")
    await end_session(request)
    _, cookie = await run_in_threadpool(open_session, person, id_token, str(settings.oidc_issuer))
    await record_sign_in(request, f"GET {BACK}", principal, 200)
    answer = page(request, "signed_in.html", person=person, address=next_page)
    answer.headers["Referrer-Policy"] = "no-referrer"  # the address of this one has the provider's code in it
    answer.delete_cookie(KEY_COOKIE)
    answer.delete_cookie(TENANT_COOKIE)
    set_cookie(answer, request, SESSION_COOKIE, cookie)
    return answer
