"""Bytes of an artifact over HTTP: ranges, validators, digests; never a whole file in memory."""

from __future__ import annotations

import base64
import itertools
import re
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from app.files.artifacts import blobs
from app.models import Artifact
from app.platform.errors import ServiceError

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, end) of a single-range header; None to send everything (RFC 9110, 14.2).

    Raises ServiceError 416 when the range lies past the end. Several ranges are answered whole.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
        satisfiable = int(last) > 0 and size > 0
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
        satisfiable = start < size
    if not satisfiable:
        headers = {"Content-Range": f"bytes */{size}"}
        raise ServiceError(416, "range_not_satisfiable", f"There are {size} bytes.", headers=headers)
    return start, end


def disposition(filename: str) -> str:
    """Content-Disposition for any file name (RFC 6266, RFC 8187)."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"


def _known(if_none_match: str, tag: str) -> bool:
    """Whether the client has these bytes already (weak comparison, RFC 9110, 13.1.2)."""
    given = [t.strip().removeprefix("W/") for t in if_none_match.split(",")]
    return tag in given or given == ["*"]


def serve(request: Request, artifact: Artifact, *, begun: bool = False) -> Response:
    """The answer to a GET of the artifact's bytes.

    `begun`: the first of them are read before there is an answer, so that a store that is away or has lost
    them raises StoreAway or IntegrityError here, and not only breaks the connection.
    """
    tag = f'"{artifact.sha256}"'
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": disposition(artifact.filename),
        "X-Content-Type-Options": "nosniff",
        # A report is opened in a browser: let nothing in it act.
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    }
    if artifact.partial:
        headers["DFAD-Partial"] = "true"
    if _known(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    header = request.headers.get("range")
    if request.headers.get("if-range", tag) != tag:
        header = None
    part = wanted_range(header, artifact.bytes)
    start, end = part or (0, artifact.bytes)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.bytes}"
    body = blobs.read(artifact, start, end)
    if begun:
        body = itertools.chain([next(body, b"")], body)
    status = 206 if part is not None else 200
    return StreamingResponse(body, status, headers=headers, media_type=artifact.media_type)
