"""Names of a classifier's classes, as configs, checkpoints and the metadata of files have them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_NAME = 200
MAX_CHARACTERS = 1_000_000
"""Largest number of characters of all names together."""
BY_NUMBER = ("id2label", "label_names", "idx_to_class", "class_names", "classes", "names", "labels")
BY_NAME = ("class_to_idx", "label2id")
_DEFAULT = re.compile(r"LABEL_\d+")
"""What transformers calls the classes of a network that was given no names."""
_ENTRY = re.compile(r"""(?<!\d)(\d{1,6})\s*:\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""")
"""An entry of a Python dictionary, as exporters write it into the metadata of ONNX files."""


def checked(value: Any, classes: int) -> tuple[str, ...]:
    """The names in a list, or in a mapping from the number of each class; () where that is no name for each
    class, or they are the defaults of transformers.

    Control characters are replaced by spaces, and names are cut to MAX_NAME characters.
    """
    if isinstance(value, Mapping):
        by_number = {str(number): name for number, name in value.items()}
        value = [by_number.get(str(number)) for number in range(classes)]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != classes:
        return ()
    if not all(isinstance(name, str) for name in value) or sum(map(len, value)) > MAX_CHARACTERS:
        return ()
    if all(_DEFAULT.fullmatch(name) for name in value):
        return ()
    return tuple(plain(name) for name in value)


def found_in(entries: Any, classes: int) -> tuple[str, ...]:
    """The names among the entries of a config or a checkpoint; () without any."""
    if not isinstance(entries, Mapping):
        return ()
    for key in BY_NUMBER:
        if names := checked(entries.get(key), classes):
            return names
    for key in BY_NAME:
        numbers = entries.get(key)
        if not isinstance(numbers, Mapping) or any(type(number) is not int for number in numbers.values()):
            continue
        if names := checked({number: name for name, number in numbers.items()}, classes):
            return names
    return ()


def found_in_strings(metadata: Mapping[str, str], classes: int) -> tuple[str, ...]:
    """The names in a file's metadata, which maps text to text: JSON, or a dictionary as Python prints it."""
    entries = {key: _parsed(metadata[key]) for key in (*BY_NUMBER, *BY_NAME) if key in metadata}
    return found_in(entries, classes)


def _parsed(text: str) -> Any:
    if len(text) > 2 * MAX_CHARACTERS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {number: single or double for number, single, double in _ENTRY.findall(text)}


def plain(name: str) -> str:
    """A name without control characters, cut to MAX_NAME characters."""
    text = "".join(character if character.isprintable() else " " for character in name)
    return text[:MAX_NAME]
