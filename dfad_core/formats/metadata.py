"""The metadata in a student's file: its architecture, its arguments and its input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import InputConfig
from dfad_core.formats.class_names import found_in_strings

KEY, LABELS = "dfad", "id2label"
MAX_NUMBER = 100_000
"""Largest number of classes in a file's metadata; sides and channels have bounds of their own."""


@dataclass(frozen=True)
class StudentMetadata:
    """Everything needed to build the network again and to normalise its input."""

    architecture: str
    args: dict[str, Any]
    num_classes: int
    input: InputConfig
    extra: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    """One for each class, or none at all."""

    def to_strings(self) -> dict[str, str]:
        """As metadata of safetensors and ONNX, which map text to text; class names also as `id2label`."""
        data = asdict(self)
        names = data.pop("class_names")
        strings = {"format": "pt", KEY: json.dumps(data, sort_keys=True)}
        return {**strings, LABELS: json.dumps(dict(enumerate(names)))} if names else strings

    @classmethod
    def from_strings(cls, metadata: Mapping[str, str]) -> StudentMetadata | None:
        """The metadata in a file; None if this project did not write it. Raises ValueError if invalid."""
        if KEY not in metadata:
            return None
        try:
            data = json.loads(metadata[KEY])
            input, args = InputConfig.from_json(data["input"]), dict(data["args"])
            row = get_architecture(data["architecture"])
            row.check_args(args)
            extra, classes = dict(data.get("extra", {})), _integer(data["num_classes"])
            return cls(row.name, args, classes, input, extra, found_in_strings(metadata, classes))
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError("the metadata of this project is invalid") from error


def _integer(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_NUMBER:
        raise ValueError("not a positive whole number")
    return value
