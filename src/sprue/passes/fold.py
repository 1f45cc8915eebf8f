"""What is known of ONNX values before they run: shapes, and the values of what depends on constants only."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TypeProto, helper, numpy_helper

Array = NDArray[np.generic]
Shape = tuple[int, ...]

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
WRONG = frozenset(
    {"Attention", "AveragePool", "BatchNormalization", "ConvTranspose", "GlobalAveragePool"}
    | {"GlobalMaxPool", "GridSample", "GRU", "Hardmax", "LogSoftmax", "LpNormalization", "LRN", "LSTM"}
    | {"MaxPool", "Resize", "RNN", "RoiAlign", "Softmax"}
)
"""Of these, ONNX's reference implementation computes some forms otherwise than ONNX says (onnx 1.23).

Groups, older operator sets, `clip`, more than one sample, ties of roundings: found by random graphs.
"""
MAX_FOLDED = 1 << 24
"""Elements. A larger result is left to the runtime, so that a small file stays a small file."""
MAX_KNOWN = 1 << 12
"""Elements of constants that shape inference is shown: shapes, axes, repeats."""

CASTS = frozenset({"Cast", "CastLike"})
SAME_SHAPE = frozenset(
    CASTS
    | {
        "Abs",
        "Ceil",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Neg",
    }
    | {"Not", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh"}
)
"""Operators whose first input has the output's shape."""

UNKNOWN = (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, onnx.checker.ValidationError)
"""What inference raises, the last for operators that an operator set has withdrawn."""
PAIRS = frozenset({"Add", "Sub", "Mul", "Div"})
ONE_AXIS = frozenset({"BlackmanWindow", "HammingWindow", "HannWindow", "Range"})
"""Operators whose result has one axis, however long."""

Known = tuple[np.dtype[np.generic], Shape]


def type_proto(dtype: np.dtype[np.generic], shape: Shape) -> TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape)


def known(proto: TypeProto) -> Known | None:
    """dtype and shape, when both are fixed."""
    if not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return None
    dims = proto.tensor_type.shape.dim
    if proto.tensor_type.elem_type == 0 or not all(d.HasField("dim_value") for d in dims):
        return None
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type))
    return dtype, tuple(d.dim_value for d in dims)


def infer(
    node: NodeProto,
    opset: int,
    types: Mapping[str, Known],
    constants: Mapping[str, Array],
    shapes: Mapping[str, Shape],
) -> dict[str, Known]:
    """What ONNX's own shape inference knows of the outputs of one node. Empty when it knows nothing.

    `shapes` are known otherwise, by name, and used where inference knows the dtype only.
    """
    if node.op_type in SAME_SHAPE - CASTS and not node.domain and node.input[0] in types:
        return {node.output[0]: types[node.input[0]]}
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
        small = {
            name: numpy_helper.from_array(
                np.ascontiguousarray(constants[name]).reshape(constants[name].shape)
            )
            for name in node.input
            if name in constants and constants[name].size <= MAX_KNOWN
        }
        found = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            {name: type_proto(*types[name]) for name in node.input if name},
            small,
            opset_imports=[helper.make_opsetid(node.domain, opset)],
        )
    except (*UNKNOWN, KeyError, ValueError, RuntimeError):
        return {}
    facts = {name: known(proto) or _with_shape(proto, shapes.get(name)) for name, proto in found.items()}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _with_shape(proto: TypeProto, shape: Shape | None) -> Known | None:
    if shape is None or not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        return None
    return np.dtype(helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type)), shape


