"""ONNX graphs, written node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 9  # what onnxruntime 1.24 reads


class Graph:
    """Nodes and constants of one ONNX graph, named in the order in which they came."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        """A number or an array of them; returns its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, named: str | None = None, **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        name = named or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def size(self, tensor: str, axis: int) -> str:
        """How long it is along one axis, as a vector of one number."""
        return self.add("Gather", self.add("Shape", tensor), self.constant([axis]))

    def zeros(self, *parts: str) -> str:
        """A tensor of zeros; parts: vectors that together are its shape."""
        return self.add("ConstantOfShape", self.add("Concat", *parts, axis=0))

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """The graph, whole."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


def branch(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.GraphProto:
    """One side of an If; each node gives one of its outputs."""
    outputs = [tensor(node.output[0], None) for node in nodes]
    return helper.make_graph(nodes, name, [], outputs)


def tensor(name: str, shape: Sequence[str | int] | None) -> onnx.ValueInfoProto:
    """An input or output of float32; a length that may vary has a name."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def save(model: onnx.ModelProto, file: Path) -> None:
    """Write it, if it is a valid one."""
    onnx.checker.check_model(model, full_check=True)
    file.write_bytes(model.SerializeToString())
