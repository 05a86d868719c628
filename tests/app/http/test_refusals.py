"""Every request that must be refused: its status, its code, the pointer, and that nothing is stored."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

Submit = Callable[..., Any]
Stored = Callable[[], dict[str, int]]


def mlp8(args: dict[str, int]) -> dict[str, Any]:
    return {"student": {"architecture": "mlp8", "args": args}}


def assert_problem(answer: Any, status: int, code: str, pointer: str | None = None) -> None:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["type"]
    assert body["title"]
    assert "Traceback" not in answer.text
    if pointer is not None:
        assert pointer in [e["pointer"] for e in body["errors"]], body


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"extra": 1}, "unknown_field", "/extra"),
        ({"budget": {"steps": 5, "epochs": 1}}, "unknown_field", "/budget/epochs"),
        ({"student": {"architecture": "mlp8", "x": 1}}, "unknown_field", "/student/x"),
        ({"student": {"architecture": "resnet9000"}}, "unknown_architecture", "/student/architecture"),
        ({"student": {"architecture": "os.system"}}, "unknown_architecture", "/student/architecture"),
        (mlp8({"width": -1}), "invalid_request", "/student/args/width"),
        (mlp8({"width": 0}), "invalid_request", "/student/args/width"),
        (mlp8({"width": 10**9}), "invalid_request", "/student/args/width"),
        (mlp8({"depth": 2}), "invalid_request", "/student/args/depth"),
        ({"student": None}, "invalid_request", "/student"),
        ({"method": {"name": "magic"}}, "unknown_method", "/method/name"),
        ({"method": {"bn_weight": -1}}, "invalid_request", "/method/bn_weight"),
        ({"method": {"bn_weight": 1e308}}, "invalid_request", "/method/bn_weight"),
        ({"budget": {"steps": -5}}, "invalid_request", "/budget/steps"),
        ({"budget": {"steps": 10**9}}, "invalid_request", "/budget/steps"),
        ({"budget": {"steps": "5"}}, "invalid_request", "/budget/steps"),
        ({"budget": {"max_runtime_seconds": 0}}, "invalid_request", "/budget/max_runtime_seconds"),
        ({"training": {"student_learning_rate": -1}}, "invalid_request", "/training/student_learning_rate"),
        ({"training": {"generator_learning_rate": 1e308}},
         "invalid_request", "/training/generator_learning_rate"),
        ({"teacher": {"input": {"shape": [3, 32]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [3]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": []}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [1, 3, 32, 32]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": "3x32x32"}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [3, 32.5, 32]}}}, "invalid_request", "/teacher/input/shape/1"),
        ({"teacher": {"input": {"shape": [0, 8, 8]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [9, 8, 8]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [1, 8, -8]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [1, 8, 10**9]}}}, "invalid_request", "/teacher/input/shape"),
        ({"teacher": {"input": {"shape": [1, 8, 8], "std": [0.0]}}}, "invalid_request", "/teacher/input/std"),
        ({"teacher": {"input": {"shape": [1, 8, 8], "mean": [1, 2]}}},
         "invalid_request", "/teacher/input/mean"),
        ({"teacher": {"architecture": "lenet5", "input": {"shape": [1, 30, 30]}}},
         "shape_mismatch", "/teacher/input"),
        ({"teacher": {"input": {"shape": [1, 8, 8]}}, "student": {"architecture": "vgg11_bn"}},
         "shape_mismatch", "/student"),
        ({"teacher": {"num_classes": 0}}, "invalid_request", "/teacher/num_classes"),
        ({"exports": ["onnxx"]}, "invalid_request", "/exports/0"),
        ({"evaluation": {"upload_id": "upl_1"}}, "invalid_id", "/evaluation/upload_id"),
        ({"evaluation": {"upload_id": "upl_01a20a183130f882fab37816d0ead7a6"}}, "invalid_request",
         "/evaluation/upload_id"),
        ({"student": {"architecture": "mlp8", "init_from": {}}}, "invalid_request",
         "/student/init_from/upload_id"),
        ({"student": {"architecture": "mlp8",
                      "init_from": {"artifact_id": "art_01a20a183130f882fab37816d0ead7a6"}}},
         "invalid_request", "/student/init_from/artifact_id"),
        ({"student": {}}, "invalid_request", "/student/architecture"),
        ({"student": {"architecture": "mlp8", "target": {"max_bytes": 1}}}, "invalid_request",
         "/student/architecture"),
        ({"student": {"target": {}}}, "invalid_request", "/student/target"),
        ({"student": {"layers": [{"type": "flatten"}, {"type": "dance"}]}}, "invalid_request",
         "/student/layers/1/type"),
        ({"student": {"layers": [{"type": "linear"}]}, "teacher": {"input": {"shape": [1, 8, 8]}}},
         "invalid_request", "/student/layers/0"),
        ({"seed": -1}, "invalid_request", "/seed"),
        ({"priority": 1000}, "invalid_request", "/priority"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "invalid_request", "/metadata"),
        ({"metadata": {"a": "x\0"}}, "invalid_request", "/metadata/a"),
        ({"metadata": {"a": "\ud800"}}, "invalid_request", "/metadata/a"),
        ({"metadata": {"a": 1}}, "invalid_request", "/metadata/a"),
        ({"metadata": {"a": "x" * 501}}, "invalid_request", "/metadata/a"),
        ({"teacher_id": "tch_1"}, "unknown_field", "/teacher_id"),
    ],
)  # fmt: skip
def test_bad_specs(submit: Submit, stored: Stored, change: dict[str, Any], code: str, pointer: str) -> None:
    assert_problem(submit(change), 422, code, pointer)
    assert stored() == {}


@pytest.mark.parametrize(
    ("spec", "status", "code"),
    [
        ("{", 400, "malformed_json"),
        ("", 400, "malformed_json"),
        ('{"seed": 1, "seed": 2}', 400, "malformed_json"),
        ('{"a":' * 1100 + "1" + "}" * 1100, 400, "malformed_json"),
        ('{"a":' * 500 + "1" + "}" * 500, 400, "malformed_json"),
        ("[" * 100_000, 400, "malformed_json"),
        ("[]", 422, "invalid_request"),
        ('{"seed": NaN}', 422, "invalid_request"),
        ('{"seed": Infinity}', 422, "invalid_request"),
        ('{"seed": 1' + "0" * 3000 + "}", 422, "invalid_request"),
        ('{"budget": {"max_runtime_seconds": 1e999}}', 422, "invalid_request"),
        ('{"teacher": {"input": {"shape": [1, 8, 8], "mean": [1e999]}}}', 422, "invalid_request"),
        ("{}", 422, "invalid_request"),
    ],
)
def test_bad_json(submit: Submit, stored: Stored, spec: Any, status: int, code: str) -> None:
    assert_problem(submit(spec), status, code)
    assert stored() == {}


def test_a_job_past_the_memory_budget(client: TestClient, submit: Submit, stored: Stored) -> None:
    large = {"teacher": {"input": {"shape": [3, 224, 224]}}, "student": {"architecture": "resnet18"}}
    pool = {"training": {"batch_size": 8192, "pool_batches": 100}}
    assert_problem(submit(large | pool), 422, "memory_limit", "/training")
    wide = {"student": {"architecture": "mlp8", "args": {"width": 4096}}}
    many = {"teacher": {"input": {"shape": [3, 224, 224]}}, "training": {"batch_size": 2}}
    assert submit(wide | many).status_code == 201  # 10 GB
    assert_problem(submit(large | pool | wide), 422, "memory_limit", "/student/args")
    files = {"teacher": ("t", b"PK\x03\x04"), "spec": (None, json.dumps(large | pool))}
    assert_problem(client.post("/jobs/validate", files=files), 422, "memory_limit", "/training")


def test_the_second_of_two_requests_with_one_key(
    client: TestClient, submit: Submit, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looked for the first one's job when there was none yet; the database lets one of them in."""
    key = {"headers": {"Idempotency-Key": "k"}}
    assert submit(**key).status_code == 201
    before = stored()
    monkeypatch.setattr("app.http.idempotency.Once.made_before", lambda _: None)
    assert_problem(submit(**key), 409, "idempotency_in_flight")
    files = {"files": {"teacher": ("t", b"PK\x03\x04")}, **key}
    assert client.post("/teachers", **files).status_code == 201
    assert_problem(client.post("/teachers", **files), 409, "idempotency_in_flight")
    assert stored()["jobs"] == before["jobs"]
    assert stored()["teachers"] == before["teachers"] + 1


