"""Golden vectors: what onnxruntime computes, all its optimisations off, for a few calibration samples.

With optimisations on, onnxruntime's int8 kernels saturate on some x86 processors; without, a QDQ model runs
as it is written. What onnxruntime has no kernel for is computed by ONNX's own reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.errors import SprueError
from sprue.graph import inputs

Runs = Callable[[Mapping[str, NDArray[np.generic]]], Mapping[str, NDArray[np.generic]]]
"""Tensor name -> array of all inputs to the same of all outputs."""
SAMPLES = 4
STEPS = 2
"""By how many int8 steps an output may differ."""
MOST_BYTES = 64 * 1024
"""Of all golden inputs together: they are C text that a person may open."""


@dataclass(frozen=True)
class Golden:
    """Tensor name -> [samples, ...]."""

    inputs: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, NDArray[np.generic]]
    samples: int


def reference(model: ModelProto) -> Runs:
    """The model as it is written. Raises SprueError when neither implementation can run it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    names = [o.name for o in model.graph.output]
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        reason = str(error).splitlines()[0]
        if "NOT_IMPLEMENTED" not in reason:
            raise _not_run("onnxruntime", reason) from error
        return _by_onnx(model, names, reason)

    def run(feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        try:
            return dict(zip(names, session.run(None, dict(feeds)), strict=True))
        except Exception as error:  # as above
            raise SprueError(
                f"onnxruntime cannot run it for the golden vectors: {str(error).splitlines()[0]}",
                remedy="correct the calibration data: an index outside its table, for example",
            ) from error

    return run


def _by_onnx(model: ModelProto, names: list[str], reason: str) -> Runs:
    """ONNX's reference implementation, tried on zeros: it says only then what it cannot do."""
    from onnx.reference import ReferenceEvaluator

    def run(feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        with np.errstate(all="ignore"):
            made = ReferenceEvaluator(model).run(None, dict(feeds))
        return {name: np.asarray(value) for name, value in zip(names, made, strict=True)}

    zeros = {i.name: np.zeros([d or 1 for d in i.shape], i.dtype) for i in inputs(model)}
    try:
        run(zeros)
    except Exception as error:  # it raises anything
        raise _not_run("onnxruntime", reason) from error
    return run


def _not_run(what: str, reason: str) -> SprueError:
    return SprueError(
        f"{what}, which computes the golden vectors, cannot run the model: {reason}",
        remedy="export the model with an older opset",
    )


def golden_vectors(model: ModelProto, samples: Mapping[str, NDArray[np.generic]]) -> Golden:
    """Run the model on the first samples. `model` has batch 1. Raises SprueError when data is missing."""
    run = reference(model)
    names = [i.name for i in inputs(model)]
    for name in names:
        if name not in samples:
            raise SprueError(f"the calibration data has no '{name}'", remedy="one array per input is needed")
    available = min((len(samples[n]) for n in names), default=0)
    size = sum(samples[n][:1].nbytes for n in names)
    count = min(SAMPLES, available, max(1, MOST_BYTES // max(size, 1)))
    if count < 1:
        raise SprueError("the calibration data is empty", remedy="give at least one sample")
    fed = {n: np.ascontiguousarray(samples[n][:count]) for n in names}
    rows = [run({n: fed[n][i : i + 1] for n in names}) for i in range(count)]
    outputs = {o.name: np.stack([row[o.name] for row in rows]) for o in model.graph.output}
    return Golden(fed, outputs, count)


def tolerance(
    model: ModelProto, output: str, values: NDArray[np.generic], *, quantized: bool
) -> float | None:
    """By how much a float output may differ; None for integers, which must be equal.

    float32: 1e-4 of the largest value (sums are in another order); float16: 2e-3. Quantized: two steps of
    the output's scale, or 2 % of the largest value where the output is not quantized itself: an intermediate
    that falls just beside a rounding border moves by one step.
    """
    if values.dtype.kind != "f":
        return None
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if values.dtype == np.float16:
        return 2e-3 * max(largest, 1e-2)
    if not quantized:
        return 1e-4 * max(largest, 1e-2)
    maker = next((n for n in model.graph.node if output in n.output), None)
    steps = 0.0
    if maker is not None and maker.op_type == "DequantizeLinear":
        from sprue.graph import weights

        scale = weights(model).get(maker.input[1])
        steps = STEPS * float(scale.max()) if scale is not None else 0.0
    return max(steps * 1.001, 0.02 * largest)
