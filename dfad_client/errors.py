"""What the client raises."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx2


class DfadClientError(Exception):
    """Base of everything that the client raises on purpose; its text is one line for people."""


@dataclass(frozen=True)
class FieldProblem:
    """One fault in a request: a JSON Pointer and what is wrong there."""

    pointer: str
    detail: str


class ApiError(DfadClientError):
    """The server answered and refused (RFC 9457 problem details).

    `code` is stable and meant for programs, `detail` for people, `errors` names the places in the
    body, `request_id` finds the call in the server's log.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: tuple[FieldProblem, ...] = (),
        request_id: str | None = None,
    ) -> None:
        places = "; ".join(f"{e.pointer or '/'}: {e.detail}" for e in errors)
        super().__init__(f"{detail} ({places})" if places else detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.request_id = request_id


class ConnectionFailed(DfadClientError):
    """No answer from the server, after all retries."""


class UnusableEnvironment(ConnectionFailed):
    """A variable on the way to the server, such as HTTPS_PROXY or SSL_CERT_FILE, cannot be used."""


class DownloadCorrupt(DfadClientError):
    """What arrived is not what the server announced; nothing was written."""


def problem_of(response: httpx2.Response) -> ApiError:
    """The error in a response whose body has been read. Also copes with answers of proxies."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        body = {}
    problems = tuple(
        FieldProblem(str(item.get("pointer", "")), str(item.get("detail", "")))
        for item in body.get("errors") or ()
        if isinstance(item, dict)
    )
    reason = response.reason_phrase or "refused"
    detail = (
        body.get("detail") or body.get("title") or f"The server answered {response.status_code} {reason}."
    )
    request_id = body.get("request_id") or response.headers.get("x-request-id")
    code = str(body.get("code") or f"http_{response.status_code}")
    return ApiError(response.status_code, code, str(detail), problems, request_id)
