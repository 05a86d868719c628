"""curl, the command line, the Python client (awaited too) and a generated client do the same.

Guards: that the same script, over the same real server and worker, has the same outcomes whichever way the
service is spoken to, down to the bytes of the student; that generators understand the description; and that
schemathesis, which makes up requests and chains of them from it, finds no answer that breaks it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_digits

from testing.running_service import running_service
from tests.e2e.same_script import steps
from tests.e2e.same_script.over_cli import CommandLine
from tests.e2e.same_script.over_client import Asyncio, PythonClient
from tests.e2e.same_script.over_curl import Curl
from tests.e2e.same_script.over_generated import Generated, generate

OPERATOR = "the-operators-key-of-this-test"
DRIVERS: dict[str, Any] = {
    "cli": CommandLine,
    "client": PythonClient,
    "asyncio": Asyncio,
    "generated": Generated,
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("same-script")
    with running_service(home, DFAD_API_KEY=OPERATOR, DFAD_UPLOAD_PART_BYTES="2000") as address:
        yield address


@pytest.fixture(scope="module")
def stranger(url: str) -> str:
    """A key of a tenant that has nothing to do with the others."""
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    asked = {"name": "stranger", "tenant_id": "stranger"}
    return str(httpx.post(f"{url}/keys", json=asked, headers=headers, trust_env=False).json()["key"])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 real digits with their classes."""
    path = tmp_path_factory.mktemp("labelled") / "digits.npz"
    digits = load_digits()
    np.savez(path, images=(digits.images[:60] * 15.9).astype("uint8"), labels=digits.target[:60])
    return path


Play = Callable[[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def play(
    url: str, stranger: str, labelled: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Play:
    """The whole script over one driver, as a tenant of its own: every one finds the same empty service."""

    def played(name: str, driver: Any) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(name)
        return steps.play(
            steps.World(
                operator=driver(url, OPERATOR, folder),
                stranger=driver(url, stranger, folder),
                tenant=name,
                teacher=tiny_teacher,
                labelled=labelled,
            )
        )

    return played


@pytest.fixture(scope="module")
def by_curl(play: Play, missing: Callable[[str], None]) -> dict[str, Any]:
    """What the others are compared with."""
    if shutil.which("curl") is None:
        missing("curl")
    return play("curl", Curl)


@pytest.fixture(scope="module")
def generated(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The client that the description makes, importable."""
    folder = tmp_path_factory.mktemp("generated")
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    description = httpx.get(f"{url}/openapi.json", headers=headers, trust_env=False)
    package = generate(description.content, folder)
    sys.path.insert(0, str(folder))
    yield package
    sys.path.remove(str(folder))


def test_curl_gets_what_the_contract_says(by_curl: dict[str, Any]) -> None:
    assert list(by_curl) == list(steps.STEPS)
    parts = ("database", "broker", "storage", "worker")
    assert by_curl["health"] == (True, dict.fromkeys(parts, "ok"))
    assert by_curl["key"] == (["read", "write"], [("same script", None, False)])
    assert by_curl["no key"]["code"] == "unauthorized"
    assert [one["status"] for one in by_curl["bad input"]] == [422] * 4
    assert by_curl["bad input"][0]["pointers"] == ["/method/name", "/student/architecture"]
    assert [one["code"] for one in by_curl["bad input"][2:]] == ["empty_file", "invalid_id"]
    assert by_curl["validate"][:3] == (True, 10, "best")
    assert by_curl["teacher"][0::2][:2] == ("ready", "mlp8")
    assert by_curl["result"][0] == "succeeded"
    assert 0 <= by_curl["result"][2]["student"] <= 1
    assert [kind for kind, _, _ in by_curl["artifacts"]] == sorted(steps.LISTED)
    assert by_curl["range"][0] == 100
    assert by_curl["range"][2]["code"] == "range_not_satisfiable"
    assert by_curl["report"] == ("<!doctype html>", True)
    assert by_curl["list"] == ([{"run": "first"}], [])
    assert by_curl["list by metadata"] == ([True], [])
    assert by_curl["twice"][0] == 1
    assert by_curl["twice"][1]["code"] == "idempotency_mismatch"
    assert by_curl["rerun"] == (True, "succeeded", {"run": "first"}, True)
    assert by_curl["steer"][0]["code"] == "not_ready"
    assert by_curl["steer"][1:6] == (True, "paused", True, "cancelled", "cancelled")
    assert by_curl["steer"][6]["code"] == "invalid_transition"
    refused, listed = by_curl["stranger"]
    assert ({one["code"] for one in refused}, listed) == ({"not_found"}, [])
    assert by_curl["measure"][1]["status"] == "succeeded"
    assert by_curl["measure"][2]["images"] == 60
    assert by_curl["delete"]["status"] == 404
    assert by_curl["figures"][0] == [True, True, True]
    assert by_curl["figures"][1]["status"] == 403
    assert by_curl["revoke"][1]["status"] == 401


@pytest.mark.parametrize("name", DRIVERS)
def test_the_others_get_the_same(
    name: str, by_curl: dict[str, Any], play: Play, request: pytest.FixtureRequest
) -> None:
    if name == "generated":
        request.getfixturevalue("generated")
    driver = DRIVERS[name]
    assert set(driver.lacks) <= set(steps.STEPS)
    found = play(name, driver)
    assert found == {step: outcome for step, outcome in by_curl.items() if step not in driver.lacks}


def test_every_operation_is_a_function(url: str, generated: Path) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    paths = httpx.get(f"{url}/openapi.json", headers=headers, trust_env=False).json()["paths"]
    asked = {operation["operationId"] for methods in paths.values() for operation in methods.values()}
    made = {file.stem for file in generated.glob("api/*/*.py")} - {"__init__"}
    assert made == asked


@pytest.mark.timeout(170)
def test_schemathesis_finds_nothing(
    url: str, stranger: str, tiny_teacher: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every value that the description bounds, at its bounds and past them, and chains of calls.

    Left out, as in tests/app/http/test_schemathesis.py: that every request which fits is taken.
    """
    other = Curl(url, stranger, tmp_path_factory.mktemp("other"))
    other.wait(other.submit(tiny_teacher, steps.SPEC)["id"])
    # Calls are chained over what there is: a job with all that it leaves behind.
    own = Curl(url, OPERATOR, tmp_path_factory.mktemp("own"))
    own.wait(own.submit(tiny_teacher, steps.SPEC)["id"])
    before = other.jobs()
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["-H", f"Authorization: Bearer {OPERATOR}", "--phases", "examples,coverage,stateful"]
    command += ["--max-examples", "5", "--max-time", "40", "--generation-deterministic", "--no-color"]
    command += ["--warnings", "off", "--continue-on-failure"]
    command += ["--exclude-checks", "positive_data_acceptance", "--request-timeout", "70"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Coverage" in done.stdout, done.stdout
    covered = re.search(r"API Links: +(\d+) covered", done.stdout)
    assert covered, done.stdout
    assert int(covered[1]) > 0, "calls were not chained"
    # Whatever the operator was told to do: another tenant's things are as they were.
    # With a new key, for the operator manages the keys of all, and may have closed the old one.
    again = Curl(url, OPERATOR, tmp_path).create_key("again", "stranger")["key"]
    assert other.using(again).jobs() == before
