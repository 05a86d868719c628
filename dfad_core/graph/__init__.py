"""Networks that come as a graph of operators instead of as a class: described, checked, built."""

from dfad_core.graph.build import build_graph
from dfad_core.graph.spec import Graph, Node

__all__ = ["Graph", "Node", "build_graph"]
