"""TFLite graph -> .tflite bytes, and back to what `inspect` asks about.

The object API of the schema that ai-edge-litert ships does the packing. Constants are stored inside the
flatbuffer at 16 byte alignment, as the schema demands and the Python object API forgets, and equal ones once.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .emit import Array, Operation, Tensor
from .metadata import ENTRY_NAME

if TYPE_CHECKING:
    import flatbuffers

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"
"""The signature that LiteRT's own tools look for."""

TENSOR_TYPES = {
    "float32": "FLOAT32", "float16": "FLOAT16", "float64": "FLOAT64", "bfloat16": "BFLOAT16",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "bool": "BOOL",
}  # fmt: skip
"""numpy dtype name -> schema TensorType."""

OPTIONS = {
    "ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions", "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions", "CONCATENATION": "ConcatenationOptions", "CONV_2D": "Conv2DOptions",
    "CONV_3D": "Conv3DOptions", "CONV_3D_TRANSPOSE": "Conv3DOptions", "CUMSUM": "CumsumOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions", "GELU": "GeluOptions", "LEAKY_RELU": "LeakyReluOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions", "MAX_POOL_2D": "Pool2DOptions",
    "MIRROR_PAD": "MirrorPadOptions", "ONE_HOT": "OneHotOptions", "PACK": "PackOptions",
    "REDUCE_ALL": "ReducerOptions", "REDUCE_ANY": "ReducerOptions", "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions", "REDUCE_PROD": "ReducerOptions", "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions", "RESHAPE": "ReshapeOptions", "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions", "REVERSE_SEQUENCE": "ReverseSequenceOptions",
    "SOFTMAX": "SoftmaxOptions", "SPACE_TO_DEPTH": "SpaceToDepthOptions", "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions", "STRIDED_SLICE": "StridedSliceOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions", "UNPACK": "UnpackOptions",
    "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions", "CAST": "CastOptions",
}  # fmt: skip
"""Operation -> its options table; those that are not here have none that we set."""

ENUMS = {"fusedActivationFunction": "ActivationFunctionType", "padding": "Padding", "mode": "MirrorPadMode"}
"""Option field -> the enum whose member it names."""


@functools.cache
def schema() -> ModuleType:
    from ai_edge_litert import schema_py_generated

    made: ModuleType = schema_py_generated
    return made


def pack(inputs: Sequence[Tensor], outputs: Sequence[Tensor], metadata: bytes = b"") -> bytes:
    """The flatbuffer of the graph that computes `outputs`. The same graph gives the same bytes."""
    s = schema()
    operations = reachable(outputs)
    tensors = _tensors(inputs, operations, outputs)
    number = {id(t): i for i, t in enumerate(tensors)}
    buffers = _Buffers(s)
    codes: dict[tuple[str, int], int] = {}
    subgraph = s.SubGraphT(
        tensors=[_tensor(s, t, buffers) for t in tensors],
        inputs=[number[id(t)] for t in inputs],
        outputs=[number[id(t)] for t in outputs],
        operators=[_operation(s, o, number, codes) for o in operations],
        name="main",
    )
    signature = s.SignatureDefT(
        inputs=[s.TensorMapT(name=t.name, tensorIndex=number[id(t)]) for t in inputs],
        outputs=[s.TensorMapT(name=t.name, tensorIndex=number[id(t)]) for t in outputs],
        signatureKey=SIGNATURE,
        subgraphIndex=0,
    )
    model = s.ModelT(
        version=SCHEMA_VERSION,
        operatorCodes=[_operator_code(s, code, version) for code, version in codes],
        subgraphs=[subgraph],
        description="sprue",
        buffers=buffers.made,
        signatureDefs=[signature],
    )
    attach_metadata(model, metadata)
    return write(model)


def attach_metadata(model: Any, metadata: bytes) -> None:
    """Put what `metadata.py` wrote into a ModelT, in a buffer of its own; nothing if it is empty."""
    if not metadata:
        return
    s = schema()
    model.metadata = [s.MetadataT(name=ENTRY_NAME, buffer=len(model.buffers))]
    model.buffers.append(s.BufferT(data=np.frombuffer(metadata, np.uint8)))


def write(model: object) -> bytes:
    """Serialise a ModelT of the schema."""
    from .sharing import SharingBuilder

    buffers = model.buffers  # type: ignore[attr-defined]  # generated code has no types
    size = sum(len(b.data) + 64 for b in buffers if b.data is not None)
    builder = SharingBuilder(size + (1 << 16))
    for index, buffer in enumerate(buffers):
        buffers[index] = _Aligned(buffer)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)  # type: ignore[attr-defined]  # the same
    held: Any = builder.Bytes  # a bytearray, whatever the stub says; Output() would copy once more
    return bytes(memoryview(held)[builder.Head() :])


