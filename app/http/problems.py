"""Every refusal as RFC 9457 `application/problem+json`. No trace, path or SQL gets through here."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from app.platform.full import is_full
from app.storage import StoreAway
from dfad_core.contract.errors import ConfigError, DfadError

logger = logging.getLogger(__name__)

CODES: Mapping[str, str] = {
    "conflict": "Another request changed the same thing at the same time; try again.",
    "deadline_too_short": "The job cannot end before its `max_runtime_seconds`; `errors` says what could.",
    "empty_file": "The teacher file has no bytes.",
    "first_key_must_be_admin": "The first key of a server must be able to manage the others.",
    "forbidden": "The key is not allowed to do that.",
    "format_unavailable": "The student is not kept in that format.",
    "idempotency_in_flight": "The first request with this key is still being answered.",
    "idempotency_mismatch": "The key was used with another payload.",
    "internal_error": "A fault of the server; the request id finds it in the log.",
    "invalid_id": "An id of that kind looks different.",
    "invalid_request": "A part of the request breaks the contract; `errors` points at it.",
    "invalid_transition": "The job cannot do that from where it is.",
    "key_closed": "The key was revoked or has expired.",
    "last_admin_key": "Without this key nobody could manage the tenant's keys.",
    "lease_lost": "What the worker has claimed is another's, or over; its work is thrown away.",
    "malformed_json": "The body is not JSON, or nested too deeply, or has too many fields, or one twice.",
    "malformed_multipart": "The multipart body cannot be read.",
    "measurement_waits": "Other labelled images of the job are being measured.",
    "memory_limit": "The job needs more memory than any worker has.",
    "method_not_allowed": "The resource does not take that method.",
    "missing_spec": "The multipart body has no `spec` part.",
    "missing_teacher": "There is neither a `teacher` part nor a `teacher_id`.",
    "no_role": "The person is known, and none of their groups has a role here.",
    "no_student": "The job ended without a student.",
    "not_found": "No such thing, or it is another tenant's.",
    "not_ready": "The job has not ended yet.",
    "payload_too_large": "The body is larger than the limit.",
    "quota_exceeded": "The tenant has, or asks, as much as it may; try again later.",
    "range_not_satisfiable": "The range lies past the end.",
    "sha256_mismatch": "The bytes are not those whose SHA-256 was named.",
    "shape_mismatch": "The input shape and an architecture do not fit.",
    "sign_in_failed": "The sign-in through the provider was not completed.",
    "sign_in_unavailable": "The sign-in provider is away, or cannot be used; keys open the service as ever.",
    "store_away": "The store of files is away; try again.",
    "stored_file_damaged": "The stored file is not what was stored.",
    "storage_full": "There is no space left on the server.",
    "teacher_deleted": "The job's teacher was deleted.",
    "teacher_in_use": "A job that has not ended needs the teacher.",
    "teacher_rejected": "The teacher was inspected and rejected.",
    "tenant_required": "One tenant has to be named: to change something, or of several that one has.",
    "too_many_wrong_keys": "Too many wrong keys came from that address; try again later.",
    "unauthorized": "The API key, or the access token, is missing or unknown.",
    "unavailable": "A part of the service is away; try again.",
    "unknown_architecture": "The architecture is not in the catalogue.",
    "unknown_field": "The body has a field that does not exist.",
    "unknown_method": "The method is not in the catalogue.",
    "unsupported_format": "The file is none of those that a teacher may be, as its first bytes tell.",
    "unsupported_media_type": "The body's content type is not accepted here.",
    "upload_incomplete": "Parts of the upload are missing; `errors` names the first.",
    "upload_stalled": "The body stopped arriving.",
    "webhook_url_refused": "No message may go to that URL.",
}
"""Stable codes of refusals. Codes of failed jobs are listed with the worker."""

MEDIA_TYPE = "application/problem+json"
MAX_PROBLEMS = 20
"""Of one body, in its answer."""
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 400: "malformed_multipart"}


class FieldProblemView(BaseModel):
    """One fault in a body."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[FieldProblemView] = []


def problem_response(error: ServiceError, request_id: str | None) -> Response:
    """The answer for one refusal."""
    body = Problem(
        type=f"urn:dfad:problem:{error.code}",
        title=CODES.get(error.code, error.code.replace("_", " ")),
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        errors=[FieldProblemView(pointer=e.pointer, detail=e.detail) for e in error.errors],
    )
    # Set here too: the last handler of all answers from outside of the layer that adds it.
    headers = {**error.headers, **({"X-Request-Id": request_id} if request_id else {})}
    return JSONResponse(body.model_dump(), error.status, headers=headers, media_type=MEDIA_TYPE)


