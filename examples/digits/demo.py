"""The whole way, on real data: `python -m examples.digits.demo` (or `make demo`).

Starts the service on this machine, sends it the digits teacher over HTTP, watches the distillation,
fetches the student, and only then looks at real digits: to score both networks. The service never
sees one. Writes demo/samples.png and demo/report.html; exits non-zero unless the student reaches
97 % of the teacher's accuracy.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dfad_client import Client, DfadClientError, Job
from dfad_client.local.service_processes import dies_with_parent
from dfad_client.terminal.display import duration, verdict
from dfad_client.terminal.watch import Watch

TEACHER = Path(__file__).parent / "teacher.safetensors"
OUT = Path("demo")
SPEC = {
    "student": {"architecture": "cnn8", "args": {"width": 9}},
    "budget": {"steps": 1500},
    # What networks this small gain by: small batches buy more steps, a narrow generator is enough for 8x8,
    # and a second thread would only wait for the first. Chosen by how the student follows its teacher on
    # distorted digits of the part that the teacher was trained on.
    "training": {
        "batch_size": 48,
        "generator_width": 16,
        "student_learning_rate": 0.004,
        "pool_batches": 20,
        "threads": 1,
    },
    "seed": 0,
}
SMALLEST_COMPRESSION = 4.0
SMALLEST_SHARE = 0.97
STOP_SECONDS = 60.0
PICTURE_SCALE = 6


class DemoFailed(Exception):
    """Why the demo did not reach its end, in a sentence."""


@contextmanager
def service(home: Path) -> Iterator[str]:
    """`dfad up` on a free port with its data in `home`; gives the address, and stops it afterwards."""
    # Settings of another installation (a key, a database) must not reach this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("DFAD_")}
    root = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "dfad_client", "up", "--port", "0", "--home", str(home), "--json"]
    process = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=dies_with_parent(signal.SIGTERM),  # noqa: PLW1509  (one call, no locks)
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        answer = json.loads(line) if line else {}
        if "url" not in answer:
            raise DemoFailed("the service did not start")
        yield answer["url"]
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def distil(client: Client, student_path: Path) -> tuple[Job, list[dict[str, float]], bytes | None]:
    """Submit, watch, download; gives the finished job, its series and the newest picture (PNG)."""
    job = client.jobs.create(TEACHER, spec=SPEC)
    say(3, f"Distilling ({job.id}); the generator invents its own images")
    with Watch() as watch:
        for event in client.jobs.stream(job.id):
            watch.show(event)
    job = client.jobs.retrieve(job.id)
    if not job.succeeded:
        raise DemoFailed(verdict(job))
    say(4, "Downloading the student")
    client.jobs.download_student(job.id, student_path)
    pictures = client.jobs.samples(job.id)
    picture = None
    if pictures:
        path = client.jobs.download(pictures[-1], student_path.with_name("samples.png"))
        picture = path.read_bytes()
    series = client.jobs.metrics(job.id)["data"]
    return job, series, picture


def score(student_path: Path) -> tuple[dict[str, float | str], float]:
    """Accuracies on digits that neither the teacher nor anything else was trained on, and compression."""
    from dfad_core import load_student
    from dfad_core.evaluation.accuracy import accuracy
    from dfad_core.networks.cost import cost
    from examples.digits.data import SHAPE, digits

    _, (x, y) = digits()
    networks = {"teacher": load_student(TEACHER), "student": load_student(student_path)}
    say(5, f"Scoring both on {len(y)} held-out digits, the first real ones in this run")
    scores: dict[str, float | str] = {name: accuracy(net, x, y) for name, net in networks.items()}
    sizes = {name: cost(net, SHAPE).parameters for name, net in networks.items()}
    scores["data"] = f"{len(y)} held-out digits of scikit-learn"
    return scores, sizes["teacher"] / sizes["student"]


def write_report(
    job: Job, series: list[dict[str, float]], picture: bytes | None, scores: dict[str, float | str]
) -> None:
    """demo/samples.png and demo/report.html: the job's own report, with the accuracy measured here."""
    from dfad_core.contract.job_result import JobResult
    from dfad_core.contract.serialization import from_json
    from dfad_core.report.card import render_report

    OUT.mkdir(exist_ok=True)
    assert job.result is not None
    result = from_json(JobResult, {**job.result, "accuracy": scores})
    title = "Handwritten digits: cnn8 of width 20 to cnn8 of width 9"
    page = render_report(result, history=series, samples_png=picture, title=title)
    (OUT / "report.html").write_text(page, encoding="utf-8")
    if picture is None:
        raise DemoFailed("the job left no picture of its samples")
    from PIL import Image

    small = Image.open(io.BytesIO(picture))
    size = (small.width * PICTURE_SCALE, small.height * PICTURE_SCALE)
    small.resize(size, Image.Resampling.NEAREST).save(OUT / "samples.png")


def say(number: int, text: str) -> None:
    """A heading of the demo."""
    print(f"{number}/5  {text}", flush=True)


def run(home: Path) -> tuple[bool, str]:
    """The demo; whether it reached its mark, and the last line to print. Raises DemoFailed."""
    started = time.monotonic()
    student_path = home / "student.safetensors"
    say(1, "Starting the service on this machine: dfad up")
    with service(home / "data") as url, Client(url) as client:
        say(2, f"Submitting {TEACHER.name} to {url}")
        job, series, picture = distil(client, student_path)
        scores, compression = score(student_path)
        write_report(job, series, picture, scores)
    seconds = time.monotonic() - started
    teacher, student = float(scores["teacher"]), float(scores["student"])
    print(f"     training took {duration(job.result['training']['seconds'])}" if job.result else "")
    print(f"     {OUT}/samples.png  what the generator showed the student")
    print(f"     {OUT}/report.html  the report")
    good = student >= SMALLEST_SHARE * teacher and compression >= SMALLEST_COMPRESSION
    line = (
        f"DEMO {'OK' if good else 'FAILED'} teacher_accuracy={teacher:.3f} student_accuracy={student:.3f} "
        f"compression={compression:.1f}x seconds={seconds:.0f}"
    )
    return good, line


def show_logs(home: Path) -> None:
    """The last lines of every process, for whoever has to find out what went wrong."""
    for log in sorted((home / "data" / "logs").glob("*.log")):
        print(f"--- {log.name}", file=sys.stderr)
        print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Run the demo; the exit code."""
    signal.signal(signal.SIGTERM, _end)  # so that the service is stopped then, too
    home = Path(tempfile.mkdtemp(prefix="dfad-demo-"))
    try:
        good, line = run(home)
    except (DemoFailed, DfadClientError) as error:
        show_logs(home)
        print(f"DEMO FAILED {error}")
        return 1
    except KeyboardInterrupt:
        print("DEMO FAILED interrupted")
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(line)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
