"""What a student's file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dfad_core.config import InputConfig

KEY = "dfad"


@dataclass(frozen=True)
class StudentMetadata:
    """Enough to build the network again and to feed it rightly."""

    architecture: str
    args: dict[str, Any]
    num_classes: int
    input: InputConfig
    extra: dict[str, Any] = field(default_factory=dict)

    def to_strings(self) -> dict[str, str]:
        """As safetensors metadata, which maps text to text."""
        return {"format": "pt", KEY: json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def from_strings(cls, metadata: Mapping[str, str]) -> StudentMetadata | None:
        """None for a file that this project did not write. Raises ValueError on a garbled one."""
        if KEY not in metadata:
            return None
        data = json.loads(metadata[KEY])
        given = data.pop("input")
        mean, std = (tuple(given[k]) if given[k] is not None else None for k in ("mean", "std"))
        channels, height, width = given["shape"]
        return cls(input=InputConfig((channels, height, width), mean, std), **data)