def test_no_teacher_part(client: TestClient, stored: Stored) -> None:
    answer = client.post("/jobs", files={"spec": (None, "{}", "application/json")})
    assert_problem(answer, 422, "missing_teacher", "/teacher")
    answer = client.post("/jobs", json={"student": {"architecture": "mlp8"}})
    assert_problem(answer, 422, "missing_teacher", "/teacher_id")
    assert stored() == {}


def test_empty_file_and_missing_spec(client: TestClient, submit: Submit, stored: Stored) -> None:
    assert_problem(submit(teacher=b""), 422, "empty_file", "/teacher")
    assert_problem(
        client.post("/jobs", files={"teacher": ("t", b"PK\x03\x04")}), 422, "missing_spec", "/spec"
    )
    two = [("teacher", ("a", b"PK\x03\x04")), ("teacher", ("b", b"PK\x03\x04")), ("spec", (None, "{}"))]
    assert_problem(client.post("/jobs", files=two), 422, "invalid_request", "/teacher")
    text = {"teacher": (None, "not a file"), "spec": (None, "{}")}
    assert_problem(client.post("/jobs", files=text), 422, "invalid_request", "/teacher")
    other = {"teacher": ("a", b"PK\x03\x04"), "spec": (None, "{}"), "weights": (None, "x")}
    assert_problem(client.post("/jobs", files=other), 422, "unknown_field", "/weights")
    assert stored() == {}


