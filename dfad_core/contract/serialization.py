"""Frozen dataclasses to JSON and back. Reading never fails on a document that an earlier version has written.

A field with the metadata `ABSENT` is left out of the JSON while it is None; every other field is written.
Without pydantic: a service that uses one of these classes in its own schemas gets the JSON of `to_json`
through `Document`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, TypeAlias, TypeVar, cast

T = TypeVar("T")
Setting = bool | int | float | str | None
"""One JSON value that is neither a list nor an object."""
JsonValue: TypeAlias = Setting | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
"""Any JSON value."""
JsonObject: TypeAlias = dict[str, JsonValue]
"""An object whose entries are not known here: a stored row, what a user wrote."""
_MISSING: Any = object()
ABSENT: Mapping[str, bool] = {"absent": True}
"""Metadata of a field that is left out of the JSON while it is None."""


class Document:
    """Base of dataclasses that the service uses in the schemas of its answers."""

    __pydantic_config__: ClassVar[dict[str, bool]] = {"use_attribute_docstrings": True}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """The schema of the fields, written as `to_json` does."""
        schema = dict(handler(source))
        schema["serialization"] = {"type": "function-plain", "function": to_json}
        return schema


def to_json(instance: Any) -> JsonObject:
    """A dataclass instance as a JSON object: tuples as lists, mappings as objects."""
    return {
        name: _plain(value)
        for name, leave_out in _fields(cast(Hashable, type(instance)))
        if not ((value := getattr(instance, name)) is None and leave_out)
    }


@cache
def _fields(cls: Any) -> tuple[tuple[str, bool], ...]:
    return tuple((field.name, field.metadata == ABSENT) for field in dataclasses.fields(cls))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value]


def from_json(cls: type[T], data: object) -> T:
    """An instance of the dataclass `cls` from a JSON object.

    Unknown entries are dropped. A field whose entry is missing or of another type has its default; without a
    default it has 0, "", an empty collection or, where it is a dataclass, an instance of such values.
    """
    value = _reader(cast(Hashable, cls))(data if isinstance(data, Mapping) else {})
    return cast(T, value)


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """The function that turns a JSON value into one of the type `hint`, or into _MISSING."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(tuple(_reader(option) for option in arguments if option is not type(None)), hint)
    if origin is tuple:
        return _tuple(arguments)
    if origin is not None:
        return _mapping(_reader(arguments[1]))
    if dataclasses.is_dataclass(hint):
        return _dataclass(cast(type, hint))
    return _scalar(hint)


def _scalar(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        return value if kind is object or type(value) is kind else _MISSING

    return read


def _union(options: Sequence[Callable[[Any], Any]], hint: Any) -> Callable[[Any], Any]:
    nullable = type(None) in typing.get_args(hint)

    def read(value: Any) -> Any:
        if value is None or value == {}:  # earlier versions wrote {} for None
            return None if nullable else _MISSING
        for option in options:
            result = option(value)
            if result is not _MISSING:
                return result
        return _MISSING

    return read


def _tuple(arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    any_length = len(arguments) == 2 and arguments[1] is Ellipsis
    read_item = _reader(arguments[0])

    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return _MISSING
        items = tuple(item for item in map(read_item, value) if item is not _MISSING)
        return items if any_length or len(items) == len(arguments) else _MISSING

    return read


def _mapping(read_item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return _MISSING
        pairs = ((str(name), read_item(inner)) for name, inner in value.items())
        return {name: inner for name, inner in pairs if inner is not _MISSING}

    return read


def _dataclass(cls: type) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(cls)
    required = {
        field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(cls)
    }
    readers = {name: _reader(hints[name]) for name in required}

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return _MISSING
        values = {}
        for name, reader in readers.items():
            result = reader(value[name]) if name in value else _MISSING
            if result is _MISSING and required[name]:
                result = _empty(hints[name])
            if result is not _MISSING:
                values[name] = result
        try:
            return cls(**values)
        except ValueError:  # its own bounds
            return _MISSING

    return read


def _empty(hint: Any) -> Any:
    """The value of a field without entry and default."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return None
    if origin is tuple:
        return ()
    if origin is not None:
        return {}
    return _reader(cast(Hashable, hint))({}) if dataclasses.is_dataclass(hint) else hint()
