"""Who asks: by a key, by an access token of the sign-in provider, or by the page's session of a person.

What opens nothing is counted by the address that it comes from, whatever it is: see
`app.access.keys.wrong_keys`.
"""

from __future__ import annotations

import asyncio
import logging
import math

import anyio
from starlette.concurrency import run_in_threadpool

from app.access.keys import service as keys
from app.access.keys.principal import Principal
from app.access.keys.wrong_keys import wrong_keys
from app.access.people import sessions, tokens
from app.http.reading import run_look_up
from app.platform.client_address import source_of
from app.platform.errors import ServiceError
from app.platform.settings import Settings

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Before the refusal of one too many: it costs the server less than to refuse as fast as it can."""
SESSION_SCHEME = "Session\n"
"""In place of `Bearer`: what follows is of the page's cookie for people. No header has a line's end in it."""


async def principal_from(address: str | None, authorization: str, settings: Settings) -> Principal:
    """Who comes from the address with this Authorization header.

    Raises ServiceError 401 for what is missing or wrong, 429 for a wrong one too many, and for people 403
    `no_role` and 503 where the provider is needed and away.
    """
    known = keys.recent.find(authorization)
    if known is not None:
        return known
    source = source_of(address)
    wait = wrong_keys.wait_seconds(source) if authorization else 0.0
    if not wait:
        try:
            return await _looked_up(source, authorization, settings)
        except ServiceError as error:
            if authorization and error.status == 401:
                count_wrong(source)
            raise
    if _may_open(authorization, settings):
        try:
            return await _looked_up(source, authorization, settings)
        except ServiceError as error:
            if error.status != 401:
                raise
    raise await too_many(wait)


def count_wrong(source: str) -> None:
    """One more that opened nothing; the last that the address had free is logged."""
    if wrong_keys.add(source):
        logger.warning("many wrong keys came from %s", source)


async def too_many(wait: float) -> ServiceError:
    """The refusal of one too many, after a pause; `wait`: seconds until another one is free."""
    await anyio.sleep(PAUSE_SECONDS)
    text = "Too many wrong keys came from that address; the right one opens at any time."
    headers = {"Retry-After": str(math.ceil(wait))}
    return ServiceError(429, "too_many_wrong_keys", text, headers=headers)


def _may_open(authorization: str, settings: Settings) -> bool:
    """Whether it is worth looking it up: it has the form of something that opens the service."""
    kind, text = _kind(authorization, settings)
    return (
        sessions.has_form(text)
        if kind == "session"
        else kind == "token" or keys.may_open(authorization, settings)
    )


def _kind(authorization: str, settings: Settings) -> tuple[str, str]:
    """What it is that somebody came with: `key`, `token` or `session`, and its text."""
    scheme, _, text = authorization.partition(" ")
    if scheme == SESSION_SCHEME:
        return "session", text
    text = text.strip()
    if keys.may_open(authorization, settings):
        return "key", text
    takes_tokens = settings.oidc_issuer is not None and settings.oidc_audience is not None
    if takes_tokens and scheme.lower() == "bearer" and tokens.has_form(text):
        return "token", text
    return "key", text


_looking: dict[tuple[asyncio.AbstractEventLoop, str, str], asyncio.Task[Principal]] = {}


async def _looked_up(source: str, authorization: str, settings: Settings) -> Principal:
    """Whose it is, looked up once for all who come with it at the same moment."""
    which = (asyncio.get_running_loop(), source, authorization)
    task = _looking.get(which)
    if task is None:
        task = asyncio.create_task(_look_up(source, authorization, settings))
        _looking[which] = task
        task.add_done_callback(lambda done: (_looking.pop(which), done.cancelled() or done.exception()))
    return await asyncio.shield(task)  # whoever goes away leaves it to the others


async def _look_up(source: str, authorization: str, settings: Settings) -> Principal:
    kind, text = _kind(authorization, settings)
    if kind == "key":
        principal, unnoted = await run_look_up(source, keys.look_up, authorization, settings)
        if unnoted:
            await run_in_threadpool(keys.note_use, principal)
        return principal
    if kind == "token":
        principal = await tokens.principal_of_token(text, source, settings)
    else:
        principal = await run_look_up(source, sessions.principal_of_session, text, settings)
    keys.recent.add(authorization, principal)
    return principal
