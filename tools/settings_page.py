"""`python tools/settings_page.py`: write `docs/settings.md` from `app/platform/setting_groups.py`.

Names, types, bounds and defaults come from the classes, the texts from their source.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pydantic import AliasChoices, BaseModel, SecretStr  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from app.platform.setting_groups import GROUPS  # noqa: E402
from app.platform.settings import PREFIX  # noqa: E402

TARGET = ROOT / "docs" / "settings.md"
HEADER = """# Settings

<!-- Made from app/platform/setting_groups.py by `python tools/settings_page.py`: change that, and run it. -->

Every setting is a variable of the environment. Any `DFAD_*` may stand in a file instead, which the name with
`_FILE` at its end names: `DFAD_API_KEY_FILE=/run/secrets/api_key`. A variable that is set to nothing counts
as not set. A program whose settings are wrong ends with exit code 2 and a line that names the setting; a
variable `DFAD_*` that no setting has is named in the log at the start. How they are used is in
[operations.md](operations.md).
"""
TYPES = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret",
}
SIGNS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def written() -> str:
    """The page as it has to be."""
    return "\n".join([HEADER, *(line for group in GROUPS for line in _section(group))])


def _section(group: type[BaseModel]) -> Iterator[str]:
    title, _, text = inspect.cleandoc(group.__doc__ or "").partition("\n\n")
    texts = _texts(group)
    yield f"## {title}\n"
    yield f"{' '.join(text.split())}\n"
    yield "| variable | type | default | what it is |"
    yield "| --- | --- | --- | --- |"
    for name in group.model_fields:
        field = group.model_fields[name]
        yield f"| `{_variable(name, field)}` | {_type(field)} | {_default(field)} | {texts[name]} |"
    yield ""


def _texts(group: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(group))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _variable(name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[-1])
    return f"{PREFIX}{name.upper()}"


def _type(field: FieldInfo) -> str:
    bounds = [*field.metadata, *_inner_metadata(field.annotation)]
    signs = [text.format(getattr(bound, sign)) for bound in bounds for sign, text in SIGNS.items()
             if hasattr(bound, sign)]  # fmt: skip
    lengths = [f"at least {bound.min_length} characters" for bound in bounds if hasattr(bound, "min_length")]
    return ", ".join([_base(field.annotation), *signs, *(text for text in lengths if " 1 " not in text)])


def _inner_metadata(annotation: Any) -> list[Any]:
    """Bounds of `Annotated[…] | None`."""
    inner = [part for part in get_args(annotation) if hasattr(part, "__metadata__")]
    return [bound for part in inner for info in part.__metadata__ for bound in info.metadata]


def _base(annotation: Any) -> str:
    if annotation in TYPES:
        return TYPES[annotation]
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if all(isinstance(part, str) for part in parts):
        return ", ".join(f"`{part}`" for part in parts)
    if getattr(annotation, "__origin__", None) in (tuple, dict):
        return "JSON"
    return _base(parts[0])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value in ((), {}):
        return ""
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(written(), encoding="utf-8")
