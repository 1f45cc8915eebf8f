"""float16, int8-dynamic and int8-static: what becomes of the weights, and by whom.

ai-edge-quantizer does the int8 of everything that it knows: convolutions, FULLY_CONNECTED, BATCH_MATMUL,
EMBEDDING_LOOKUP. It has no rule for UNIDIRECTIONAL_SEQUENCE_LSTM, in no precision, and its `float_casting`
leaves that and most other constants alone; so the LSTM's int8 weights (one symmetric scale per matrix, which
is what the hybrid kernel takes) and float16 are done here, on the graph.

In int8-static the LSTM and the embedding stay hybrid: int8 weights, float activations.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sprue.errors import CheckError, SprueError
from sprue.passes.quiet import quiet

from .emit import Array, Operation, Tensor
from .flatbuffer import SIGNATURE, attach_metadata, reachable, read, write
from .ops.recurrent import STATE

if TYPE_CHECKING:
    from sprue.backend import Samples

LSTM_WEIGHTS = slice(1, 9)
"""The inputs of UNIDIRECTIONAL_SEQUENCE_LSTM that hold matrices."""
MIN_WEIGHTS = 64
"""Elements. A smaller constant is not worth the operation that would unpack it: some 100 bytes."""
MIN_ROW = 48
"""Columns. A scale and a zero point take 12 bytes a row."""
QUANTIZED_OPS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"}
    | {"EMBEDDING_LOOKUP", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
)
"""What int8 makes smaller or faster; a graph without any of these has nothing to quantize."""
LAYING_OUT = frozenset({"RESHAPE", "SQUEEZE", "TRANSPOSE"})
Rule = dict[str, object]
Recipe = list[Rule]


def halve_weights(outputs: Sequence[Tensor]) -> None:
    """float16: every large float32 constant is stored in 16 bits and unpacked by a DEQUANTIZE.

    The runtimes fold that away: XNNPACK takes the 16 bits as they are, the kernels unpack once.
    A constant with a value beyond float16's 65504 stays as it is.
    """
    halved: dict[int, Tensor] = {}
    for operation in reachable(outputs):
        for i, tensor in enumerate(operation.inputs):
            if tensor is not None and _worth_halving(tensor):
                operation.inputs[i] = halved.setdefault(id(tensor), _halved(tensor))


def quantize_lstm(outputs: Sequence[Tensor]) -> None:
    """int8 weights for the LSTMs, activations in float32: TFLite's hybrid kernel."""
    for operation in reachable(outputs):
        if operation.code == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            for i in range(LSTM_WEIGHTS.start, LSTM_WEIGHTS.stop):
                tensor = operation.inputs[i]
                if tensor is not None and tensor.data is not None:
                    operation.inputs[i] = _symmetric(tensor)
            operation.version = 3


def narrow_embeddings(outputs: Sequence[Tensor]) -> list[str]:
    """The results of embeddings whose scales, one a row, would weigh over a quarter of their weights."""
    found = [o for o in reachable(outputs) if o.code == "EMBEDDING_LOOKUP"]
    tables = [(o.outputs[0].name, o.inputs[1]) for o in found]
    return [name for name, table in tables if table is not None and table.shape[1] < MIN_ROW]


def constant_products(outputs: Sequence[Tensor]) -> list[str]:
    """The results of the BATCH_MATMUL that have a constant operand."""
    found = [o for o in reachable(outputs) if o.code == "BATCH_MATMUL"]
    return [o.outputs[0].name for o in found if any(t is not None and t.data is not None for t in o.inputs)]


def last_layers(outputs: Sequence[Tensor]) -> list[tuple[str, str]]:
    """(code, result) of each FULLY_CONNECTED that gives an output, and of what only lays its result out anew.

    With an int8 result they would clip what lies beyond the calibrated range: on chatbots by up to 34 steps.
    """
    found: list[tuple[str, str]] = []
    for output in outputs:
        path: list[tuple[str, str]] = []
        operation = output.producer
        while operation is not None and operation.code in LAYING_OUT:
            path.append((operation.code, operation.outputs[0].name))
            before = operation.inputs[0]
            operation = before.producer if before is not None else None
        if operation is not None and operation.code == "FULLY_CONNECTED":
            found += [*path, (operation.code, operation.outputs[0].name)]
    return found


def results_of(outputs: Sequence[Tensor], nodes: Sequence[str]) -> list[str]:
    """The results of all operations that these ONNX nodes became."""
    return [t.name for o in reachable(outputs) if o.node in nodes for t in o.outputs]


