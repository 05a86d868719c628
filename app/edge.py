"""The outermost layer: request ids, the key, the tenant's rate, and the size of bodies.

FastAPI reads a whole multipart body before a dependency can refuse it, so all of these are looked at
here, in plain ASGI, before anything is read. Sizes are counted while the body streams in; a header is not
trusted. What may have changed something is written into the audit.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from urllib.parse import quote, urlsplit

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.audit.service import record, subject_of
from app.access.credentials import SESSION_SCHEME, principal_from
from app.access.keys.acting import KEY_COOKIE, SESSION_COOKIE, UNCHANGING, acting
from app.access.keys.principal import ANYONE, CHOICE_PATH, OPEN_PATHS, WORKER_PATH, Principal, lacks, needed
from app.access.rate_limit import RateLimit
from app.access.usage.requests import RequestCounts
from app.files.uploads.service import part_bytes_of
from app.http.problems import database_away
from app.http.reading import arrive_in_turn, start_in_turn
from app.leases.files import MOST_BYTES
from app.models.tenancy import ALL_TENANTS, acting_for, as_system
from app.platform.client_address import source_of
from app.platform.errors import InvalidBody, ServiceError
from app.platform.network_addresses import literal
from app.platform.settings import Settings
from app.telemetry.requests import Watched
from app.web.refusals import refusal as refused
from app.web.sign_in import sign_in_address

OPEN_FILES = "/static/"
FILE_PATHS = frozenset({"/teachers", "/jobs", "/jobs/validate"})
"""Those that take a file in a form; a form of any other is no larger than JSON may be."""
PART_PATHS = "/uploads/"
NO_KEY = ("unauthorized", "too_many_wrong_keys")
MAX_LENGTH_DIGITS = 18
MAX_FIELDS = 256
"""Of a form, and of a query; the page sends 100 ids at most. Each costs time before anybody looks at it."""
MIN_BYTES_PER_SECOND = 1024
"""Of a body, on average, once its patience is over: one byte now and then is no upload."""
OPEN_STALL_SECONDS = 10.0
"""For a body of who has no key."""


class Edge:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings, requests: RequestCounts) -> None:
        """`requests`: counts those that are let in with a key, or on a server that needs none."""
        self._app, self._requests = app, requests
        self._settings = settings
        self._rate = RateLimit(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse early, or pass on with `request_id`, `principal` and `tenant_id` in the state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with Watched(scope) as watched:
            await self._answer(scope, receive, send, watched)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, watched: Watched) -> None:
        request_id, headers = watched.request_id, watched.headers

        location: str | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal location
            if message["type"] == "http.response.start":
                watched.status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["X-Request-Id"], location = request_id, answered.get("location")
            await send(message)

        await arrive_in_turn(source_of(_client(scope)))
        limit = self._limit(scope["path"], headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        try:
            # Before anything else is refused: a page that says so says to whom, too.
            state["principal"] = principal = await self._principal(scope, headers)
            if not _is_open(scope["path"]):
                state["principal"] = principal = acting(principal, scope["path"], headers)
            state["tenant_id"] = principal.tenant_id
            await self._check_allowed(principal, scope["method"], scope["path"], headers)
            _check_length(headers, limit)
            _check_query(scope["query_string"])
        except ServiceError as refusal:
            if refusal.code in NO_KEY and _wants_page(scope["method"], scope["path"]):
                answer: Response = RedirectResponse(sign_in_address(_address(scope)), 303)
            else:
                answer = await _refused(scope, refusal, request_id)
            await answer(scope, receive, send_with_id)
            return
        await start_in_turn(principal.tenant_id)
        watched.belongs_to(principal.tenant_id)
        if not (_is_open(scope["path"]) or principal.sees_all or principal.is_worker):
            self._requests.add(principal.tenant_id)
        with _rows_of(principal):
            try:
                await self._app(scope, self._counted(receive, limit, scope), send_with_id)
            finally:
                if _is_audited(scope) and not principal.is_worker:
                    with anyio.CancelScope(shield=True):
                        await run_in_threadpool(_record, scope, principal, watched, location)

    async def _principal(self, scope: Scope, headers: Headers) -> Principal:
        """Who asks. Raises ServiceError for a key that is missing or unknown, or for another site's page."""
        _check_site(scope["method"], headers)
        if _is_open(scope["path"]):
            return ANYONE
        given = headers.get("authorization") or _from_cookie(headers)
        try:
            return await principal_from(_client(scope), given, self._settings)
        except SQLAlchemyError as error:
            raise database_away(error) from error

    async def _check_allowed(self, principal: Principal, method: str, path: str, headers: Headers) -> None:
        """Raise ServiceError for what the key may not do, and for a tenant that asks too often."""
        if _is_open(path):
            return
        if principal.anonymous:  # nobody has a key
            _check_host(headers)
        scope = needed(method, path)
        if not principal.may(scope):
            raise ServiceError(403, "forbidden", lacks(principal, scope))
        if not principal.is_worker:  # no tenant's requests, and heartbeats among them
            await self._rate.hit(principal.tenant_id)

    def _counted(self, receive: Receive, limit: int, scope: Scope) -> Receive:
        """`receive` that refuses a body that grows too large, has too many fields or stops arriving."""
        counted, fields, waited, whole = 0, 0, 0.0, False
        patience, is_form = self._settings.upload_stall_seconds, _is_form(Headers(scope=scope))
        if _is_open(scope["path"]):
            patience = min(patience, OPEN_STALL_SECONDS)

        async def receive_counted() -> Message:
            nonlocal counted, fields, waited, whole
            if whole:  # what comes now is the end of the connection, whenever that is
                return await receive()
            left = patience + counted / MIN_BYTES_PER_SECOND - waited
            begun = time.monotonic()
            try:
                with anyio.fail_after(min(patience, left)):
                    message = await receive()
            except TimeoutError:
                raise _stalled(patience) from None
            waited += time.monotonic() - begun
            body = message.get("body", b"")
            whole = not message.get("more_body", False)
            counted += len(body)
            if counted > limit:
                raise _too_large(limit)
            fields += body.count(b"&") if is_form else 0
            if fields >= MAX_FIELDS:
                raise ServiceError(413, "payload_too_large", f"The form has more than {MAX_FIELDS} fields.")
            return message

        return receive_counted

    def _limit(self, path: str, headers: Headers) -> int:
        settings = self._settings
        kind = _kind(headers)
        # Elsewhere a framework would keep such a body on the disk before anybody looks at it: at the sign-in
        # for whoever has no key at all.
        if kind.startswith("multipart/form-data") and path.rstrip("/") in FILE_PATHS:
            return settings.max_json_bytes + settings.max_upload_bytes
        if kind.startswith("application/octet-stream") and path.startswith(PART_PATHS):
            return max(part_bytes_of(settings.max_upload_bytes), settings.max_json_bytes)
        if kind.startswith("application/octet-stream") and path.startswith(f"{WORKER_PATH}/"):
            return MOST_BYTES
        return settings.max_json_bytes


