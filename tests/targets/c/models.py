"""Small ONNX models for the C backend's tests: one operator each, weights from a fixed seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from sprue.targets.c.check import lowered, shaping
from sprue.targets.c.emit import Source, emit

Array = NDArray[Any]


def single(
    op: str,
    inputs: dict[str, Array],
    constants: dict[str, Array] | None = None,
    *,
    outputs: int = 1,
    opset: int = 17,
    domain: str = "",
    dtype: int = TensorProto.FLOAT,
    order: list[str] | None = None,
    **attributes: Any,
) -> ModelProto:
    """One node. `inputs` are fed and give the shapes; `constants` are weights; `order`: of both."""
    constants = constants or {}
    names = order or [*inputs, *constants]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, "node", domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        op.lower(),
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info(n, dtype, None) for n in made],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def reference(model: ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """onnxruntime without any optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def shaped(model: ModelProto) -> ModelProto:
    """After the passes that a build runs before the lowering: one sample, operators that have kernels."""
    for change in shaping():
        model = change.apply(model, {})
    return model


def source(
    model: ModelProto,
    prefix: str,
    *,
    fixed_point: bool = False,
    vectors: bool = False,
    registers: bool = False,
    scalable: bool = False,
    lanes: int = 1,
) -> Source:
    program, findings = lowered(
        model, fixed_point=fixed_point, vectors=vectors, registers=registers, scalable=scalable, lanes=lanes
    )
    assert program is not None, findings
    return emit(program, prefix)


def sources(models: Iterable[ModelProto], **processor: bool) -> list[Source]:
    """All for the same processor, with the prefixes m0, m1 and so on."""
    return [source(model, f"m{i}", **processor) for i, model in enumerate(models)]


def kernels(model: ModelProto, **processor: bool) -> list[str]:
    """The names of those that are called, in their order."""
    program, findings = lowered(model, **processor)
    assert program is not None, findings
    return [call.call.template.split(".")[0] for call in program.calls]


def chain(
    nodes: list[Any], inputs: dict[str, Array], constants: dict[str, Array], output: str, dtype: int
) -> ModelProto:
    """Several nodes with one output."""
    graph = helper.make_graph(
        nodes,
        "chain",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info(output, dtype, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
