"""Inline code of a document: what kind of claim it is, and whether it holds.

Each checker returns False for what it knows nothing about, and raises AssertionError for what is wrong.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import ValidationError

import dfad_client
from app.http.problems import CODES
from app.jobs.schemas import EvaluationReport, JobSpec
from app.platform.settings import Settings
from dfad_client import profiles
from dfad_client.cli import app as command_line
from dfad_core.contract.architectures import ARCHITECTURES, LIBRARIES
from dfad_core.contract.formats import STUDENT_FORMATS
from dfad_core.contract.methods import METHODS

ROOT = Path(__file__).resolve().parents[3]
#: Words that name nothing of this project's surface, or that a sentence around them explains.
WORDS = {
    "appendonly yes": "a setting of Redis",
    "maxmemory-policy noeviction": "a setting of Redis",
    "images": "an array of the labelled npz; tests/e2e/test_students_out.py uploads one",
    "labels": "the other",
    "AutoModelForImageClassification": "of transformers",
    "torch.export": "of torch",
    "torchrun": "of torch",
    "config.json": "of a Hugging Face folder",
    "pytorch_model.bin": "of a Hugging Face folder",
    ".venv": "the Makefile's folder",
    "./.dfad": "the default of DFAD_HOME, which is checked apart",
    "demo/report.html": "tests/e2e/test_demo.py looks at it",
    "demo/samples.png": "tests/e2e/test_demo.py looks at it",
    "/data": "a folder of the images; tests/e2e/test_images.py takes it from the Dockerfile",
    "/tmp": "the same",
    "/sys/kernel/security/lsm": "of Linux",
    "secrets/": "deploy/make-secrets.sh makes it; tests/e2e/test_images.py runs that",
    "student.safetensors": "test_readme.py looks at it",
    "report.html": "test_readme.py looks at it",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "of OpenTelemetry; tests/app/telemetry sends spans there",
}
#: Options whose values are names of ours.
VALUES: dict[str, Any] = {
    "--architecture": ARCHITECTURES,
    "--student": ARCHITECTURES,
    "--export": STUDENT_FORMATS,
    "--format": STUDENT_FORMATS,
    "--method": METHODS,
    "--kind": ("student", "report", "manifest", "samples"),
}


@cache
def _program() -> Any:
    return typer.main.get_command(command_line)


@cache
def commands() -> dict[str, Any]:
    """The commands of `dfad` by name; those of groups as `keys create`."""

    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, inner in getattr(command, "commands", {}).items():
            yield f"{name} {word}".strip(), inner
            yield from below(inner, f"{name} {word}".strip())

    return dict(below(_program(), ""))


def options(command: Any) -> set[str]:
    """The options that a command takes."""
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


def _check_values(words: list[str]) -> None:
    for option, value in pairwise(words):
        if option in VALUES and not value.startswith("-") and value not in ("FILE", "…", "NAME"):
            assert value in VALUES[option], f"{option} {value}"


def a_command(text: str) -> bool:
    """`dfad …`, also after others with `&&`: the command is there and takes these options."""
    *_, last = text.split(" && ")
    if last != "dfad" and not last.startswith("dfad "):
        return False
    words = shlex.split(last)[1:]
    asked = [word.partition("=")[0] for word in words if word.startswith("-")]
    named = [word for word in words if not word.startswith("-")]
    two, one = " ".join(named[:2]), " ".join(named[:1])
    if not named:
        assert set(asked) <= {"--help"} | {o for p in _program().params for o in p.opts}, text
        return True
    assert two in commands() or one in commands(), f"there is no `dfad {one}`"
    command = commands().get(two) or commands()[one]
    missing = [option for option in asked if option not in options(command)]
    assert not missing, f"`{text}`: it takes no {', '.join(missing)}"
    _check_values(words)
    return True


def an_option(text: str) -> bool:
    """`--option value`: some command takes it, and the value is one."""
    if not text.startswith("--"):
        return False
    everywhere = set().union(*(options(command) for command in commands().values()))
    words = shlex.split(text)
    missing = [word for word in words if word.startswith("--") and word not in everywhere]
    assert not missing, f"no command takes {', '.join(missing)}"
    _check_values(words)
    return True


@cache
def _other_variables() -> frozenset[str]:
    """Of the client and of Compose."""
    files = [*(ROOT / "dfad_client").rglob("*.py"), *ROOT.glob("docker-compose*.yml")]
    text = "".join(file.read_text() for file in files)
    return frozenset(re.findall(r"\bDFAD_[A-Z0-9_]+", text))


def a_setting(text: str) -> bool:
    """`DFAD_NAME`, alone or with a value: of the service or of the client."""
    found = re.match(r"(DFAD_[A-Z0-9_]+)(=.*)?$", text)
    if found is None:
        return False
    name = found.group(1)
    assert is_setting(name) or name in _other_variables(), f"nothing reads {name}"
    return True


def is_setting(name: str) -> bool:
    """Whether the service reads it, or the file that it names."""
    return name.removeprefix("DFAD_").removesuffix("_FILE").lower() in Settings.model_fields


@cache
def _paths() -> dict[str, set[str]]:
    from app.main import create_app

    described = create_app().openapi()["paths"]
    paths = {re.sub(r"\{\w+\}", "*", path): {m.upper() for m in ms} for path, ms in described.items()}
    return {**paths, "/openapi.json": {"GET"}, "/": {"GET"}, "/ui/new": {"GET"}}


def an_endpoint(text: str) -> bool:
    """`POST /jobs/JOB/evaluations` or `/capabilities`: in the description."""
    found = re.fullmatch(r"(?:(GET|POST|PUT|PATCH|DELETE) )?(/[\w./{}-]*)(\?\S*)?", text)
    if found is None:
        return False
    method, path, _ = found.groups()
    path = re.sub(r"\{\w+\}|\b[A-Z]+\b", "*", path)
    assert path in _paths(), f"there is no {path}"
    assert method is None or method in _paths()[path], text
    return True


def a_file(text: str) -> bool:
    """A path of the repository."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", text):
        return False
    looks = text.endswith((".py", ".md", ".yml", ".toml", "/")) or (ROOT / text).exists()
    if not looks:
        return False
    assert (ROOT / text).exists() or (ROOT / "examples" / "digits" / text).exists(), f"there is no {text}"
    return True