def _rows_of(principal: Principal) -> AbstractContextManager[None]:
    """For the block the rows exist that the principal may see; a worker of all tenants changes them, too."""
    if principal.is_worker and principal.tenant_id == ALL_TENANTS:
        return as_system()
    return acting_for(principal.tenant_id)


def _client(scope: Scope) -> str | None:
    """The address that the request came by, as the connection or a trusted proxy says."""
    address: str | None = (scope.get("client") or (None,))[0]
    return address


def _from_cookie(headers: Headers) -> str:
    """What a browser keeps: a person's session, or a key (see `app.web.sign_in`)."""
    cookies = cookie_parser(headers.get("cookie", ""))
    session, key = cookies.get(SESSION_COOKIE), cookies.get(KEY_COOKIE)
    return f"{SESSION_SCHEME} {session}" if session else f"Bearer {key}" if key else ""


def _check_site(method: str, headers: Headers) -> None:
    """Raise ServiceError where a page of another site makes somebody's browser change something."""
    if method in UNCHANGING:
        return
    origin = headers.get("origin")
    elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    if elsewhere or (origin is not None and _place(origin) != headers.get("host")):
        raise ServiceError(403, "forbidden", "Pages of other sites may not do that.")


def _check_host(headers: Headers) -> None:
    """Raise ServiceError where a server without keys is asked by a name that is not this machine's.

    Whoever owns a name can let it lead here once their page is open: to the browser the server is then a part
    of that page. Nobody owns addresses, `localhost`, or names without a dot.
    """
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        name = "no.name"
    named = "." in name and literal(name) is None
    if named and not name.endswith(".localhost"):
        text = "Without a key the server answers to localhost and addresses alone: set DFAD_API_KEY."
        raise ServiceError(403, "forbidden", text)


def _place(origin: str) -> str:
    """Host and port of an origin; nothing for what is none, which anybody may send."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_open(path: str) -> bool:
    """Whether no key is needed."""
    return path in OPEN_PATHS or path.startswith(OPEN_FILES)


def _is_audited(scope: Scope) -> bool:
    """Whether the request may have changed something.

    Paths that need no key change nothing, and anybody could fill the audit through them; nor does the choice
    of what to look at.
    """
    path = scope["path"]
    return scope["method"] not in UNCHANGING and not _is_open(path) and path != CHOICE_PATH


def _record(scope: Scope, principal: Principal, watched: Watched, location: str | None) -> None:
    """Write it into the audit: a line for each of several things that the handler says it changed."""
    path, subjects = scope["path"], [None]
    if 0 < watched.status < 400:
        subjects = scope["state"].get("subject_ids") or [subject_of(path, location)]
    action = f"{scope['method']} {path}"
    about = (action, watched.status, watched.request_id, _client(scope))
    record(principal, *about, subject_ids=subjects)


async def _refused(scope: Scope, refusal: ServiceError, request_id: str) -> Response:
    """The answer for who is refused here."""
    principal: Principal | None = scope["state"].get("principal")
    if principal is not None and principal.operator and principal.name:
        # Their page lists the tenants, which is a look into the database.
        return await run_in_threadpool(refused, Request(scope), refusal, request_id)
    return refused(Request(scope), refusal, request_id)


def _address(scope: Scope) -> str:
    """Path and query of a request, as a browser asked for them."""
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"]) + (f"?{query}" if query else "")


def _wants_page(method: str, path: str) -> bool:
    return method == "GET" and (path == "/" or path.startswith("/ui/"))


def _check_length(headers: Headers, limit: int) -> None:
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit():
        digits = length.lstrip("0") or "0"
        if len(digits) > MAX_LENGTH_DIGITS or int(digits) > limit:
            raise _too_large(limit)


def _check_query(query: bytes) -> None:
    if query.count(b"&") >= MAX_FIELDS:
        raise InvalidBody(f"The query has more than {MAX_FIELDS} parameters.")


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").lower()


def _is_form(headers: Headers) -> bool:
    """Whether fields of the body follow each other by `&`."""
    return _kind(headers).startswith("application/x-www-form-urlencoded")


def _stalled(patience: float) -> ServiceError:
    text = (
        f"Nothing of the body arrived for {patience:g} s, or less than {MIN_BYTES_PER_SECOND} bytes a second."
    )
    return ServiceError(408, "upload_stalled", text, headers={"Connection": "close"})


def _too_large(limit: int) -> ServiceError:
    return ServiceError(413, "payload_too_large", f"The body is larger than {limit} bytes.")