def quantize_rest(
    data: bytes,
    precision: str,
    calibration: Samples,
    batch: int,
    *,
    per_tensor: bool,
    narrow: Sequence[str] = (),
    products: Sequence[str] = (),
    floating: Sequence[tuple[str, str]] = (),
    floats: Sequence[str] = (),
    metadata: bytes = b"",
) -> bytes:
    """int8 by ai-edge-quantizer: the flatbuffer of a float graph -> that of the quantized one.

    `per_tensor` gives FULLY_CONNECTED and EMBEDDING_LOOKUP one scale a matrix instead of one a row: see
    `tflite_runtime.py`; so do the embeddings named in `narrow`. The `products` keep float activations: with
    static ones ai-edge-quantizer 0.10 makes files that compute nonsense. So do the operations in `floating`,
    by code and result: layers among them get int8 weights and quantize their inputs while the model runs.
    What computes the `floats` is not quantized at all.
    Calibration takes the widest range of each tensor over all samples, so their order does not matter.
    Raises SprueError when the calibration data are missing or not finite.
    """
    from ai_edge_quantizer import quantizer, recipe

    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        made = quantizer.Quantizer(bytearray(data))
        given = recipe.dynamic_wi8_afp32() if precision == "int8-dynamic" else recipe.static_wi8_ai8()
        made.load_quantization_recipe(
            [*given, *_exceptions(precision, per_tensor, narrow, products, floating), *_kept(floats)]
        )
        ranges = _ranges(data, made, calibration, batch) if made.need_calibration else None
        if ranges is not None and not ranges:
            return _stamped(data, metadata)  # every layer stays in float
        try:
            result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckError(
                f"ai-edge-quantizer cannot quantize this graph to {precision}: {error}",
                remedy=f"leave {precision} out of `precision`",
            ) from error
    assert result.quantized_model is not None
    return _stamped(bytes(result.quantized_model), metadata)


def _exceptions(
    precision: str,
    per_tensor: bool,
    narrow: Sequence[str],
    products: Sequence[str],
    floating: Sequence[tuple[str, str]],
) -> Recipe:
    """Later entries win: what the plain recipe would do and must not."""
    activation = {"num_bits": 8, "symmetric": False, "granularity": "TENSORWISE", "dtype": "INT"}
    weight = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    if per_tensor:
        weight["granularity"] = "TENSORWISE"
    dynamic = {"weight_tensor_config": weight}
    small = {"weight_tensor_config": weight | {"granularity": "TENSORWISE"}}
    tables = [_rule("EMBEDDING_LOOKUP", small, f"^{re.escape(name)};") for name in narrow]
    static = dynamic | {"activation_tensor_config": activation}
    if precision == "int8-dynamic":
        matrices = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "BATCH_MATMUL")
        plain = [_rule(o, dynamic) for o in matrices] if per_tensor else []
        return [*plain, *tables]
    kept = [_rule("INPUT"), _rule("OUTPUT"), _rule("*", regex=re.escape(STATE))]
    dense = [_rule("FULLY_CONNECTED", static)] if per_tensor else []
    mixed = [_rule("BATCH_MATMUL", dynamic, f"^{re.escape(name)};") for name in products]
    mixed += [
        _rule(code, dynamic if code in QUANTIZED_OPS else None, f"^{re.escape(name)};")
        for code, name in floating
    ]
    return [*dense, _rule("EMBEDDING_LOOKUP", dynamic), *tables, *mixed, *kept]


def _kept(floats: Sequence[str]) -> Recipe:
    return [_rule("*", regex=f"^{re.escape(name)};") for name in floats]


def _rule(operation: str, tensors: Mapping[str, object] | None = None, regex: str = ".*") -> Rule:
    """Integers for what `tensors` says; nothing quantized without it."""
    config = {"compute_precision": "INTEGER", "explicit_dequantize": False, **(tensors or {})}
    return {
        "regex": regex,
        "operation": operation,
        "algorithm_key": "min_max_uniform_quantize" if tensors else "no_quantize",
        "op_config": config if tensors else {},
    }