def pointer_of(location: tuple[str | int, ...]) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def invalid_body(error: ValidationError | RequestValidationError, skip: int = 0) -> InvalidBody:
    """Pydantic's findings as one refusal; `skip` leading parts of each location are left out.

    It has no more than MAX_PROBLEMS of them, and says how many there are besides.
    """
    problems, codes = [], set()
    every = error.errors() if isinstance(error, RequestValidationError) else error.errors(include_url=False)
    for found in every[:MAX_PROBLEMS]:
        # Pydantic marks a fault of a key itself with a part that is in no document.
        location = tuple(part for part in found["loc"][skip:] if part != "[key]")
        cause = found.get("ctx", {}).get("error")
        detail = found["msg"].removeprefix("Value error, ")
        if found["type"] == "missing" and location and isinstance(location[-1], int):
            location, detail = location[:-1], "Too few items"  # a pointer needs something to point at
        if isinstance(cause, DfadError) and cause.param:
            location += tuple(cause.param.split("."))
        unknown = found["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        codes.add("unknown_field" if unknown else getattr(cause, "code", "invalid_request"))
        problems.append(FieldProblem(pointer_of(location), "No such field." if unknown else detail))
    known = [c for c in sorted(codes) if c in CODES and c != "invalid_request"]
    code = known[0] if len(codes) == 1 and known else "invalid_request"
    left_out = len(every) - len(problems)
    detail = "The request is not valid; see errors." + (f" There are {left_out} more." if left_out else "")
    return InvalidBody(detail, *problems, code=code)


def _full() -> ServiceError:
    logger.error("no space left for uploads or the database")
    return ServiceError(507, "storage_full", "There is no space left on the server.")


def database_away(error: Exception) -> ServiceError:
    """The answer while the database cannot be reached."""
    logger.error("the database is away: %s", type(error).__name__)
    return ServiceError(503, "unavailable", "The database is away.", headers={"Retry-After": "5"})


def _unexpected(request: Request, error: Exception) -> ServiceError:
    request_id = getattr(request.state, "request_id", None)
    ids = {"request_id": request_id} if request_id else {}
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error, extra=ids)
    return ServiceError(500, "internal_error", "Something went wrong on our side.")


def _allowed(request: Request) -> str:
    """Every method of the path: the router alone names those of the first route that matches."""
    found: set[str] = set()
    paths = request.app.openapi()["paths"]
    if request.url.path in paths:  # a name of its own, not somebody's id
        return ", ".join(sorted(method.upper() for method in paths[request.url.path]))
    for template, operations in paths.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), request.url.path):
            found.update(method.upper() for method in operations)
    return ", ".join(sorted(found))


Refuse = Callable[[Request, ServiceError, str | None], Response]


def _as_json(_request: Request, error: ServiceError, request_id: str | None) -> Response:
    return problem_response(error, request_id)


def install(app: FastAPI, refuse: Refuse = _as_json) -> None:
    """Register the handlers; `refuse` makes the answer for a request, its refusal and the request's id."""

    def answer(request: Request, error: ServiceError) -> Response:
        return refuse(request, error, getattr(request.state, "request_id", None))

    @app.exception_handler(ServiceError)
    def on_service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, invalid_body(error, skip=1))

    @app.exception_handler(ConfigError)
    def on_config(request: Request, error: Exception) -> Response:
        assert isinstance(error, ConfigError)
        return answer(request, InvalidBody(error.message, code="invalid_request"))

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, ServiceError):  # FastAPI's, where a form could not be read
            return answer(request, error.__cause__)
        code = _HTTP_CODES.get(error.status_code, "invalid_request")
        headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
        return answer(request, ServiceError(error.status_code, code, str(error.detail), headers=headers))

    @app.exception_handler(ClientDisconnect)
    def on_gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # nobody is there to read it, and nothing is wrong here

    @app.exception_handler(OSError)
    def on_system(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return answer(request, _full() if is_full(error) else _unexpected(request, error))

    @app.exception_handler(StoreAway)
    def on_store(request: Request, error: Exception) -> Response:
        logger.error("a store is away: %s", error)
        away = ServiceError(503, "store_away", "The store of files is away.", headers={"Retry-After": "5"})
        return answer(request, away)

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    def on_database(request: Request, error: Exception) -> Response:
        return answer(request, _full() if is_full(error) else database_away(error))

    @app.exception_handler(Exception)
    def on_anything(request: Request, error: Exception) -> Response:
        return answer(request, _unexpected(request, error))
