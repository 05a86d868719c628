"""The README taken at its word: what can be run in it is run, what can be looked up is looked up.

Guards: that every fenced block has a runner (a new one without fails here) and works against a real service;
that every command, option, setting, endpoint, file and name exists; that links lead somewhere. Lines that
begin as `readme.shell.RUN` says are run without any more ado; see there for what is filled in. The other
documents' inline claims are looked up as far as they are recognised.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dfad_core.contract.methods import METHODS
from testing.running_service import clean_environment
from testing.services import Postgres, free_port
from tests.e2e.readme import claims
from tests.e2e.readme.markdown import Block, Document, anchor, read
from tests.e2e.readme.shell import ADDRESS, ROOT, TEACHER, Shell, elsewhere, has_runner, lines

README = read(ROOT / "README.md")
OTHERS = [
    read(ROOT / name)
    for name in ("docs/operations.md", "examples/digits/README.md", "CONTRIBUTING.md", "SECURITY.md")
]
PRODUCTION = "Production form"
HERE = [block for block in README.blocks if not block.under(PRODUCTION)]
THERE = [block for block in README.blocks if block.under(PRODUCTION)]
MODEL = """from torch import nn

def build():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, 10))
"""
"""The reader's own network."""
EXPORTS = {
    "DFAD_API_KEY": "the-operators-key",
    "DFAD_KEY_PEPPER": "a-pepper-of-thirty-two-characters",
}


def check_layout(block: Block) -> None:
    """The drawings of folders name what there is: every top folder, every room of engine and service."""
    drawn = {line.split()[0].rstrip("/") for line in block.text.splitlines() if not line.startswith(" ")}
    if any("/" in name for name in drawn):
        (package,) = {name.split("/")[0] for name in drawn}
        rooms = {f"{package}/{file.parent.name}" for file in (ROOT / package).glob("*/__init__.py")}
        assert rooms <= drawn
        assert all((ROOT / name).exists() for name in drawn), drawn
        return
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    folders = {name.split("/")[0] for name in tracked.stdout.split() if "/" in name} or drawn
    assert drawn == {name for name in folders if not name.startswith(".")} - {"tests"}


def check_profiles(shell: Shell, block: Block) -> None:
    """Where the text says that it belongs, it is read, and names its default."""
    file = shell.folder / ".config" / "dfad" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(block.text)
    file.chmod(0o600)
    told = tomllib.loads(block.text)
    asked = "from dfad_client.profiles import server; s = server(); print(s.base_url, s.api_key)"
    without = {name: value for name, value in shell.environment.items() if not name.startswith("DFAD_")}
    found = subprocess.run(
        [sys.executable, "-c", asked], env=without, capture_output=True, text=True, check=True
    ).stdout
    assert found.split() == list(told["profiles"][told["default"]].values())
    file.unlink()  # the reader's own service is the one on this machine


#: Blocks that are no commands, by the heading above them.
LOOKED_AT: dict[str, Callable[[Block], None]] = {"How it is laid out": check_layout}


def runner(block: Block) -> str | None:
    """How a block is held; None for one that nothing holds."""
    if block.language in ("sh", "bash", "console"):
        return "sh" if all(has_runner(line) for line in lines(block)) else None
    if block.language == "python":
        return "python"
    if block.language in ("json", "toml"):
        return block.language
    return "looked at" if block.headings[-1] in LOOKED_AT else None


def play(shell: Shell, block: Block) -> None:
    """Run or check one block."""
    match runner(block):
        case "sh":
            shell.run_block(block)
        case "python":
            shell.python(block.text)
        case "json":
            assert claims.json_text(block.text)
        case "toml":
            check_profiles(shell, block)
        case "looked at":
            LOOKED_AT[block.headings[-1]](block)
        case _:
            pytest.fail(f"README.md:{block.line}: nothing runs this block:\n{block.text}")


