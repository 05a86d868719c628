"""`python -m tests.hostile.walls`: a reader that its file has taken over against the walls of this machine.

Both ways in which a runner starts (afresh, forked from the nursery), as root and as an ordinary user where
this is root. Prints what went through, and last `WALLS tried=N held=N`; exit code 1 if not all held.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hostile.compromised import OUTCOME
from worker.child import NurseryHandle
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.sandbox import NOBODY

ROOT = Path(__file__).resolve().parents[2]
ORDINARY = 64123
"""A user id that nobody has."""
STARTS = ("afresh", "forked")
SECRET, PRIVATE = b"what the service keeps", b"another file of the job"
PATIENCE_SECONDS = 60.0


def main() -> int:
    """All of it, or with arguments one start in this process."""
    if len(sys.argv) > 1:
        print(json.dumps(tried(sys.argv[1], Path(sys.argv[2]))))
        return 0
    outcomes: dict[str, str] = {}
    for who, interpreter in users():
        for start in STARTS:
            outcomes |= {
                f"{start}, {who}: {what}": came for what, came in one(who, interpreter, start).items()
            }
    through = {what: came for what, came in outcomes.items() if came != "held"}
    for what, came in through.items():
        print(f"{what}: {came}")
    print(f"WALLS tried={len(outcomes)} held={len(outcomes) - len(through)}")
    return 1 if through else 0


def users() -> Iterator[tuple[str, Path]]:
    """Who starts runners, each with an interpreter that it can read."""
    if os.geteuid() != 0:
        yield "ordinary user", Path(sys.executable)
        return
    yield "root", Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        found = readable_interpreter(Path(folder))
        if found is None:
            print("no interpreter that an ordinary user can read: tried as root alone", file=sys.stderr)
        else:
            yield "ordinary user", found


def _all_can_read(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def readable_interpreter(folder: Path) -> Path | None:
    """An environment in `folder` with this one's packages, of an interpreter that everybody can read."""
    import torch

    packages = Path(torch.__file__).resolve().parents[1]
    names = (Path(sys.executable).resolve(), Path(f"/usr/bin/python3.{sys.version_info.minor}"))
    found = [path for path in names if path.exists() and _all_can_read(path)]
    if not found or not _all_can_read(packages) or not _all_can_read(ROOT):
        return None
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(found[0])
    (folder / "pyvenv.cfg").write_text(f"home = {found[0].parent}\n")
    library = folder / "lib" / f"python3.{sys.version_info.minor}"
    library.mkdir(parents=True)
    (library / "site-packages").symlink_to(packages)
    return folder / "bin" / "python"


def one(who: str, interpreter: Path, start: str) -> dict[str, str]:
    """What came of each attempt of one reader."""
    user = ORDINARY if who != "root" and os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        if user is not None:
            os.chown(folder, user, user)
        ran = subprocess.run(
            [interpreter, "-m", "tests.hostile.walls", start, folder],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
            check=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    return dict(json.loads(ran.stdout))


@contextmanager
def _hostile_runner(start: str, folder: Path) -> Iterator[RunnerProcess]:
    module = ("-m", "tests.hostile.compromised")
    if start == "afresh":
        RunnerProcess.program = (*module, "runner")
    else:
        NurseryHandle.program = (*module, "nursery")
    runner = RunnerProcess(folder, 1, log=2, mode="inspect", warm=start == "forked")
    try:
        yield runner
    finally:
        runner.close()


def tried(start: str, place: Path) -> dict[str, str]:
    """Let one lose in `place`; what it says came of its attempts, and what is seen from outside."""
    outside, job = place / "outside", place / "job"
    outside.mkdir()
    job.mkdir(mode=0o700)
    secret, private, marker = outside / "secret", job / "checkpoint.bin", place / "marker"
    secret.write_bytes(SECRET)
    secret.chmod(0o666)
    outside.chmod(0o777)
    private.write_bytes(PRIVATE)
    teacher = job / "teacher.bin"
    told = json.dumps({"secret": str(secret), "private": str(private), "marker": str(marker)}).encode()
    teacher.write_bytes(told)
    _, *before = _state(secret)
    with _hostile_runner(start, job) as runner:
        runner.send("start", {"mode": "inspect", "spec": {}, "teacher_path": str(teacher), "threads": 1})
        said = _all_said(runner)
    made = job / "reading" / OUTCOME
    seen = {
        "secret": _state(secret) == (SECRET, *before),
        "nothing new outside": sorted(os.listdir(outside)) == ["secret"],
        "nothing new in the job's folder": sorted(os.listdir(job))
        == ["checkpoint.bin", "reading", "teacher.bin"],
        "private file": _state(private)[:1] == (PRIVATE,),
        "file that is read": _state(teacher)[:1] == (told,),
        "another user": made.stat().st_uid == (NOBODY if os.geteuid() == 0 else os.geteuid()),
        "frames": [message.type for message in said if message.type != "alive"] == ["error"],
        "what it left is refused": bool(said) and said[-1].data.get("code") == "loader_crashed",
        "planted modules": not _planted_module_runs(job / "reading", marker),
    }
    inside = json.loads(made.read_text() or "{}")
    return {
        **inside,
        **{f"{what}, seen from outside": "held" if held else "no" for what, held in seen.items()},
    }


def _state(path: Path) -> tuple[bytes, int, int]:
    """Content, mode and time of the last change of a file; of one that is gone, nothing."""
    if not path.exists():
        return b"", 0, 0
    return path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns


def _all_said(runner: RunnerProcess) -> list[Message]:
    said = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            message = runner.receive(1)
        except TimeoutError:
            continue
        if message is None:
            break
        said.append(message)
    return said


def _planted_module_runs(folder: Path, marker: Path) -> bool:
    """Whether a runner that starts in a folder with modules of the reader's runs one of them."""
    RunnerProcess.program = ("-m", "worker.runner")
    runner = RunnerProcess(folder, 1, log=2, mode="inspect")
    try:
        runner.send("start", {"mode": "inspect", "spec": {}, "teacher_path": str(folder / OUTCOME)})
        _all_said(runner)
    finally:
        runner.close()
    return marker.exists()


if __name__ == "__main__":
    sys.exit(main())