def a_module(text: str) -> bool:
    """`python -m NAME --option`: it is a program and knows the options."""
    found = re.match(r"(?:torchrun.* |python )-m ([\w.]+)(.*)$", text)
    if found is None:
        return False
    name, rest = found.groups()
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"there is no module {name}"
    assert spec.origin is not None
    origin = Path(spec.origin)
    program = origin.with_name("__main__.py") if origin.name == "__init__.py" else origin
    source = program.read_text()
    assert "__main__" in source or program.name == "__main__.py", f"{name} is no program"
    ast.parse(source)
    for option in set(re.findall(r"--[\w-]+", rest)) - {"--help"}:
        assert f'"{option}"' in source, f"{name} takes no {option}"
    return True


def a_target(text: str) -> bool:
    """`make NAME`."""
    found = re.fullmatch(r"make ([\w-]+)", text)
    if found is None:
        return False
    assert re.search(rf"^{found.group(1)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), text
    return True


def json_text(text: str) -> bool:
    """A JSON object: a spec, quotas or an evaluation. An ellipsis stands for more of the same."""
    if not text.startswith("{"):
        return False
    value = json.loads(re.sub(r",\s*…\s*(?=[\]}])", "", text))
    if set(value) == {"student"} and "…" in text:
        return _part_of_a_student(value["student"])
    if "data" in value:
        EvaluationReport.model_validate(value)
    elif set(value) & set(JobSpec.model_fields):
        JobSpec.model_validate({"student": {"architecture": "mlp8"}, **value})
    else:
        try:
            Settings.model_validate({"quotas": value})
        except ValidationError as error:
            raise AssertionError(f"{text}: neither spec, evaluation nor quotas") from error
    return True


def _part_of_a_student(student: dict[str, Any]) -> bool:
    """What is shown of it is as the spec's own parts are."""
    from dfad_core.contract import layer_list, transformers_config

    [(way, value)] = student.items()
    if way == "layers":
        tail = [{"type": "flatten"}, {"type": "linear", "features": 10}]
        for end in (tail, tail[1:], []):
            try:
                layer_list.checked([*value, *end])
            except Exception as error:  # noqa: BLE001  (the last one is what is wrong)
                wrong = error
            else:
                return True
        raise AssertionError(str(wrong))
    assert way == "transformers"
    assert transformers_config.checked({**value, "num_labels": 10})
    return True


def a_name_of_the_engine(text: str) -> bool:
    """`dfad_core.distill(teacher, student, config)`: it is there and takes these."""
    found = re.fullmatch(r"(dfad_core|dfad_client)\.(\w+)(?:\(([\w, ]*)\))?", text)
    if found is None:
        return False
    package, name, taken = found.groups()
    there = getattr(importlib.import_module(package), name)
    if taken:
        parameters = set(inspect.signature(there).parameters)
        assert {one.strip() for one in taken.split(",")} <= parameters, text
    return True


def a_client_call(text: str) -> bool:
    """`Client`, `client.usage()` or `client.jobs.wait(…)`: it is there and takes these, in both forms."""
    if re.fullmatch(r"[A-Z]\w+", text) and text in dfad_client.__all__:
        return True
    found = re.fullmatch(r"client\.([\w.]+)\((.*)\)", text)
    if found is None:
        return False
    path, given = found.groups()
    for form in (dfad_client.Client("http://127.0.0.1:1"), dfad_client.AsyncClient("http://127.0.0.1:1")):
        there = attrgetter(path)(form)
        call = ast.parse(f"f({given})", mode="eval").body
        assert isinstance(call, ast.Call)
        named = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        inspect.signature(there).bind(*call.args, **named)
    return True


def a_client_of_ours(text: str) -> bool:
    """`Client(tenant="…")`: it can be made so."""
    found = re.fullmatch(r"Client\((\w+)=[^,()]+\)", text)
    if found is None:
        return False
    assert found.group(1) in inspect.signature(dfad_client.Client).parameters, text
    return True


def a_header(text: str) -> bool:
    """`Name: value`: a header that the description has, with a value that it takes."""
    found = re.fullmatch(r"([A-Z]\w+(?:-\w+)+): (\S+)", text)
    if found is None:
        return False
    from app.main import create_app

    described = create_app().openapi()["components"]["parameters"].values()
    schemas = [one["schema"] for one in described if (one["name"], one["in"]) == (found.group(1), "header")]
    value = "name" if found.group(2) == "NAME" else found.group(2)
    assert any(re.search(schema["pattern"], value) for schema in schemas), text
    return True


def a_container_command(text: str) -> bool:
    """`sh FILE && docker compose up …`: file and service are there; tests/deploy holds what they do."""
    found = re.fullmatch(r"sh (\S+) && docker compose up [\w -]*--scale (\w+)=\d+", text)
    if found is None:
        return False
    file, service = found.groups()
    assert (ROOT / file).is_file(), text
    assert service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"], text
    return True


def a_file_at_home(text: str) -> bool:
    """`~/.config/dfad/config.toml`: where profiles are looked for."""
    if not text.startswith("~/"):
        return False
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DFAD_CONFIG", "XDG_CONFIG_HOME"):
            patch.delenv(name, raising=False)
        assert profiles.config_path() == Path(text).expanduser()
    return True


def a_known_name(text: str) -> bool:
    """A method, an architecture, a format, a field of the spec, an extra, a suffix."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if found := re.fullmatch(r"pip install '(?:dfad)?\[([\w,]+)\]'|pip install -e '\.\[([\w,]+)\]'", text):
        assert set((found.group(1) or found.group(2)).split(",")) <= set(extras), text
        return True
    fields = {*JobSpec.model_fields, "dfad", "error.code"}
    loaders = {".safetensors", ".pt", ".pth"}
    libraries = {f"{library}:<name>" for library in LIBRARIES}
    return text in {*METHODS, *ARCHITECTURES, *STUDENT_FORMATS, *extras, *fields, *loaders, *libraries}


def a_code(text: str) -> bool:
    """A code of a refusal, as clients get it."""
    return text in CODES


def a_figure(text: str) -> bool:
    """A name in /metrics, with labels or without."""
    found = re.fullmatch(r"(dfad_\w+)(\{.*\})?", text)
    if found is None or found.group(1) in {*METHODS, "dfad_core", "dfad_client"}:
        return False
    source = "".join(file.read_text() for file in (ROOT / "app" / "telemetry").glob("*.py"))
    name = found.group(1).removesuffix("_total")
    assert f'"{name}"' in source, f"/metrics has no {found.group(1)}"
    return True


CHECKERS: tuple[Callable[[str], bool], ...] = (
    lambda text: text in WORDS,
    a_command,
    an_option,
    a_setting,
    a_module,
    a_target,
    json_text,
    a_name_of_the_engine,
    a_client_call,
    a_client_of_ours,
    a_header,
    a_container_command,
    a_file_at_home,
    an_endpoint,
    a_known_name,
    a_code,
    a_figure,
    a_file,
)


def recognised(text: str) -> bool:
    """Whether some checker knows the claim; it held then."""
    return any(checker(text) for checker in CHECKERS)