def read(data: bytes) -> Any:
    """The ModelT of a flatbuffer of our own making, constants brought inside. Not for untrusted bytes."""
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(data, 0))
    for buffer in model.buffers:
        if buffer.data is None and buffer.offset > 1:  # ai-edge-quantizer appends large buffers to the file
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def reachable(outputs: Sequence[Tensor]) -> list[Operation]:
    """The operations that `outputs` need, each after those it depends on."""
    order: list[Operation] = []
    done: set[int] = set()
    stack: list[tuple[Operation, bool]] = [(t.producer, False) for t in reversed(outputs) if t.producer]
    while stack:
        operation, expanded = stack.pop()
        if id(operation) in done:
            continue
        if expanded:
            done.add(id(operation))
            order.append(operation)
            continue
        stack.append((operation, True))
        for tensor in reversed(operation.inputs):
            if tensor is not None and tensor.producer is not None and id(tensor.producer) not in done:
                stack.append((tensor.producer, False))
    return order


def _tensors(
    inputs: Sequence[Tensor], operations: Sequence[Operation], outputs: Sequence[Tensor]
) -> list[Tensor]:
    found = {id(t): t for t in inputs}
    for operation in operations:
        found |= {id(t): t for t in operation.inputs if t is not None}
        found |= {id(t): t for t in operation.outputs}
    found |= {id(t): t for t in outputs}
    return list(found.values())


class _Buffers:
    """Buffer 0 is empty by convention; equal constants share one."""

    def __init__(self, s: ModuleType) -> None:
        self._schema = s
        self._known: dict[bytes, int] = {}
        self.made = [s.BufferT()]

    def add(self, data: Array) -> int:
        raw = data.tobytes()
        if raw not in self._known:
            self._known[raw] = len(self.made)
            self.made.append(self._schema.BufferT(data=np.frombuffer(raw, np.uint8)))
        return self._known[raw]


@dataclass
class _Aligned:
    """A BufferT whose data is packed at 16 byte alignment."""

    buffer: object

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802  # the object API's name
        s = schema()
        data = self.buffer.data  # type: ignore[attr-defined]  # generated code has no types
        offset = None
        if data is not None and len(data):
            raw = np.asarray(data, np.uint8)
            builder.StartVector(1, raw.size, 16)
            builder.head = builder.Head() - raw.size
            builder.Bytes[builder.Head() : builder.Head() + raw.size] = raw.data
            offset = builder.EndVector()
        s.BufferStart(builder)
        if offset is not None:
            s.BufferAddData(builder, offset)
        return int(s.BufferEnd(builder))


def _tensor(s: ModuleType, tensor: Tensor, buffers: _Buffers) -> object:
    quantization = None
    if tensor.scale is not None and tensor.zero_point is not None:
        quantization = s.QuantizationParametersT(
            scale=tensor.scale, zeroPoint=tensor.zero_point, quantizedDimension=tensor.quantized_axis
        )
    return s.TensorT(
        shape=list(tensor.shape),
        type=getattr(s.TensorType, TENSOR_TYPES[tensor.dtype.name]),
        buffer=0 if tensor.data is None else buffers.add(tensor.data),
        name=tensor.name,
        isVariable=tensor.variable,
        quantization=quantization,
        hasRank=tensor.rank == 0,  # of others the shape says it
        shapeSignature=None if tensor.signature is None else list(tensor.signature),
    )


def _operation(
    s: ModuleType, made: Operation, number: dict[int, int], codes: dict[tuple[str, int], int]
) -> object:
    code = codes.setdefault((made.code, made.version), len(codes))
    table = OPTIONS.get(made.code)
    options = None
    if table is not None:
        fields = {k: _option(s, k, v) for k, v in made.options.items()}
        if made.code == "CAST":
            source = made.inputs[0]
            assert source is not None
            fields["inDataType"] = getattr(s.TensorType, TENSOR_TYPES[source.dtype.name])
            fields["outDataType"] = getattr(s.TensorType, TENSOR_TYPES[made.outputs[0].dtype.name])
        options = getattr(s, f"{table}T")(**fields)
    return s.OperatorT(
        opcodeIndex=code,
        inputs=[-1 if t is None else number[id(t)] for t in made.inputs],
        outputs=[number[id(t)] for t in made.outputs],
        builtinOptionsType=0 if table is None else getattr(s.BuiltinOptions, table),
        builtinOptions=options,
    )


def _option(s: ModuleType, field: str, value: object) -> object:
    if isinstance(value, str):
        return getattr(getattr(s, ENUMS[field]), value)
    if isinstance(value, bool | float | list):
        return value
    return operator.index(value)  # type: ignore[arg-type]  # a NumPy integer becomes an int


def _operator_code(s: ModuleType, code: str, version: int) -> object:
    number = getattr(s.BuiltinOperator, code)
    return s.OperatorCodeT(
        deprecatedBuiltinCode=min(number, s.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES),
        builtinCode=number,
        version=version,
    )
