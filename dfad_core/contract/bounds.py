"""Numeric bounds, defined once on a field and checked everywhere.

A frozen dataclass declares `steps: Annotated[int, Range(ge=1)]` and calls `check_ranges(self)` in
`__post_init__`. Plain Python callers get a `ConfigError` that names the field; a service that
builds the dataclass through pydantic gets the same bound in its validation errors and in its JSON
Schema, because `Range` implements pydantic's annotation protocol without importing pydantic.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

from dfad_core.contract.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Range:
    """Inclusive (`ge`, `le`) and exclusive (`gt`, `lt`) bounds of a finite number, and its divisor."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None

    def problem(self, value: float) -> str | None:
        """How `value` violates the bounds, as in "must be at least 1"; None if it does not."""
        if not math.isfinite(value):
            return "must be a finite number"
        problems = (
            (self.ge is not None and value < self.ge, f"must be at least {self.ge}"),
            (self.gt is not None and value <= self.gt, f"must be greater than {self.gt}"),
            (self.le is not None and value > self.le, f"must be at most {self.le}"),
            (self.lt is not None and value >= self.lt, f"must be less than {self.lt}"),
            (
                self.multiple_of is not None and value % self.multiple_of != 0,
                f"must be a multiple of {self.multiple_of}",
            ),
        )
        return next((text for is_violated, text in problems if is_violated), None)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Put the bounds into pydantic's own schema of the number."""
        schema = dict(handler(source))
        bounds = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        if schema["type"] == "float":
            schema["allow_inf_nan"] = False
        schema.update(bounds)
        return schema


def _bounds(cls: type[Any]) -> tuple[tuple[str, Range], ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    ranges = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        for option in typing.get_args(hint) if union else (hint,):
            for extra in getattr(option, "__metadata__", ()):
                if isinstance(extra, Range):
                    ranges.append((field.name, extra))
    return tuple(ranges)


def check_ranges(instance: Any) -> None:
    """Check the fields of a dataclass instance against their `Range`; None is always valid.

    Raises ConfigError with `param` set to the field's name.
    """
    for name, bound in _bounds(type(instance)):
        value = getattr(instance, name)
        if value is None:
            continue
        problem = bound.problem(value)
        if problem:
            raise ConfigError(f"{name} {problem}", param=name)