#: Whose blocks are not run from here but held by a test of their own.
HELD = {"operations.md": "tests/deploy/test_guide.py"}


@pytest.mark.parametrize("document", [README, *OTHERS], ids=lambda document: document.path.name)
def test_every_block_has_a_runner(document: Document) -> None:
    if document.path.name in HELD:
        assert document.path.name in (ROOT / HELD[document.path.name]).read_text()
        return
    left = [f"line {block.line}:\n{block.text}" for block in document.blocks if runner(block) is None]
    assert left == []


def test_what_is_not_run_here_is_held_elsewhere() -> None:
    said = [line for block in README.blocks if runner(block) == "sh" for line in lines(block)]
    for line in said:
        if (file := elsewhere(line)) is not None:
            assert (ROOT / file).is_file(), line
            if line.startswith("make "):
                assert claims.a_target(line)
    recipes = (ROOT / "Makefile").read_text()
    assert "python -m examples.digits.demo" in recipes
    assert all(tool in recipes for tool in ("ruff check", "mypy", "lint-imports", "python -m pytest"))


@pytest.mark.parametrize("text", README.inline)
def test_inline_claims_hold(text: str) -> None:
    assert claims.recognised(text), f"nothing checks `{text}`: teach tests/e2e/readme/claims.py"


@pytest.mark.parametrize("document", OTHERS, ids=lambda document: document.path.name)
def test_the_other_documents_claim_nothing_wrong(document: Document) -> None:
    known = [text for text in document.inline if claims.recognised(text)]
    assert len(known) > len(document.inline) / 2, set(document.inline) - set(known)


@pytest.mark.parametrize("document", [README, *OTHERS], ids=lambda document: document.path.name)
def test_links_lead_somewhere(document: Document) -> None:
    for link in document.links:
        target, _, part = link.partition("#")
        if "://" in target:
            continue
        file = (document.path.parent / target).resolve() if target else document.path
        assert file.exists(), link
        if part:
            assert part in {anchor(heading) for heading in read(file).headings}, link


def test_variables_of_all_blocks_exist() -> None:
    for block in README.blocks:
        for line in lines(block):
            name = line.removeprefix("export ").partition("=")[0]
            assert not name.startswith("DFAD_") or claims.a_setting(name), line


def test_every_method_is_in_the_table() -> None:
    rows = [line.split("|")[1] for line in README.prose.splitlines() if line.startswith("| `")]
    named = {name.strip(" `") for row in rows for name in row.split(",")}
    assert named == set(METHODS)


