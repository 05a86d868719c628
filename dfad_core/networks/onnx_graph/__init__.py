"""Networks from a graph of operators: description, checks and construction."""

from dfad_core.networks.onnx_graph.build import Built, build_graph
from dfad_core.networks.onnx_graph.spec import Graph, Node

__all__ = ["Built", "Graph", "Node", "build_graph"]
