"""ONNX -> Graph: every tensor gets a static shape, constants are gathered, what C cannot hold is named."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.backend import Finding
from sprue.graph import attributes, opset

from .devices import elf
from .nodes import Array, Graph, Node, Value

OLDEST_OPSET = 7
"""Before it, broadcasting was an attribute and BatchNormalization another operator."""

DTYPES = tuple(np.dtype(name) for name in elf.DTYPES)
"""What a firmware can say of its inputs and outputs is what the kernels know."""


def read_graph(model: ModelProto) -> tuple[Graph, list[Finding]]:
    """The graph and what stands in the way of it: opset, domains, subgraphs, dtypes, dynamic shapes."""
    findings = _versions(model)
    if findings:
        empty = Graph(model.graph.name, opset(model), (), {}, {}, (), ())
        return empty, findings
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        inferred = model
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if _known(t)}
    nodes: list[Node] = []
    names: set[str] = set()  # here they tell nodes apart
    for index, proto in enumerate(inferred.graph.node):
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant(proto)
            continue
        name = proto.name or f"{proto.op_type}_{index}"
        while name in names:
            name += f"_{index}"
        names.add(name)
        nodes.append(Node(name, proto.op_type, tuple(proto.input), tuple(proto.output), attributes(proto)))
        findings += _node_findings(proto, name)
    typed = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    values = {v.name: value for v in typed if (value := _value(v)) is not None}
    values |= {name: Value(array.dtype, array.shape) for name, array in constants.items()}
    inputs = tuple(v.name for v in model.graph.input if v.name not in constants)
    outputs = tuple(v.name for v in model.graph.output)
    findings += _shape_findings(inferred, nodes, values, set(inputs))
    graph = Graph(model.graph.name, opset(model), tuple(nodes), values, constants, inputs, outputs)
    return graph, findings


def _versions(model: ModelProto) -> list[Finding]:
    newest = onnx.defs.onnx_opset_version()
    version = opset(model)
    if OLDEST_OPSET <= version <= newest:
        return []
    return [
        Finding(
            "operator", "", "", f"opset {version} is outside {OLDEST_OPSET}..{newest}",
            "convert the model with onnx.version_converter",
        )
    ]  # fmt: skip


def _node_findings(proto: NodeProto, name: str) -> list[Finding]:
    found = []
    if proto.domain not in ("", "ai.onnx"):
        found.append(
            Finding("operator", name, f"{proto.domain}.{proto.op_type}",
                    f"the operator domain '{proto.domain}' has no C kernels",
                    "export with standard ONNX operators only")
        )  # fmt: skip
    elif any(a.HasField("g") or a.graphs for a in proto.attribute):
        found.append(
            Finding("operator", name, proto.op_type, "it holds a subgraph: control flow that depends on data",
                    "export the model without loops and conditions")
        )  # fmt: skip
    return found


def _shape_findings(
    model: ModelProto, nodes: list[Node], values: dict[str, Value], inputs: set[str]
) -> list[Finding]:
    declared = {v.name: v for v in [*model.graph.input, *model.graph.output, *model.graph.value_info]}
    remedy = "fix every dimension but the batch when the model is exported"
    found = []
    names = [(name, "", "") for name in sorted(inputs)]
    names += [(o, n.name, n.op) for n in nodes for o in n.outputs if o]
    for name, node, op in names:
        if name in values:
            continue
        info = declared.get(name)
        kind = info.type.WhichOneof("value") if info is not None else None
        if kind not in (None, "tensor_type"):
            found.append(
                Finding("operator", node, op, f"'{name}' is a {kind}, not a tensor", "use tensors only")
            )
        elif info is not None and not _dtype_known(info.type.tensor_type.elem_type):
            dtype = TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
            found.append(Finding("operator", node, op, f"'{name}' holds {dtype}, which the C kernels lack",
                                 "cast it to float32 or an integer type"))  # fmt: skip
        else:
            found.append(
                Finding("shape", node, op, f"the shape of '{name}' is not known at build time", remedy)
            )
            break  # what follows from one unknown shape would only repeat it
    return found


def _constant(proto: NodeProto) -> Array:
    attribute = proto.attribute[0]
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        array: Array = numpy_helper.to_array(value)
        return array
    floats = attribute.name in ("value_float", "value_floats")
    return np.asarray(value, np.float32 if floats else None)


def _value(info: onnx.ValueInfoProto) -> Value | None:
    tensor = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type" or not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    if not _dtype_known(tensor.elem_type) or not all(d.HasField("dim_value") for d in dims):
        return None
    return Value(
        np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), tuple(d.dim_value for d in dims)
    )


def _known(tensor: TensorProto) -> bool:
    return _dtype_known(tensor.data_type)


def _dtype_known(kind: int) -> bool:
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return False
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind)) in DTYPES
