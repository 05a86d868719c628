"""Downloads: verified, resumed, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client import ApiError, Client, ConnectionFailed, DownloadCorrupt


class Torn(httpx2.SyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Any:
        yield self._content
        raise httpx2.RemoteProtocolError("peer closed the connection")


@pytest.fixture
def ready(server: Any, fake: Any) -> Any:
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": [fake.artifact()]}))
    return server


def test_writes_what_was_announced(client: Client, ready: Any, fake: Any, tmp_path: Path) -> None:
    ready.on("GET", "/artifacts/art_1", httpx2.Response(200, content=fake.BYTES))
    heard: list[tuple[int, int]] = []
    target = tmp_path / "new" / "student.safetensors"
    listen = lambda done, total: heard.append((done, total))  # noqa: E731
    assert client.jobs.download_student("job_1", target, on_progress=listen) == target
    assert target.read_bytes() == fake.BYTES
    assert heard[-1] == (len(fake.BYTES), len(fake.BYTES))
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("change", [lambda b: b[:-1] + b"x", lambda b: b + b"x"])
def test_damaged_bytes_leave_the_old_file_alone(
    client: Client, ready: Any, fake: Any, tmp_path: Path, change: Any
) -> None:
    target = tmp_path / "student.safetensors"
    target.write_bytes(b"old")
    ready.on("GET", "/artifacts/art_1", httpx2.Response(200, content=change(fake.BYTES)))
    with pytest.raises(DownloadCorrupt):
        client.jobs.download_student("job_1", target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_takes_up_a_torn_transfer(client: Client, ready: Any, fake: Any, tmp_path: Path) -> None:
    def rest(request: httpx2.Request) -> httpx2.Response:
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return httpx2.Response(206, content=fake.BYTES[start:])

    torn = lambda _request: httpx2.Response(200, stream=Torn(fake.BYTES[:1000]))  # noqa: E731
    ready.on("GET", "/artifacts/art_1", torn, httpx2.ConnectError("refused"), rest)
    client.jobs.download_student("job_1", tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == fake.BYTES
    assert ready.requests[-1].headers["if-range"] == f'"{fake.artifact()["sha256"]}"'


def test_begins_anew_where_the_server_knows_no_ranges(
    client: Client, ready: Any, fake: Any, tmp_path: Path
) -> None:
    torn = lambda _request: httpx2.Response(200, stream=Torn(fake.BYTES[:1000]))  # noqa: E731
    ready.on("GET", "/artifacts/art_1", torn, httpx2.Response(200, content=fake.BYTES))
    client.jobs.download_student("job_1", tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == fake.BYTES


def test_gives_up_on_a_body_that_stays_short(client: Client, ready: Any, fake: Any, tmp_path: Path) -> None:
    ready.on("GET", "/artifacts/art_1", httpx2.Response(206, content=b""))
    with pytest.raises(ConnectionFailed, match="only part"):
        client.jobs.download_student("job_1", tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_the_newest_student_of_several(client: Client, server: Any, fake: Any, tmp_path: Path) -> None:
    both = [fake.artifact(b"old", id="art_0", partial=True), fake.artifact()]
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": both}))
    server.on("GET", "/artifacts/art_1", httpx2.Response(200, content=fake.BYTES))
    client.jobs.download_student("job_1", tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == fake.BYTES


def test_the_server_says_why_there_is_no_student(
    client: Client, server: Any, fake: Any, tmp_path: Path
) -> None:
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": []}))
    server.on("GET", "/jobs/job_1/student", fake.problem(409, "not_ready", "The job has not ended yet."))
    with pytest.raises(ApiError, match="not ended"):
        client.jobs.download_student("job_1", tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