def test_defaults_are_the_ones_that_it_names() -> None:
    defaults = {parameter.name: parameter.default for parameter in claims.commands()["up"].params}
    assert f"http://{defaults['host']}:{defaults['port']}" == ADDRESS
    assert str(defaults["home"]) == ".dfad"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A reader who has typed `dfad up` in another terminal."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "model.py").write_text(MODEL)
    own: dict[str, Any] = {}
    exec(MODEL, own)
    torch.save(own["build"]().state_dict(), folder / "w.pt")
    shell = Shell(folder, clean_environment(HOME=str(folder)), EXPORTS)
    command = [sys.executable, "-m", "dfad_client", "up", "--port", "0", "--json"]
    up = subprocess.Popen(command, cwd=folder, env=shell.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout is not None
        shell.serve(json.loads(up.stdout.readline())["url"])
        yield shell
    finally:
        up.terminate()
        up.wait(timeout=60)
        shell.close()


@pytest.mark.timeout(170)
def test_the_blocks_run_one_after_the_other(reader: Shell) -> None:
    for block in HERE:
        play(reader, block)
    for name in ("student.safetensors", "student.onnx", "report.html"):
        assert (reader.folder / name).stat().st_size > 1000, name


def digits() -> bytes:
    """Labelled images as the README says: npz with `images` and `labels`."""
    found = load_digits()
    out = io.BytesIO()
    np.savez(out, images=(found.images[:60] * 15.9).astype("uint8"), labels=found.target[:60])
    return out.getvalue()


@pytest.mark.timeout(170)
def test_what_goes_in_and_what_comes_out(reader: Shell) -> None:
    """The options of the text in one job, and the inline commands on what it made."""
    (reader.folder / "digits.npz").write_bytes(digits())
    asked = f"dfad submit {TEACHER} --max-parameters 6000 --steps 9 --evaluate-on digits.npz --wait --json"
    told = json.loads(reader.run(f"{asked} --export onnx --export pt2 --export int8"))
    assert told["result"]["student"]["parameters"] <= 6000
    assert 0 <= told["result"]["accuracy"]["student"] <= 1
    assert {"student_onnx", "student_pt2", "student_int8"} <= {a["kind"] for a in told["artifacts"]}
    reader.run("dfad download JOB --kind manifest -o manifest.json")
    whole = [text for text in README.inline if text.startswith("dfad ") and "…" not in text]
    ran = {text: reader.run(text) for text in whole if not text.startswith(("dfad up", "dfad watch"))}
    assert {"dfad download JOB --format onnx", "dfad doctor", "dfad rerun manifest.json --wait"} <= set(ran)
    assert "Exit codes" in ran["dfad --help"]
    report = next(reader.folder.glob("job_*.report.html")).read_text()
    assert "https://" not in report.replace("https://arxiv.org", "")
    assert "<script src" not in report
    evaluation = next(text for text in README.inline if text.startswith('{"data"'))
    reader.run(f"curl -H 'Content-Type: application/json' -d '{evaluation}' {ADDRESS}/jobs/JOB/evaluations")


def test_a_hugging_face_folder_as_zip(reader: Shell) -> None:
    """A student from a config of transformers, exported as a folder, is what `--export huggingface` says."""
    config = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1]}
    spec = {"student": {"transformers": {**config, "layer_type": "basic"}}, "seed": 1}
    (reader.folder / "hf.json").write_text(json.dumps(spec))
    reader.run(f"dfad submit {TEACHER} --spec hf.json --steps 5 --export huggingface --wait")
    reader.run("dfad download JOB --format huggingface -o folder.zip")
    names = zipfile.ZipFile(reader.folder / "folder.zip").namelist()
    assert {Path(name).name for name in names} >= {"config.json", "model.safetensors"}


@pytest.mark.services
@pytest.mark.timeout(170)
def test_the_production_form(postgres_server: Postgres, redis: str, tmp_path: Path) -> None:
    """PostgreSQL, Redis, and the chapter's blocks from the first export to the last command."""
    from sqlalchemy import create_engine, text

    postgres_server.execute("CREATE DATABASE readme")  # empty: the block prepares it
    values = {**EXPORTS, "DFAD_DATABASE_URL": f"{postgres_server.server}/readme", "DFAD_BROKER_URL": redis}
    port = free_port()
    environment = clean_environment(HOME=str(tmp_path), DFAD_PORT=str(port), DFAD_HOME=str(tmp_path / "data"))
    shell = Shell(tmp_path, environment, values)
    shell.serve(f"http://127.0.0.1:{port}")
    try:
        for block in THERE:
            _endless(shell)
            play(shell, block)
        shell.ready()
        for job in json.loads(shell.run("dfad list --json"))["data"]:
            if not job["terminal"]:
                shell.run(f"dfad cancel {job['id']}")
        inside = create_engine(values["DFAD_DATABASE_URL"])
        with inside.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() > 0
        inside.dispose()
    finally:
        shell.close()


def _endless(shell: Shell) -> None:
    """A job that can be paused, once there is a service to run it."""
    if shell.beside:
        shell.ready()
        spec = {"student": {"architecture": "mlp8"}, "budget": {"steps": 1_000_000}}
        (shell.folder / "endless.json").write_text(json.dumps(spec))
        shell.run(f"dfad submit {TEACHER} --spec endless.json")
