"""Modules of the client that are made from others: the synchronous twin, and the types of results."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> Any:
    return loaded("sync_twin")


def test_types_of_results_are_those_of_the_contract() -> None:
    made = loaded("client_answers")
    assert made.TARGET.read_text(encoding="utf-8") == made.written(), "run `make format`"


def test_what_is_committed_is_what_the_tool_makes(tool: Any) -> None:
    assert tool.outdated() == []


def test_what_is_turned_into_what(tool: Any) -> None:
    made = tool.twin_of(
        "from x import aclosing\n\n\nclass AsyncThing:\n"
        "    async def __aenter__(self) -> None:\n"
        "        async with aclosing(self) as y, AsyncOther():\n"
        '            print("await", await y.aread())\n',
        "x.py",
    )
    assert made.splitlines()[1:] == [
        "from x import closing",
        "",
        "",
        "class Thing:",
        "    def __enter__(self) -> None:",
        "        with closing(self) as y, Other():",
        '            print("await", y.read())',
    ]