NAMES = {
    "long": 'filename="' + "x" * 4096 + '"',
    "nul": 'filename="a\0b.pt"',
    "tab": 'filename="a\tb.pt"',
    "newline": "filename*=utf-8''a%0D%0Ab.pt",
    "encoded nul": "filename*=utf-8''a%00b.pt",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_file_names_that_cannot_be_shown(client: TestClient, stored: Stored, name: str) -> None:
    spec = json.dumps({"student": {"architecture": "mlp8"}})
    body = (
        f'--b\r\nContent-Disposition: form-data; name="teacher"; {name}\r\n\r\nPK\x03\x04\r\n'
        f'--b\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{spec}\r\n--b--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/jobs", content=body.encode(), headers=headers)
    assert_problem(answer, 422, "invalid_request", "/teacher")
    assert stored() == {}


def test_a_path_as_a_file_name_is_a_label(submit: Submit, client: TestClient) -> None:
    answer = submit(name="../../etc/passwd")
    assert answer.status_code == 201
    teacher = client.get(f"/teachers/{answer.json()['teacher']['id']}").json()
    assert teacher["filename"] == "passwd"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types(client: TestClient, kind: str) -> None:
    answer = client.post("/jobs", content=b"x", headers={"Content-Type": kind})
    assert_problem(answer, 415, "unsupported_media_type")


def test_garbled_multipart(client: TestClient, stored: Stored) -> None:
    for content, kind in (
        (b"--b\r\nnonsense", "multipart/form-data; boundary=b"),
        (b"x", "multipart/form-data"),
    ):
        answer = client.post("/jobs", content=content, headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert stored() == {}


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for before `client`, so that the settings are read with it."""
    monkeypatch.setenv("DFAD_MAX_JSON_BYTES", "2000")
    monkeypatch.setenv("DFAD_MAX_UPLOAD_BYTES", "5000")


def test_too_large(database: str, small_limits: None, request: pytest.FixtureRequest) -> None:
    client, submit = request.getfixturevalue("client"), request.getfixturevalue("submit")
    stored = request.getfixturevalue("stored")
    assert_problem(submit(teacher=b"PK\x03\x04" + b"x" * 20_000), 413, "payload_too_large")
    json_headers = {"Content-Type": "application/json"}
    assert_problem(client.post("/jobs", content=b"x" * 3000, headers=json_headers), 413, "payload_too_large")
    pieces = (b"x" * 500 for _ in range(10))  # no Content-Length: counted while it streams
    assert_problem(client.post("/jobs", content=pieces, headers=json_headers), 413, "payload_too_large")
    assert_problem(submit(spec=json.dumps({"metadata": {"a": "x" * 3000}})), 413, "payload_too_large")
    as_file = {"teacher": ("t", b"PK\x03\x04"), "spec": ("s.json", b" " * 3000)}
    assert_problem(client.post("/jobs", files=as_file), 413, "payload_too_large")
    endless = {**json_headers, "Content-Length": "9" * 5000}
    assert_problem(client.post("/jobs", content=b"x", headers=endless), 413, "payload_too_large")
    assert stored() == {}
    assert submit(teacher=b"PK\x03\x04" + b"x" * 4000).status_code == 201


def test_only_routes_that_take_files_read_large_bodies(
    database: str, small_limits: None, request: pytest.FixtureRequest
) -> None:
    """Forms are kept on the disk before anybody looks at them, the sign-in's for people without a key."""
    client = request.getfixturevalue("client")
    for path in ("/ui/sign-in", "/ui/act", "/ui/webhooks", "/jobs/job_1/cancel"):
        answer = client.post(path, data={"key": "x"}, files={"f": b"x" * 4000})
        assert_problem(answer, 413, "payload_too_large")
    headers = {"Content-Type": "application/octet-stream"}
    assert_problem(client.post("/uploads", content=b"x" * 4000, headers=headers), 413, "payload_too_large")


def test_unknown_routes_and_methods(client: TestClient) -> None:
    assert_problem(client.get("/nothing"), 404, "not_found")
    assert_problem(client.put("/jobs"), 405, "method_not_allowed")
    assert_problem(client.get("/jobs/../../etc/passwd"), 404, "not_found")
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):  # a call, not a job of that id
        answer = client.request(method, "/jobs/validate")
        assert_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"


PARTS = ("", "/events", "/metrics", "/samples", "/artifacts", "/student")
BY_ID = [("job", f"/jobs/{{}}{part}") for part in PARTS]
BY_ID += [("tch", "/teachers/{}"), ("art", "/artifacts/{}")]


@pytest.mark.parametrize(("prefix", "path"), BY_ID)
def test_ids_that_name_nothing(client: TestClient, prefix: str, path: str) -> None:
    assert_problem(client.get(path.format(f"{prefix}_{'0' * 32}")), 404, "not_found")
    forms = ["x", "%00", "a" * 500, f"{prefix}_1", f"{prefix}_{'G' * 32}", f"upl_{'0' * 32}", "%F0%9F%92%A9"]
    for form in forms:
        assert_problem(client.get(path.format(form)), 422, "invalid_id")


def test_ids_of_the_wrong_form_change_nothing(client: TestClient) -> None:
    assert_problem(client.post("/jobs/x/cancel"), 422, "invalid_id", "/job_id")
    assert_problem(client.delete("/jobs/x"), 422, "invalid_id", "/job_id")
    assert_problem(client.patch("/jobs/x", json={"metadata": {}}), 422, "invalid_id", "/job_id")
    nobody = "job_" + "0" * 32
    assert_problem(client.post(f"/jobs/{nobody}/cancel"), 404, "not_found")
    assert_problem(client.delete(f"/jobs/{nobody}"), 404, "not_found")
    assert_problem(client.patch(f"/jobs/{nobody}", json={"metadata": {}}), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"), ("limit=101", "/limit"), ("limit=x", "/limit"), ("after=forged", "/after"),
        ("after=tch_" + "0" * 32, "/after"), ("status=sleeping", "/status"), ("colour=red", "/colour"),
        ("metadata[a]=%00", "/metadata/a"), ("metadata[]=x", "/metadata/"),
    ],
)  # fmt: skip
def test_bad_queries(client: TestClient, query: str, pointer: str) -> None:
    answer = client.get(f"/jobs?{query}")
    assert answer.status_code == 422
    assert pointer in [e["pointer"] for e in answer.json()["errors"]]


def test_unknown_teacher(client: TestClient, stored: Stored) -> None:
    spec = {"student": {"architecture": "mlp8"}}
    assert_problem(client.post("/jobs", json={**spec, "teacher_id": "tch_" + "0" * 32}), 404, "not_found")
    answer = client.post("/jobs", json={**spec, "teacher_id": "x"})
    assert_problem(answer, 422, "invalid_id", "/teacher_id")
    assert_problem(
        client.post("/jobs", json={**spec, "teacher_id": 3}), 422, "invalid_request", "/teacher_id"
    )
    assert stored() == {}


def test_an_unexpected_error_shows_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("secret /path SELECT")

    monkeypatch.setattr("app.jobs.endpoints.page", broken)
    answer = client.get("/jobs")
    assert_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    logged = [r for r in caplog.records if r.name == "app.http.problems"]
    assert logged[0].request_id == answer.json()["request_id"]  # type: ignore[attr-defined]


TEXT = b"# A readme\n" * 300_000
"""More than is handed to the store at once."""


@pytest.mark.parametrize(
    "content", [b"weights", TEXT, b"version https://git-lfs.github.com/spec/v1\n", b"\0"]
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/validate", "/teachers"])
def test_what_is_no_model_file_by_its_first_bytes(
    client: TestClient, stored: Stored, path: str, content: bytes
) -> None:
    files: dict[str, Any] = {"teacher": ("t.pt", content)}
    if path != "/teachers":
        files["spec"] = (None, '{"student": {"architecture": "mlp8"}}')
    answer = client.post(path, files=files)
    assert_problem(answer, 422, "unsupported_format", "/teacher")
    assert ("git lfs pull" in answer.text) == content.startswith(b"version")
    assert stored() == {}


def test_no_teacher_is_made_of_an_upload_that_is_no_model_file(client: TestClient, stored: Stored) -> None:
    """Until it is named as one it may be labelled data."""
    content = b"\x89PNG\r\n\x1a\n and more"
    digest = hashlib.sha256(content)
    about = {"filename": "t.pt", "bytes": len(content), "sha256": digest.hexdigest()}
    upload_id = client.post("/uploads", json=about).json()["id"]
    part = {"Content-Type": "application/octet-stream"}
    part["Content-Digest"] = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert client.put(f"/uploads/{upload_id}/parts/1", content=content, headers=part).status_code == 200
    assert client.post(f"/uploads/{upload_id}/complete").status_code == 200
    spec = {"student": {"architecture": "mlp8"}, "upload_id": upload_id}
    for path, body in (("/jobs", spec), ("/jobs/validate", spec), ("/teachers", {"upload_id": upload_id})):
        answer = client.post(path, json=body)
        assert_problem(answer, 422, "unsupported_format", "/upload_id")
        assert "a PNG image" in answer.text
    assert client.delete(f"/uploads/{upload_id}").status_code == 204
    assert stored() == {}
