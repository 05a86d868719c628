"""Refusals for people: a page where a browser asked for one, problem+json for everybody else."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from app.http.problems import problem_response
from app.platform.errors import ServiceError
from app.web.rendering import page
from app.web.sign_in import sign_in_address

TITLES = {
    401: "A key is needed",
    403: "That is not allowed",
    404: "There is no such page",
    409: "That was not done",
    422: "That cannot be used",
    429: "That is more than the quota allows",
    500: "Something went wrong",
    503: "A part of the service is away",
}


def refusal(request: Request, error: ServiceError, request_id: str | None) -> Response:
    """The answer for one refusal."""
    if not _reads_pages(request):
        return problem_response(error, request_id)
    title = TITLES.get(error.status, "That was not done")
    values = {"title": title, "problem": error, "request_id": request_id}
    values["sign_in"] = sign_in_address(_page_before(request))
    answer = page(request, "problem.html", http_status=error.status, **values)
    answer.headers.update({**error.headers, **({"X-Request-Id": request_id} if request_id else {})})
    return answer


def _page_before(request: Request) -> str:
    """Address of the page whose button was pressed; empty where it is another site's or not known."""
    site, referer = str(request.base_url), request.headers.get("referer", "")
    return "/" + referer.removeprefix(site) if referer.startswith(site) else ""


def _reads_pages(request: Request) -> bool:
    """Whether somebody looks at a page's address, or at one that does not exist, with a browser."""
    if "text/html" not in request.headers.get("accept", "") or "hx-request" in request.headers:
        return False
    path = request.url.path
    return path in {"/", "/ui"} or path.startswith("/ui/") or request.scope.get("route") is None
