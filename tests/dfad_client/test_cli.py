"""The command line: what it sends, prints and exits with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

RESULT = {
    "teacher": {"architecture": "lenet5", "parameters": 61706},
    "student": {"architecture": "lenet5_half", "parameters": 15738},
    "compression": 3.92,
    "fidelity": {"agreement_drawn": 0.61, "divergence_drawn": 0.2},
    "prediction": {
        "relative_accuracy": 0.91,
        "low": 0.86,
        "high": 0.95,
        "level": 0.9,
        "coverage": 0.9,
        "jobs": 208,
        "teachers": 13,
        "images": 2304,
        "reason": None,
    },
    "evaluation": {
        "images": 64,
        "measured": {"drawn": 64, "chosen": 32},
        "seconds": 41.2,
        "bound_seconds": 60.0,
        "complete": True,
    },
    "accuracy": None,
}


def sent_spec(request: httpx2.Request) -> Any:
    head, _, rest = request.content.partition(b'name="spec"')
    assert rest, head
    return json.loads(rest.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0])


def test_submit_prints_the_id_alone(run: Any, server: Any, fake: Any) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    teacher = {"architecture": "lenet5", "weights": "ema"}
    done = run("submit", "t.pt", "--architecture", "lenet5", "--weights", "ema", "--student", "lenet5_half")
    assert (done.exit_code, done.stdout) == (0, "job_1\n")
    assert "dfad watch job_1" in done.stderr
    spec = {"teacher": teacher, "student": {"architecture": "lenet5_half"}}
    assert sent_spec(server.requests[0]) == spec


@pytest.mark.parametrize("command", ["submit", "inspect"])
def test_the_teacher_is_described(run: Any, server: Any, fake: Any, command: str) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    known = httpx2.Response(200, json={"id": "tch_1", "status": "ready", "inspection": {}})
    server.on("POST", "/teachers", known)
    server.on("GET", "/teachers/tch_1", known)
    more = ["--student", "cnn8"] if command == "submit" else []
    given = ["--input", "3x32x32", "--mean", "0.5,0.4,0.3", "--std", "0.25"]
    given += ["--output", "main", "--weights", "ema"]
    done = run(command, "t.pt", *more, *given)
    assert done.exit_code == 0, done.stderr
    sent = sent_spec(server.requests[0])
    teacher = sent["teacher"] if command == "submit" else sent
    source = {"shape": [3, 32, 32], "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.25]}
    assert teacher == {"weights": "ema", "input": source, "output": "main"}
    for wrong, words in (
        (["--input", "32x32"], "as in 3x224x224"),
        (["--mean", "0.5"], "need --input"),
        (["--input", "1x8x8", "--std", "x"], "a number for each channel"),
        (["--input", "{"], "not JSON"),
    ):
        done = run(command, "t.pt", *more, *wrong)
        assert (done.exit_code, words in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("ending", [".data", "_data"])
def test_a_model_in_two_files_is_sent_as_one(
    run: Any, server: Any, fake: Any, tmp_path: Path, ending: str
) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    (tmp_path / "m.onnx").write_bytes(b"graph")
    (tmp_path / f"m.onnx{ending}").write_bytes(b"weights")
    assert run("submit", "m.onnx", "--student", "cnn8").exit_code == 0
    content = server.requests[0].content
    assert b'filename="m.onnx.zip"' in content
    assert all(part in content for part in (b"PK\x03\x04", b"graph", b"weights", f"m.onnx{ending}".encode()))


def test_options_win_over_the_file(run: Any, server: Any, fake: Any, tmp_path: Path) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    file = {
        "student": {"architecture": "cnn8", "args": {"width": 9}},
        "method": {"name": "dfad", "bn_weight": 2},
        "budget": {"steps": 5, "max_runtime_seconds": 60},
        "seed": 1,
    }
    (tmp_path / "spec.json").write_text(json.dumps(file))
    run("submit", "t.pt", "--spec", "spec.json", "--method", "auto", "--steps", "7", "--seed", "3")
    assert sent_spec(server.requests[0]) == {
        **file,
        "method": {"name": "auto", "bn_weight": 2},
        "budget": {"steps": 7, "max_runtime_seconds": 60},
        "seed": 3,
    }
    run(
        "submit",
        "t.pt",
        "--spec",
        "-",
        "--student",
        "mlp8",
        "--student-arg",
        "width=4",
        input=json.dumps(file),
    )
    assert sent_spec(server.requests[1])["student"] == {"architecture": "mlp8", "args": {"width": 4}}
    run("submit", "tch_7", "--spec", "spec.json")
    assert json.loads(server.requests[2].content) == {**file, "teacher_id": "tch_7"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "absent.pt", "--student", "mlp8"], "no file absent.pt"),
        (["submit", ".", "--student", "mlp8"], "no config.json"),
        (["submit", "t.pt"], "--student"),
        (["submit", "t.pt", "--spec", "absent.json"], "absent.json"),
        (["submit", "t.pt", "--spec", "t.pt"], "not JSON"),
        (["submit", "t.pt", "--spec", "list.json"], "JSON object"),
        (["submit", "t.pt", "--spec", "odd.json", "--steps", "3"], "'budget'"),
        (["submit", "t.pt", "--student", "mlp8", "--student-arg", "width"], "NAME=INTEGER"),
        (["submit", "t.pt", "--student", "mlp8", "--steps", "many"], "--steps"),
        (["submit"], "TEACHER"),
        (["nonsense"], "nonsense"),
        (["show", "job_1", "--url", "nonsense"], "is not an address"),
    ],
)
def test_wrong_usage_is_said_in_a_line(run: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "odd.json").write_text('{"student": {}, "budget": 3}')
    done = run(*arguments)
    assert done.exit_code == (4 if "--url" in arguments else 2)
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def events(end: str) -> list[tuple[int, str, dict[str, Any]]]:
    progress = {"step": 5, "total_steps": 10, "percent": 50.0, "eta_seconds": 70, "metrics": {}}
    return [
        (1, "job.queued", {"status": "queued"}),
        (2, "job.running", {"attempt": 2}),
        (3, "phase", {"phase": "distilling"}),
        (4, "progress", progress),
        (5, "warning", {"code": "collapse", "message": "few classes"}),
        (6, "job.requeued", {"reason": "lease expired"}),
        (7, "job.cancelling", {}),
        (8, f"job.{end}", {"status": end}),
    ]


@pytest.mark.parametrize(("end", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_submit_and_wait(run: Any, server: Any, fake: Any, end: str, code: int) -> None:
    error = {"code": "diverged", "message": "The loss is NaN."} if end == "failed" else None
    final = fake.job(status=end, error=error, result=RESULT if end == "succeeded" else None)
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=final))
    server.on("GET", "/jobs/job_1/events", fake.sse(*events(end)))
    done = run("submit", "t.pt", "--student", "lenet5_half", "--wait")
    assert done.exit_code == code
    assert done.stdout.startswith(f"job_1: {end}")
    for words in (
        "distilling",
        "50 %",
        "1 min 10 s left",
        "warning: few classes",
        "attempt 2",
        "lease expired",
    ):
        assert words in done.stderr
    if end == "failed":
        assert "diverged: The loss is NaN." in done.stdout
    if end == "succeeded":
        assert "15,738 parameters" in done.stdout
        assert "91.0% of the teacher's accuracy" in done.stdout
        assert "not measured" in done.stdout
    quiet = run("submit", "t.pt", "--student", "lenet5_half", "--wait", "--json")
    assert quiet.exit_code == code
    assert json.loads(quiet.stdout)["status"] == end


def test_watch_in_json_is_one_event_a_line(run: Any, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="succeeded")))
    server.on("GET", "/jobs/job_1/events", fake.sse(*events("succeeded")))
    done = run("watch", "job_1", "--json")
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 0
    assert [line["seq"] for line in lines] == list(range(1, 9))
    assert last["id"] == "job_1"
    assert done.stderr == ""


def test_list_show_cancel(run: Any, server: Any, fake: Any) -> None:
    page = {
        "data": [fake.job(id=f"job_{n}") for n in range(3)],
        "has_more": True,
        "first_id": "",
        "last_id": "x",
    }
    server.on("GET", "/jobs", httpx2.Response(200, json=page))
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job()))
    server.on("POST", "/jobs/job_1/cancel", httpx2.Response(200, json=fake.job(status="cancelled")))
    listed = run("list", "--limit", "2", "--status", "queued")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["JOB", "job_0", "job_1"]
    assert server.requests[0].url.params["status"] == "queued"
    assert len(json.loads(run("list", "--limit", "4", "--json").stdout)["data"]) == 4
    assert "lenet5_half" in run("show", "job_1").stdout
    assert json.loads(run("show", "job_1", "--json").stdout)["a_field_of_tomorrow"] is True
    assert run("cancel", "job_1").stdout == "job_1: cancelled\n"
    server.on("GET", "/jobs", httpx2.Response(200, json={**page, "data": [], "has_more": False}))
    assert run("list").stdout == ""


def test_download(run: Any, server: Any, fake: Any, tmp_path: Path) -> None:
    things = [fake.artifact(), fake.artifact(id="art_2", kind="report", filename="report.html", partial=True)]
    things.append(fake.artifact(id="art_3", kind="student_int8", filename="student.int8.onnx"))
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": things}))
    for name in ("art_1", "art_2", "art_3"):
        server.on("GET", f"/artifacts/{name}", httpx2.Response(200, content=fake.BYTES))
    exports = {"int8": {"bytes": 9, "caution": "It is slower here."}}
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(result={"exports": exports})))
    downloaded = run("download", "job_1", "--format", "int8").stdout
    assert downloaded.startswith("job_1.int8.onnx: ")
    assert downloaded.endswith("Caution: It is slower here.\n")
    assert run("download", "job_1").stdout.startswith("job_1.safetensors: ")
    assert "partial" in run("download", "job_1", "--kind", "report").stdout
    told = json.loads(run("download", "job_1", "-o", "s.safetensors", "--json").stdout)
    assert (told["path"], told["artifact"]["id"]) == ("s.safetensors", "art_1")
    for name in ("job_1.safetensors", "job_1.report.html", "s.safetensors"):
        assert (tmp_path / name).read_bytes() == fake.BYTES
    assert run("download", "job_1", "--kind", "samples").exit_code == 2
    (tmp_path / "file").write_text("")
    assert run("download", "job_1", "-o", "file/s").exit_code == 2
    server.on("GET", "/artifacts/art_1", httpx2.Response(200, content=b"x" * len(fake.BYTES)))
    assert run("download", "job_1").exit_code == 4


def test_a_refusal_is_one_line_and_json_for_programs(run: Any, server: Any, fake: Any) -> None:
    server.on("POST", "/jobs", fake.problem(422, "invalid_request", "Not valid."))
    done = run("submit", "t.pt", "--student", "mlp8", "--steps", "-3", "--json")
    assert done.exit_code == 3
    assert done.stderr == "dfad: Not valid. (/budget/steps: must be at least 1) [422 invalid_request]\n"
    error = json.loads(done.stdout)["error"]
    assert (error["status"], error["code"], error["request_id"]) == (422, "invalid_request", "req_7")
    assert error["errors"] == [{"pointer": "/budget/steps", "detail": "must be at least 1"}]


def test_no_server(run: Any, server: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.ConnectError("refused"))
    done = run("watch", "job_1", "--url", "http://127.0.0.1:1")
    assert done.exit_code == 4
    assert "dfad up" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {str(r.url) for r in server.requests} == {"http://127.0.0.1:1/jobs/job_1"}


def test_ctrl_c_leaves_the_job_running(run: Any, server: Any, fake: Any) -> None:
    def interrupt(_request: httpx2.Request) -> httpx2.Response:
        raise KeyboardInterrupt

    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="running")))
    server.on("GET", "/jobs/job_1/events", interrupt)
    done = run("watch", "job_1")
    assert done.exit_code == 130
    assert "The job goes on" in done.stderr


def test_help_tells_the_exit_codes(run: Any) -> None:
    assert "Exit codes" in run("--help").stdout


@pytest.mark.parametrize("failed", [False, True])
def test_images_that_come_after_the_end(
    run: Any, server: Any, fake: Any, tmp_path: Path, monkeypatch: Any, failed: bool
) -> None:
    monkeypatch.setattr("dfad_client.sync.uploads.Uploads.send", lambda *_, **__: "upl_1")
    (tmp_path / "mine.npz").write_bytes(b"images")
    accuracy = {"teacher": 0.99, "student": 0.954, "data": "9 labelled images", "exports": {"onnx": 0.95}}
    result = {"accuracy": None if failed else accuracy}
    error = {"code": "bad_evaluation_data", "message": "No images."} if failed else None
    measurement = {"status": "failed" if failed else "succeeded", "filename": "mine.npz", "error": error}
    done = {"status": "succeeded", "result": result, "measurement": measurement}
    waits = {**done, "measurement": {**measurement, "status": "waiting", "error": None}}
    server.on("POST", "/jobs/job_1/measure", httpx2.Response(202, json=fake.job(**waits)))
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(**done)))
    asked = run("measure", "job_1", str(tmp_path / "mine.npz"))
    assert asked.exit_code == 0
    assert "measuring   on mine.npz waits" in asked.stdout
    over = run("measure", "job_1", str(tmp_path / "mine.npz"), "--wait")
    if failed:
        assert over.exit_code == 1
        assert "measuring   on mine.npz failed: No images." in over.stdout
    else:
        assert over.exit_code == 0
        assert "teacher 99.00%, student 95.40%, onnx 95.00% on 9 labelled images" in over.stdout


def test_what_was_measured_and_exported_is_shown(run: Any, server: Any, fake: Any) -> None:
    side = {"architecture": "cnn8", "parameters": 10}
    accuracy = {"teacher": 0.99, "student": 0.954, "data": "300 labelled images (npz)"}
    accuracy["notes"] = ["3 pictures could not be read and were skipped: a.png, b.png, c.png."]
    exports = {"onnx": {"bytes": 2000}, "int8": {"error": "The student could not be quantised."}}
    result = {"teacher": side, "student": side, "accuracy": accuracy, "exports": exports}
    asked = {"student": {"architecture": None, "target": {"max_parameters": 10}}}
    job = fake.job(status="succeeded", terminal=True, result=result, resolved_spec=asked)
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=job))
    shown = run("show", "job_1").stdout
    assert "teacher 99.00%, student 95.40% on 300 labelled images (npz)" in shown
    assert "3 pictures could not be read and were skipped: a.png" in shown
    assert "2,000 bytes" in shown
    assert "could not be quantised" in shown
    server.on("GET", "/jobs", httpx2.Response(200, json={"data": [job], "has_more": False}))
    assert "from a target" in run("list").stdout
