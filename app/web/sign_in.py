"""Keys of people with a browser: a cookie that scripts cannot read and other sites cannot send."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.config import get_settings
from app.errors import ServiceError
from app.keys.service import authenticate
from app.web.rendering import page

router = APIRouter(include_in_schema=False)

COOKIE = "dfad_key"
KEPT_SECONDS = 12 * 3600


@router.get("/ui/sign-in")
def sign_in_page(request: Request) -> Response:
    """Ask for the key."""
    return page(request, "sign_in.html", problem=None)


@router.post("/ui/sign-in")
async def sign_in(request: Request, key: Annotated[str, Form(max_length=500)]) -> Response:
    """Keep a key that opens something."""
    try:
        await run_in_threadpool(authenticate, f"Bearer {key.strip()}", get_settings())
    except ServiceError as refusal:
        return page(request, "sign_in.html", http_status=refusal.status, problem=refusal.detail)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, key.strip(), max_age=KEPT_SECONDS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/ui/sign-out")
def sign_out() -> Response:
    """Forget the key."""
    answer = RedirectResponse("/ui/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer
