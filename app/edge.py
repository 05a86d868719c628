"""The outermost layer: request ids, the key, and the size of bodies, before anything is read.

FastAPI reads a whole multipart body before a dependency can refuse it, so key and size are looked at
here, in plain ASGI. Sizes are counted while the body streams in; a header is not trusted.
"""

from __future__ import annotations

import hmac

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.errors import ServiceError
from app.ids import new_id
from app.problems import problem_response

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
LOCAL_TENANT = "local"
MAX_LENGTH_DIGITS = 18


class Edge:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse early, or pass on with `request_id` and `tenant_id` in the state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        headers = Headers(scope=scope)
        scope.setdefault("state", {}).update(request_id=request_id, tenant_id=LOCAL_TENANT)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        limit = self._limit(headers)
        refusal = self._refuse(scope["path"], headers, limit)
        if refusal is not None:
            await problem_response(refusal, request_id)(scope, receive, send_with_id)
            return
        await self._app(scope, self._counted(receive, limit), send_with_id)

    def _counted(self, receive: Receive, limit: int) -> Receive:
        """`receive` that refuses a body that grows too large or stops arriving."""
        counted, whole = 0, False
        patience = self._settings.upload_stall_seconds

        async def receive_counted() -> Message:
            nonlocal counted, whole
            if whole:  # what comes now is the end of the connection, whenever that is
                return await receive()
            try:
                with anyio.fail_after(patience):
                    message = await receive()
            except TimeoutError:
                text = f"Nothing of the body arrived for {patience:g} s."
                raise ServiceError(408, "upload_stalled", text, headers={"Connection": "close"}) from None
            whole = not message.get("more_body", False)
            counted += len(message.get("body", b""))
            if counted > limit:
                raise _too_large(limit)
            return message

        return receive_counted

    def _limit(self, headers: Headers) -> int:
        settings = self._settings
        upload = headers.get("content-type", "").lower().startswith("multipart/form-data")
        return settings.max_json_bytes + (settings.max_upload_bytes if upload else 0)

    def _refuse(self, path: str, headers: Headers, limit: int) -> ServiceError | None:
        key = self._settings.api_key
        if key is not None and path not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode(), key.get_secret_value().encode())
            if scheme.lower() != "bearer" or not same:
                challenge = {"WWW-Authenticate": "Bearer"}
                return ServiceError(401, "unauthorized", "A valid API key is needed.", headers=challenge)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit():
            digits = length.lstrip("0") or "0"
            if len(digits) > MAX_LENGTH_DIGITS or int(digits) > limit:
                return _too_large(limit)
        return None


def _too_large(limit: int) -> ServiceError:
    return ServiceError(413, "payload_too_large", f"The body is larger than {limit} bytes.")
