"""What a package takes from another has types that say what is in it: no `dict[str, Any]` crosses over."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("dfad_core", "app", "worker", "dfad_client")
FILES = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
MODULES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): ast.parse((ROOT / path).read_text())
    for path in FILES
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _imported() -> Iterator[tuple[str, str]]:
    """Module and name of each import from another package."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            package = (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else ""
            if package in PACKAGES and package != module.split(".")[0]:
                assert isinstance(node, ast.ImportFrom)
                yield from ((str(node.module), alias.name) for alias in node.names)


def _definitions(module: str, name: str) -> Iterator[ast.stmt]:
    """What defines the name, also where an `__init__` hands it on; of a module, all that it defines."""
    if f"{module}.{name}" in MODULES:
        yield from MODULES[f"{module}.{name}"].body
        return
    for node in MODULES[module].body:
        if isinstance(node, Function | ast.ClassDef) and node.name == name:
            yield node
        elif isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            yield from _definitions(node.module, name) if node.module in MODULES else ()


def _annotations(node: ast.stmt) -> Iterator[ast.expr | None]:
    """Of a public function's arguments and result; of a class's fields and public methods."""
    if not isinstance(node, Function | ast.ClassDef) or (node.name[0] == "_" and node.name != "__init__"):
        return
    if isinstance(node, Function):
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        yield from (*(argument.annotation for argument in arguments), node.returns)
    for inner in () if isinstance(node, Function) else node.body:
        yield from [inner.annotation] if isinstance(inner, ast.AnnAssign) else _annotations(inner)


def test_no_dictionary_of_anything_crosses_over() -> None:
    crossing = {
        f"{module}.{name}": [ast.unparse(a) for d in _definitions(module, name) for a in _annotations(d) if a]
        for module, name in _imported()
    }
    assert any("JsonObject" in types for types in crossing.values()), "it looks at signatures"
    assert [name for name, types in crossing.items() if any("dict[str, Any]" in t for t in types)] == []
