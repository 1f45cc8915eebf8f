"""Widen: float16 tensors become float32, for backends that compute in nothing narrower."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.passes.normal_form import normal_form

if TYPE_CHECKING:
    from sprue.backend import Samples

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT


@dataclass(frozen=True)
class Widen:
    """float16 at the graph's border only; a Cast to float16 inside still rounds.

    Before::

        x[float16] -> MatMul(w[float16]) -> y[float16]

    After::

        x[float16] -> Cast -> MatMul(w[float32]) -> Cast -> y[float16]

    Results are at least as exact: what was rounded after each operator is rounded once, at the end.
    """

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {"onnx": version("onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The widened model; the model itself where it holds no float16."""
        if HALF not in _types(model) or any(a.HasField("g") for n in model.graph.node for a in n.attribute):
            return model
        made = ModelProto()
        made.CopyFrom(model)
        graph = made.graph
        before = [_cast(v.name, f"{v.name}/float32", SINGLE) for v in graph.input if _half(v)]
        names = {n.input[0]: n.output[0] for n in before}
        after = [_cast(f"{v.name}/float32", v.name, HALF) for v in graph.output if _half(v)]
        names |= {n.output[0]: n.input[0] for n in after if n.output[0] not in names}
        nodes = [new for node in graph.node for new in _widened(node, names)]
        for tensor in graph.initializer:
            tensor.CopyFrom(_single(tensor))
        graph.ClearField("node")
        graph.node.extend([*before, *nodes, *after])
        return normal_form(made)


def _types(model: ModelProto) -> set[int]:
    graph = model.graph
    found = {t.data_type for t in graph.initializer}
    found |= {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return found | {a.t.data_type for n in graph.node for a in n.attribute if a.HasField("t")}


def _half(value: object) -> bool:
    return bool(value.type.tensor_type.elem_type == HALF)  # type: ignore[attr-defined]  # a ValueInfoProto


def _cast(source: str, name: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [name], f"{name}/cast", to=kind)


def _widened(node: NodeProto, names: dict[str, str]) -> list[NodeProto]:
    """The node on float32 values, and a Cast back behind one that rounds to float16 on purpose."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(n, n) for n in node.input]
    copy.output[:] = [names.get(n, n) for n in node.output]
    for attribute in copy.attribute:
        if attribute.HasField("t"):
            attribute.t.CopyFrom(_single(attribute.t))
        if attribute.name == "dtype" and attribute.i == HALF:
            attribute.i = SINGLE
    if node.op_type == "Cast" and any(a.name == "to" and a.i == HALF for a in node.attribute):
        result = copy.output[0]
        copy.output[0] = f"{result}/float16"
        return [copy, _cast(copy.output[0], result, SINGLE)]
    return [copy]


def _single(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != HALF:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