def _ranges(data: bytes, made: Any, calibration: Samples, batch: int) -> Mapping[str, object]:
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    if not calibration:
        raise SprueError("int8-static needs calibration data", remedy="give [data] calibration in model.toml")
    for name, array in calibration.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise SprueError(f"the calibration data '{name}' hold NaN or infinity", remedy="correct them")
    measured = calibrator.Calibrator(data, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    measured.calibrate(
        {SIGNATURE: _portions(calibration, batch)},
        made._recipe_manager,  # Quantizer.calibrate lets nobody choose the update
    )
    ranges: Mapping[str, object] = measured.get_model_qsvs()
    return ranges


def _portions(samples: Samples, batch: int) -> list[dict[str, Array]]:
    """The samples, `batch` at a time; the last portion is filled up with its last sample."""
    count = min(len(v) for v in samples.values())
    if count == 0:
        raise SprueError("the calibration data hold no samples", remedy="give some, a hundred is enough")
    places = [np.minimum(np.arange(i, i + batch), count - 1) for i in range(0, count, batch)]
    return [{k: np.ascontiguousarray(v[at]) for k, v in samples.items()} for at in places]


def _stamped(data: bytes, metadata: bytes) -> bytes:
    """With metadata, and the operator versions that say what the kernels must know: older runtimes refuse.

    ai-edge-quantizer leaves every version at 1. tflite-runtime 2.14 would then run FULLY_CONNECTED and
    EMBEDDING_LOOKUP whose weights have one scale a row as if there were one, and give wrong numbers; it
    refuses their versions 12 and 4.
    """
    model = read(data)
    subgraph = model.subgraphs[0]
    versions: dict[int, int] = {}
    for operation in subgraph.operators:
        needed = _version(model, subgraph, operation)
        versions[operation.opcodeIndex] = max(versions.get(operation.opcodeIndex, 1), needed)
    for index, needed in versions.items():
        code = model.operatorCodes[index]
        code.version = max(code.version, needed)
    _keep_border_names(model, subgraph)
    attach_metadata(model, metadata)
    return write(model)


def _keep_border_names(model: Any, subgraph: Any) -> None:
    """An output gets its own name back from the integer tensor that it is now unpacked from."""
    signature = model.signatureDefs[0]
    for entry in (*signature.inputs, *signature.outputs):
        border = subgraph.tensors[entry.tensorIndex]
        for tensor in subgraph.tensors:
            if tensor is not border and tensor.name == entry.name:
                tensor.name = entry.name + b"/int8"
        border.name = entry.name


def _version(model: Any, subgraph: Any, operation: Any) -> int:
    """The version of one operation by the rules of TFLite's op_version.cc, for what quantizing changes."""
    from .flatbuffer import schema

    s = schema()
    names = {v: k for k, v in vars(s.BuiltinOperator).items() if isinstance(v, int)}
    code = model.operatorCodes[operation.opcodeIndex]
    name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
    tensors = [subgraph.tensors[i] if i >= 0 else None for i in operation.inputs]
    if name in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D") and tensors[1] is not None:
        weights = tensors[1]
        if weights.type != s.TensorType.INT8:
            return 1
        rows = weights.quantization is not None and len(weights.quantization.scale) > 1
        hybrid = tensors[0] is not None and tensors[0].type == s.TensorType.FLOAT32
        if name == "FULLY_CONNECTED":
            return 12 if rows else (3 if hybrid else 4)
        if name == "CONV_2D":
            return (5 if rows else 2) if hybrid else 3
        return (6 if rows else 4) if hybrid else 3
    if name == "EMBEDDING_LOOKUP" and tensors[1] is not None and tensors[1].type == s.TensorType.INT8:
        return 4 if len(tensors[1].quantization.scale) > 1 else 3
    return 1


def _worth_halving(tensor: Tensor) -> bool:
    return (
        tensor.data is not None
        and tensor.dtype == np.float32
        and tensor.data.size >= MIN_WEIGHTS
        and bool((np.abs(tensor.data) <= np.finfo(np.float16).max).all())
    )


def _halved(tensor: Tensor) -> Tensor:
    """Both have one name, which the file then holds once."""
    assert tensor.data is not None
    small = Tensor(tensor.name, tensor.shape, np.dtype(np.float16), tensor.data.astype(np.float16))
    made = Operation("DEQUANTIZE", [small], [], version=3)
    made.outputs.append(Tensor(tensor.name, tensor.shape, tensor.dtype, producer=made))
    return made.outputs[0]


def _symmetric(tensor: Tensor) -> Tensor:
    """int8 in [-127, 127] with one scale and no zero point."""
    assert tensor.data is not None
    data = np.asarray(tensor.data, np.float32)
    scale = np.float32(max(float(np.abs(data).max()) / 127, float(np.finfo(np.float32).tiny)))
    levels = np.clip(np.rint(data / scale), -127, 127).astype(np.int8)
    return Tensor(
        tensor.name,
        tensor.shape,
        levels.dtype,
        levels,
        scale=np.array([scale], np.float32),
        zero_point=np.zeros(1, np.int64),
    )