def declared(nodes: Sequence[NodeProto], types: Mapping[str, TypeProto]) -> dict[str, Known]:
    """What is fixed in `types`, and what a Reshape to a fixed shape says of the one axis that is not."""
    found = {name: fact for name, proto in types.items() if (fact := known(proto)) is not None}
    roots: dict[str, str] = {}
    for node in nodes:
        if (root := _root(node, roots, found)) is not None:
            roots[node.output[0]] = root
        if node.op_type != "Reshape" or node.output[0] not in found or node.input[0] in found:
            continue
        shape = _filled(node.input[0], math.prod(found[node.output[0]][1]), types, roots)
        if shape is None:
            continue
        alike = [n for n, root in roots.items() if root == roots.get(node.input[0])]
        for name in (node.input[0], *alike):
            if name in types and (kind := types[name].tensor_type.elem_type):
                found.setdefault(name, (np.dtype(helper.tensor_dtype_to_np_dtype(kind)), shape))
    return found


def _root(node: NodeProto, roots: Mapping[str, str], found: Mapping[str, Known]) -> str | None:
    """The range or window, of one axis, from which a value is computed element by element."""
    if node.op_type in ONE_AXIS:
        return str(node.output[0])
    if node.op_type not in SAME_SHAPE | PAIRS:
        return None
    if any(n not in roots and (n not in found or math.prod(found[n][1]) != 1) for n in node.input):
        return None
    of = {roots[n] for n in node.input if n in roots}
    return of.pop() if len(of) == 1 else None


def _filled(name: str, size: int, types: Mapping[str, TypeProto], roots: Mapping[str, str]) -> Shape | None:
    """The shape of a value of which all axes but one are known, and how many elements there are."""
    if name not in types:
        return None
    tensor = types[name].tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if not tensor.HasField("shape"):
        dims = [None] if name in roots else []
    rest = math.prod(d for d in dims if d is not None)
    if dims.count(None) != 1 or not rest or size % rest:
        return None
    return tuple(size // rest if d is None else d for d in dims)


def shapes_backwards(nodes: Sequence[NodeProto], facts: Mapping[str, Known]) -> dict[str, Shape]:
    """Shapes of values from which another of known shape is computed element by element."""
    shapes = {name: shape for name, (_, shape) in facts.items()}
    for node in reversed(nodes):
        if node.op_type in SAME_SHAPE and node.output and node.output[0] in shapes:
            shapes.setdefault(node.input[0], shapes[node.output[0]])
    return shapes


def folded(
    node: NodeProto, opset: int, inputs: Mapping[str, Array], outputs: Sequence[Known | None]
) -> list[Array] | None:
    """The results of a node whose inputs are all constant; None where it may not or cannot be computed now.

    `outputs`: what shape inference knows of them. A result that is something else is none.
    """
    inner = any(a.HasField("g") or a.graphs for a in node.attribute)
    size = sum(int(np.prod(o[1])) for o in outputs if o is not None)
    if inner or node.op_type in RANDOM | WRONG or size > MAX_FOLDED:
        return None
    results = evaluate(node, opset, inputs)
    pairs = zip(results or (), outputs, strict=False)
    return results if all(o is None or (r.dtype, r.shape) == o for r, o in pairs) else None


def evaluate(node: NodeProto, opset: int, inputs: Mapping[str, Array]) -> list[Array] | None:
    """Compute one node with ONNX's reference implementation; None when that cannot."""
    from onnx.reference import ReferenceEvaluator

    named = [name for name in node.input if name]
    graph = helper.make_graph(
        [node],
        "fold",
        [
            helper.make_value_info(n, type_proto(inputs[n].dtype, inputs[n].shape))
            for n in dict.fromkeys(named)
        ],
        [helper.make_empty_tensor_value_info(n) for n in node.output if n],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            made = ReferenceEvaluator(model).run(None, {n: inputs[n] for n in named})
    except Exception:  # the reference implementation raises anything; not folding is always right
        return None
    by_name = dict(zip([n for n in node.output if n], made, strict=True))
    results = [by_name.get(n) for n in node.output]
    if not all(
        isinstance(r, np.ndarray | np.generic) or not n for r, n in zip(results, node.output, strict=True)
    ):
        return None
    return [np.asarray(r) for r in results]
