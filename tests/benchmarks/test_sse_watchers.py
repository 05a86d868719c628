"""Guards: whoever watches a job over connections that are cut sees every event, in order, once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sse_watchers
from benchmarks.service.event_streams import Frames, Watcher

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(170)
def test_no_gap_and_no_double() -> None:
    command = [sys.executable, "-m", "benchmarks.sse_watchers", "--no-record", "--processes", "2"]
    command += ["--watchers", "20", "--seconds", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    told = dict(re.findall(r"(\w+)=([\d.]+)", done.stdout))
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert (told["whole"], told["gaps"], told["doubles"]) == ("20", "0", "0")
    assert int(told["cuts"]) > 20
    assert int(told["events"]) > 20


def test_what_is_not_whole_is_told() -> None:
    def seen(*numbers: int) -> Watcher:
        return Watcher("job", (0,), None, seen=list(numbers))  # type: ignore[arg-type]

    found = sse_watchers.judged([seen(1, 2, 3), seen(1, 3), seen(1, 2, 2, 3), seen(2, 1, 3)], 3)
    assert (found["whole"], found["gaps"], found["doubles"]) == (1, 1, 1)


def test_half_an_event_is_none() -> None:
    event = b"id: 7\r\nevent: progress\r\ndata: {}\r\nretry: 5\r\n\r\n"
    answer = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (event, b": ping\r\n\r\n", b""))
    for cut in range(len(answer)):
        frames = Frames()
        whole = [*frames.feed(answer[:cut])]
        assert whole in ([], [(7, "progress", "{}")])
        assert not whole or cut >= len(event)
        assert [*whole, *frames.feed(answer[cut:])] == [(7, "progress", "{}")]
        assert frames.ended
        assert frames.retry == 5
