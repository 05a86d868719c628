"""Guards: whoever watches a job over connections that are cut sees every event, in order, once."""

from __future__ import annotations

import pytest

from benchmarks import sse_watchers
from benchmarks.event_streams import Frames, Watcher


@pytest.mark.timeout(170)
@pytest.mark.parametrize(
    ("database", "processes"),
    [("sqlite", "1"), pytest.param("postgresql", "2", marks=pytest.mark.services)],
)
def test_no_gap_and_no_double(
    database: str, processes: str, home: object, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--watchers", "20", "--seconds", "3", "--no-record"]
    code = sse_watchers.main([*few, "--database", database, "--processes", processes])
    told = dict(part.split("=") for part in capsys.readouterr().out.split()[1:])
    assert (code, told["whole"], told["gaps"], told["doubles"]) == (0, "20", "0", "0"), told
    assert int(told["cuts"]) > 20
    assert int(told["events"]) > 20


def test_what_is_not_whole_is_told() -> None:
    def seen(*numbers: int) -> Watcher:
        return Watcher("job", (0,), None, seen=list(numbers))  # type: ignore[arg-type]

    found = sse_watchers.judged([seen(1, 2, 3), seen(1, 3), seen(1, 2, 2, 3), seen(2, 1, 3)], 3)
    assert (found["whole"], found["gaps"], found["doubles"]) == (1, 1, 1)


def test_half_an_event_is_none() -> None:
    event = b"id: 7\r\nevent: progress\r\ndata: {}\r\nretry: 5\r\n\r\n"
    answer = (
        b"%x\r\n%s\r\n" % (len(event), event)
        + b"9\r\n: ping\r\n\r\n\r\n".replace(b"9", b"b", 1)
        + b"0\r\n\r\n"
    )
    for cut in range(len(answer)):
        frames = Frames()
        whole = [*frames.feed(answer[:cut])]
        assert whole == ([(7, "progress", "{}")] if cut >= len(event) + 6 else [])
        assert [*whole, *frames.feed(answer[cut:])] == [(7, "progress", "{}")]
        assert frames.ended
        assert frames.retry == 5
