"""Small helpers of the tests for `tflite`: make ONNX models, lower them, run what came out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.backend import Runner, Variant, find
from sprue.target import Precision, Target, load_target

if TYPE_CHECKING:
    from sprue.targets.tflite.run import LiteRtRunner

Arrays = dict[str, NDArray[Any]]
BACKEND = find("tflite")
KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def mobile(*features: str) -> Target:
    return dataclasses.replace(load_target("mobile"), features=features)


def variant(precision: Precision, target: Target | None = None) -> Variant:
    return Variant(target or mobile(), "tflite", precision)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: Arrays | None = None,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> ModelProto:
    """A model whose output shapes are left to inference."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, dtype, list(s)) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(v, n) for n, v in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def weight(seed: int, *shape: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.3).astype(np.float32)


def compiled(
    source: ModelProto, precision: Precision, samples: Arrays, out: Path, target: Target | None = None
) -> Runner:
    chosen = variant(precision, target)
    for change in BACKEND.passes(chosen):
        source = change.apply(source, samples)
    BACKEND.compile(source, chosen, samples, out)
    return BACKEND.load(out, chosen)


def reference(source: ModelProto, samples: Arrays) -> Arrays:
    """onnxruntime without graph optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(source.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, samples), strict=True))


def operations(source: ModelProto) -> Counter[str]:
    """How often each TFLite operation stands in what the model is lowered to."""
    from sprue.targets.tflite.flatbuffer import reachable
    from sprue.targets.tflite.lower import lower

    lowered = lower(source)
    assert lowered.findings == ()
    return Counter(o.code for o in reachable(lowered.outputs))


def lowered_runner(source: ModelProto) -> LiteRtRunner:
    """The model as it is, with the shapes that it has: no passes, no quantization."""
    from sprue.targets.tflite.artifact import contents
    from sprue.targets.tflite.flatbuffer import pack
    from sprue.targets.tflite.lower import lower
    from sprue.targets.tflite.run import LiteRtRunner

    lowered = lower(source)
    assert lowered.findings == ()
    data = pack(lowered.inputs, lowered.outputs)
    return LiteRtRunner(data, contents(data, "test"), 1, "test")


def worst(actual: Arrays, expected: Arrays) -> float:
    """The largest absolute difference as a part of the largest absolute value."""
    assert {k: (v.shape, v.dtype) for k, v in actual.items()} == {
        k: (v.shape, v.dtype) for k, v in expected.items()
    }
    return max(
        float(np.abs(actual[k] - v).max()) / max(float(np.abs(v).max()), 1e-9) for k, v in expected.items()
    )
