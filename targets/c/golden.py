"""Golden vectors: what onnxruntime computes, all its optimisations off, for a few calibration samples.

With optimisations on, onnxruntime's int8 kernels saturate on some x86 processors; without, a QDQ model runs
as it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.errors import SprueError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SAMPLES = 4
MOST_BYTES = 64 * 1024
"""Of all golden inputs together: they are C text that a person may open."""


@dataclass(frozen=True)
class Golden:
    """Tensor name -> [samples, ...]."""

    inputs: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, NDArray[np.generic]]
    samples: int


def reference(model: ModelProto) -> InferenceSession:
    """onnxruntime as it is written. Raises SprueError when it cannot run the model."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        reason = str(error).splitlines()[0]
        raise SprueError(
            f"onnxruntime, which computes the golden vectors, cannot run the model: {reason}",
            remedy="export the model with an older opset",
        ) from error


def golden_vectors(model: ModelProto, samples: Mapping[str, NDArray[np.generic]]) -> Golden:
    """Run the model on the first samples. `model` has batch 1. Raises SprueError when data is missing."""
    session = reference(model)
    names = [i.name for i in session.get_inputs()]
    for name in names:
        if name not in samples:
            raise SprueError(f"the calibration data has no '{name}'", remedy="one array per input is needed")
    available = min((len(samples[n]) for n in names), default=0)
    size = sum(samples[n][:1].nbytes for n in names)
    count = min(SAMPLES, available, max(1, MOST_BYTES // max(size, 1)))
    if count < 1:
        raise SprueError("the calibration data is empty", remedy="give at least one sample")
    inputs = {n: np.ascontiguousarray(samples[n][:count]) for n in names}
    rows = [_run(session, {n: inputs[n][i : i + 1] for n in names}) for i in range(count)]
    outputs = {o.name: np.stack([row[k] for row in rows]) for k, o in enumerate(session.get_outputs())}
    return Golden(inputs, outputs, count)


def _run(session: InferenceSession, sample: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    try:
        made: list[NDArray[np.generic]] = session.run(None, dict(sample))
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise SprueError(
            f"onnxruntime cannot run it for the golden vectors: {str(error).splitlines()[0]}",
            remedy="correct the calibration data: an index outside its table, for example",
        ) from error
    return made


def tolerance(
    model: ModelProto, output: str, values: NDArray[np.generic], *, quantized: bool
) -> float | None:
    """By how much a float output may differ; None for integers, which must be equal.

    float32: 1e-4 of the largest value (sums are in another order). Quantized: two steps of the output's
    scale, or 2 % of the largest value where the output is not quantized itself: an intermediate that falls
    just beside a rounding border moves by one step.
    """
    if values.dtype.kind != "f":
        return None
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if not quantized:
        return 1e-4 * max(largest, 1e-2)
    maker = next((n for n in model.graph.node if output in n.output), None)
    steps = 0.0
    if maker is not None and maker.op_type == "DequantizeLinear":
        from sprue.graph import weights

        scale = weights(model).get(maker.input[1])
        steps = 2.0 * float(scale.max()) if scale is not None else 0.0
    return max(steps * 1.001, 0.02 * largest)
