"""Templates, their filters, and the headers of every page."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import ChainableUndefined, Environment, PackageLoader, Undefined, select_autoescape

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
    found.filters |= {
        "count": count,
        "size": size,
        "seconds": seconds,
        "share": share,
        "when": when,
        "fidelity": fidelity,
    }
    found.globals["static"] = static
    return found


@cache
def static(name: str) -> str:
    """The address of a file under `static`, another one once its content changes."""
    mark = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:8]
    return f"/static/{name}?{mark}"


def page(request: Request, template: str, *, http_status: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    values["closed"] = request.cookies.get("dfad_key") is not None
    content = environment().get_template(template).render(request=request, **values)
    return HTMLResponse(content, http_status, headers=HEADERS)


def count(number: Any) -> str:
    """1234567 as 1,234,567."""
    return "–" if _none(number) else f"{number:,.0f}"


def _none(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


def size(number: Any) -> str:
    """Bytes with a unit."""
    if _none(number):
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"


def seconds(number: Any) -> str:
    """As h, min and s."""
    if _none(number):
        return "–"
    whole = round(number)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def share(number: Any) -> str:
    """A share of 1 in per cent."""
    return "–" if _none(number) else f"{100 * number:.1f} %"


def when(moment: datetime | None) -> str:
    """UTC, to the second."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def fidelity(result: dict[str, Any] | None) -> str:
    """How often the student gives the teacher's answer, on the inputs for which that was shown to tell."""
    found = (result or {}).get("fidelity") or {}
    shown = (result or {}).get("fidelity_proof") or found
    told = [
        f"{share(value)} of {name.removeprefix('agreement_').replace('_', ' ')} inputs"
        for name, value in found.items()
        if name.startswith("agreement_") and name in shown and value is not None
    ]
    return ", ".join(told) or "–"
