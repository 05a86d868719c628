"""Templates, and the headers of every page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import ChainableUndefined, Environment, PackageLoader, select_autoescape
from sqlalchemy.exc import SQLAlchemyError

from app.access.keys.acting import KEY_COOKIE, SESSION_COOKIE
from app.access.keys.principal import Principal
from app.access.keys.tenants import tenant_names
from app.models.tenancy import ALL_TENANTS
from app.platform.db import read_scope
from app.web import told_cookie, words

STATIC = Path(__file__).with_name("static")
# wasm: SHA-256 of large files. Styles of elements: curves place their legends so.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "style-src-attr 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@cache
def environment() -> Environment:
    """The process's templates."""
    found = Environment(
        loader=PackageLoader("app.web"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        # A job that ended early has but a part of a result.
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {one.__name__: one for one in words.FILTERS} | {"mark": mark}
    found.globals |= {"static": static, "icon": icon}
    return found


@cache
def static(name: str) -> str:
    """The address of a file under `static`, another one once its content changes."""
    mark = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:8]
    return f"/static/{name}?{mark}"


def page(request: Request, template: str, *, http_status: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer; one that is a whole page also says what the last button did."""
    principal = getattr(request.state, "principal", None)
    values["closed"] = bool({KEY_COOKIE, SESSION_COOKIE} & request.cookies.keys())
    values["signed_in"] = signed_in = principal if principal is not None and principal.name else None
    values["look_only"] = "" if principal is None else _look_only(principal)
    values["may_write"] = not values["look_only"]
    values["all_tenants"] = principal is not None and principal.sees_all
    if signed_in is not None and not template.startswith("_"):
        values["tenants"] = _tenants(signed_in)
    told = None if template.startswith("_") else request.cookies.get(told_cookie.NAME)
    values["told"] = told_cookie.read(told)
    content = environment().get_template(template).render(request=request, **values)
    answer = HTMLResponse(content, http_status, headers=HEADERS)
    if told is not None:
        answer.delete_cookie(told_cookie.NAME)
    return answer


def _look_only(principal: Principal) -> str:
    """Why nothing can be changed; empty where it can."""
    if principal.sees_all:
        return "All tenants are shown: to change something, choose one of them at the top of the page."
    if principal.may("write"):
        return ""
    who = "This key" if principal.person is None else "Your role"
    return f"{who} may look, and change nothing."


def _tenants(principal: Principal) -> list[tuple[str, str]]:
    """What they may choose to look at, with its title; nothing where there is no choice.

    For the operator, if the database is away, the chosen one alone.
    """
    if not principal.operator:
        return [(name, name) for name, _ in principal.roles] if len(principal.roles) > 1 else []
    names = {principal.tenant_id} - {ALL_TENANTS}
    try:
        with read_scope() as session:
            names.update(tenant_names(session))
    except SQLAlchemyError:
        pass
    return [(ALL_TENANTS, "All tenants"), *((name, name) for name in sorted(names))]


def mark(text: str) -> str:
    """A part's content in short: what has not changed is not drawn again."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


COLOURS = {"succeeded": "#1a7f42", "failed": "#c0172b", "cancelled": "#6b7280", "paused": "#9a6700"}


def icon(state: str | None = None) -> str:
    """The page's icon, in the colour of a job's state; a picture in an address."""
    colour = COLOURS.get(state or "", "#0b57a4")
    inner = "" if state in COLOURS else "<circle cx='8' cy='8' r='3' fill='#fff'/>"
    outer = f"<circle cx='8' cy='8' r='7' fill='{colour}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{outer}{inner}</svg>"
    return "data:image/svg+xml," + quote(svg)
