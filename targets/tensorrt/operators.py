"""What TensorRT takes, read off the graph without NVIDIA's packages.

The table is ONNX-TensorRT's published operator support (docs/operators.md of TensorRT 10.15: opset 9 to 24),
with the restrictions that a graph shows. tensorrt-rtx carries the same parser; where it is installed, its
answer replaces the table's (see check.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from sprue import graph
from sprue.backend import Finding

MIN_OPSET, MAX_OPSET = 9, 24

SUPPORTED = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
    BlackmanWindow Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos
    Cosh CumSum DeformConv DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand
    EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU HammingWindow HannWindow
    HardSigmoid HardSwish Hardmax Identity If ImageScaler InstanceNormalization IsInf IsNaN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool
    MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not
    OneHot Or Pad ParametricSoftplus Pow PRelu QuantizeLinear RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
    ReverseSequence RMSNormalization RNN RoiAlign RotaryEmbedding Round STFT ScaledTanh Scan Scatter
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh TensorScatter ThresholdedRelu Tile TopK
    Transpose Trilu Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905  # a table of words reads better
)

Attributes = Mapping[str, object]


def _pooling(node: NodeProto, attributes: Attributes) -> str:
    kernel = attributes.get("kernel_shape", [])
    if isinstance(kernel, list) and len(kernel) not in (2, 3):
        return f"only 2D and 3D pooling is supported, this is {len(kernel)}D"
    dilations = attributes.get("dilations", [])
    if isinstance(dilations, list) and any(d != 1 for d in dilations):
        return "`dilations` other than 1 are not supported"
    if len([o for o in node.output if o]) > 1:
        return "the output `Indices` is not supported"
    return ""


def _recurrent(node: NodeProto, attributes: Attributes) -> str:
    if attributes.get("layout", 0) != 0:
        return "`layout` must be 0 (time before batch)"
    if attributes.get("input_forget", 0) != 0:
        return "`input_forget` must be 0"
    activations = attributes.get("activations", [])
    if attributes.get("direction") == b"bidirectional" and isinstance(activations, list) and activations:
        half = len(activations) // 2
        if activations[:half] != activations[half:]:
            return "both directions must use the same activation functions"
    return ""


def _scatter_nd(node: NodeProto, attributes: Attributes) -> str:
    return "" if attributes.get("reduction", b"none") == b"none" else "`reduction` must be none"


def _top_k(node: NodeProto, attributes: Attributes) -> str:
    return "" if attributes.get("sorted", 1) == 1 else "`sorted` must be 1"


def _first_output_only(node: NodeProto, attributes: Attributes) -> str:
    return "only the first output is supported" if len([o for o in node.output if o]) > 1 else ""


def _numeric_constant(node: NodeProto, attributes: Attributes) -> str:
    bad = {"sparse_value", "value_string", "value_strings"} & attributes.keys()
    return f"`{min(bad)}` is not supported" if bad else ""


RESTRICTIONS: dict[str, Callable[[NodeProto, Attributes], str]] = {
    "AveragePool": _pooling,
    "Constant": _numeric_constant,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "LayerNormalization": _first_output_only,
    "LpPool": _pooling,
    "MaxPool": _pooling,
    "RNN": _recurrent,
    "ScatterND": _scatter_nd,
    "TopK": _top_k,
}
"""Operator -> why this node of it is refused, or an empty string."""

HELD = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
    }
)
"""Types that a network's inputs and outputs may have. UINT8 has its own rule, DOUBLE would become FLOAT."""

REMEDY = "replace it in the model by supported operators, or leave this target's backend out of the recipe"


