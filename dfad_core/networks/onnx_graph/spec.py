"""Description of a network: ONNX operators in order, with the names of their inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dfad_core.contract.errors import TeacherRejected

MAX_NODES = 50_000
MAX_ARITY = 4096


@dataclass(frozen=True)
class Node:
    """One call of one operator."""

    op: str
    inputs: tuple[str, ...]
    """Names of values or tensors; "" stands for an absent optional input."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, texts and lists of them; never tensors."""


@dataclass(frozen=True)
class Graph:
    """A whole network without its weights, which are stored separately by name."""

    input: str
    output: str
    nodes: tuple[Node, ...]
    opset: int
    """Version of the ONNX operators; their meaning depends on it."""
    batch: int | None = None
    """Batch size of a graph with a fixed one; None where the batch size is free."""
    probabilities: bool = False
    """Whether the output is probabilities, whose logits are computed from them."""

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """The graph of such a text. Raises TeacherRejected (`corrupt_file`) for any other text."""
        try:
            data = json.loads(text)
            nodes = tuple(
                Node(str(n["op"]), _names(n["inputs"]), _names(n["outputs"]), dict(n["attributes"]))
                for n in data["nodes"]
            )
            batch = data["batch"]
            return cls(
                str(data["input"]),
                str(data["output"]),
                nodes,
                int(data["opset"]),
                None if batch is None else int(batch),
                bool(data["probabilities"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise TeacherRejected("The graph's description is invalid.", code="corrupt_file") from error

    def check(self) -> None:
        """Raise TeacherRejected (`structure_limit`) for more nodes or inputs than any network has."""
        if len(self.nodes) > MAX_NODES or any(len(n.inputs) + len(n.outputs) > MAX_ARITY for n in self.nodes):
            text = "The graph has too many nodes, or a node has too many inputs."
            raise TeacherRejected(text, code="structure_limit")


def _names(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
