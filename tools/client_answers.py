"""`python tools/client_answers.py`: write `dfad_client/results.py` from `dfad_core/contract`.

The client imports nothing of the engine, so the JSON of results and inspections is described once more in it:
as TypedDicts, made from the dataclasses' own source with their docstrings.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "dfad_client" / "results.py"
CONTRACT = ROOT / "dfad_core" / "contract"
SOURCES = (
    ("config.py", ("InputConfig",)),
    ("limits.py", ("PassMemory",)),
    ("inspection.py", None),
    ("job_result.py", None),
)
"""Files with the classes that are taken; None: all."""
BY_HAND = {"JobError"}
"""Classes that `dfad_client.answers` has as dataclasses."""
HEADER = '''# Made from dfad_core/contract by `python tools/client_answers.py`: change that, and run it.
"""Results and inspections as the service writes them. Those of earlier versions may lack entries."""

from __future__ import annotations

from typing import Any, TypedDict

Setting = bool | int | float | str | None
"""One JSON value that is neither a list nor an object."""
'''


class _JsonTypes(ast.NodeTransformer):
    """Types of Python as those that JSON is read into."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """`object` is any JSON value, `Mapping` a dict."""
        return ast.Name({"object": "Any", "Mapping": "dict"}.get(node.id, node.id))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """A tuple is a list; the metadata of an annotation is dropped."""
        self.generic_visit(node)
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        if name == "tuple" and isinstance(node.slice, ast.Tuple):
            return ast.Subscript(ast.Name("list"), node.slice.elts[0])
        return node


def _described(source: Path, names: tuple[str, ...] | None) -> Iterator[str]:
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name not in BY_HAND and (not names or node.name in names):
            yield _typed_dict(node)


def _typed_dict(node: ast.ClassDef) -> str:
    lines = [f"class {node.name}(TypedDict, total=False):", f'    """{ast.get_docstring(node)}"""', ""]
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or "ClassVar" in ast.unparse(statement.annotation):
            continue
        assert isinstance(statement.target, ast.Name)
        lines.append(f"    {statement.target.id}: {ast.unparse(_JsonTypes().visit(statement.annotation))}")
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            assert isinstance(following.value.value, str)
            lines.append(f'    """{following.value.value}"""')
    return "\n".join(lines) + "\n"


def written() -> str:
    """The module as it has to be."""
    classes = [text for name, names in SOURCES for text in _described(CONTRACT / name, names)]
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    source = "\n\n".join([HEADER, *classes])
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout


if __name__ == "__main__":
    TARGET.write_text(written(), encoding="utf-8")