def operator_findings(model: ModelProto) -> list[Finding]:
    """Nodes that the table refuses, in graph order; those inside If, Loop and Scan come after."""
    local = {(f.domain, f.name) for f in model.functions}
    constant = {t.name for each in _graphs(model.graph) for t in each.initializer}
    constant |= {n.output[0] for n in _nodes(model.graph) if n.op_type == "Constant"}
    found: list[Finding] = []
    for node in _nodes(model.graph):
        if (node.domain, node.op_type) in local:
            continue  # TensorRT inlines functions; the passes do so before
        standard = node.domain in ("", "ai.onnx")
        reason = ""
        if not standard:
            reason = f"TensorRT has no operator '{node.domain}.{node.op_type}' without a plugin"
        elif node.op_type not in SUPPORTED:
            reason = f"TensorRT does not support {node.op_type}"
        elif node.op_type in RESTRICTIONS:
            reason = RESTRICTIONS[node.op_type](node, graph.attributes(node))
        elif node.op_type.startswith("Reduce") and len(node.input) > 1:
            reason = "" if node.input[1] in constant | {""} else "`axes` must be a constant"
        if reason:
            name = node.name or (node.output[0] if node.output else "")
            found.append(Finding("operator", name, node.op_type, reason, REMEDY))
    return found


def border_findings(model: ModelProto) -> list[Finding]:
    """Inputs and outputs of a type that an engine cannot have, or with a free axis besides the batch axis."""
    constant = {t.name for t in model.graph.initializer}
    fed = [v for v in model.graph.input if v.name not in constant]
    found = [f for value in [*fed, *model.graph.output] for f in _dtype(model, value.name, value.type)]
    for value in fed:
        dims = value.type.tensor_type.shape.dim
        free = [(i, d.dim_param) for i, d in enumerate(dims) if i > 0 and not d.HasField("dim_value")]
        for axis, symbol in free:
            reason = f"axis {axis} ('{symbol or '?'}') is symbolic; only the batch axis 0 may be"
            remedy = "export the model with that axis fixed"
            found.append(Finding("shape", value.name, "Input", reason, remedy))
        if not dims:
            reason = "the input has no batch axis"
            found.append(Finding("shape", value.name, "Input", reason, "give it axis 0 as batch axis"))
    return found


def opset_findings(model: ModelProto) -> list[Finding]:
    version = graph.opset(model)
    if MIN_OPSET <= version <= MAX_OPSET:
        return []
    reason = f"operator set {version} is not one of {MIN_OPSET} to {MAX_OPSET}, which TensorRT reads"
    return [Finding("operator", "", f"opset {version}", reason, "convert it with onnx.version_converter")]


def _dtype(model: ModelProto, name: str, kind: object) -> Iterator[Finding]:
    tensor = getattr(kind, "tensor_type", None)
    is_tensor = getattr(kind, "WhichOneof", lambda _: "")("value") == "tensor_type"
    element = tensor.elem_type if tensor is not None and is_tensor else 0
    if element in HELD:
        return
    is_input = any(v.name == name for v in model.graph.input)
    role = "Input" if is_input else "Output"
    if element == TensorProto.UINT8:
        readers = [n.op_type for n in _nodes(model.graph) if name in n.input]
        makers = [n.op_type for n in _nodes(model.graph) if name in n.output]
        if set(readers if is_input else makers) <= {"Cast"}:
            return
        reason, remedy = "TensorRT takes uint8 only into or out of a Cast", "cast it at the model's border"
    elif element == TensorProto.DOUBLE:
        reason = "TensorRT would turn float64 into float32"
        remedy = "export the model with float32 inputs and outputs"
    else:
        reason = (
            f"TensorRT holds no {TensorProto.DataType.Name(element).lower() if is_tensor else 'such value'}"
        )
        remedy = "move that part of the model into the code that calls it"
    yield Finding("precision", name, role, reason, remedy)


def _graphs(outer: GraphProto) -> Iterator[GraphProto]:
    """The graph, then those inside its If, Loop and Scan nodes."""
    yield outer
    for node in outer.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
                yield from _graphs(inner)


def _nodes(outer: GraphProto) -> Iterator[NodeProto]:
    for each in _graphs(outer):
        yield from each.node
