"""Networks that come as a graph of operators instead of as a class: described, checked, built."""

from dfad_core.networks.onnx_graph.build import build_graph
from dfad_core.networks.onnx_graph.spec import Graph, Node

__all__ = ["Graph", "Node", "build_graph"]
