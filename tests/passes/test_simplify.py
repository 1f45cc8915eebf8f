"""Simplify against graphs made by hand, whose simplified form is known, and against the float reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sprue.errors import SprueError
from sprue.graph import inputs, opset, outputs, serialise, weights
from sprue.passes.simplify import Simplify

Samples = dict[str, NDArray[Any]]
Case = tuple[ModelProto, Samples]
FLOAT = TensorProto.FLOAT


def run(model: ModelProto, samples: Samples) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, samples))


def evaluate(model: ModelProto, feeds: Samples) -> NDArray[Any]:
    """The first output, by the reference implementation that ONNX itself ships."""
    return np.asarray(next(iter(ReferenceEvaluator(model).run(None, feeds))))


def model_of(nodes: list[Any], weights: dict[str, NDArray[Any]], **border: Any) -> ModelProto:
    values = {n: helper.make_tensor_value_info(n, *spec) for n, spec in border.items()}
    sources = [v for n, v in values.items() if not any(n in node.output for node in nodes)]
    results = [v for n, v in values.items() if any(n in node.output for node in nodes)]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "made", sources, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def reshaping_by_shape() -> ModelProto:
    """Flatten, as torch exports it: the batch is read from the shape and put into a Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    return model_of(nodes, constants, x=(FLOAT, ["batch", 2, 3]), y=(FLOAT, ["batch", 6]))


def test_a_fixed_batch_turns_shape_arithmetic_into_a_constant() -> None:
    made = Simplify(batch=4).apply(reshaping_by_shape(), {})
    assert [n.op_type for n in made.graph.node] == ["Reshape"]
    assert inputs(made)[0].shape == (4, 2, 3)
    assert outputs(made)[0].shape == (4, 6)
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    np.testing.assert_array_equal(run(made, {"x": x})[0], x.reshape(4, 6))


def test_without_a_batch_the_batch_axis_stays_symbolic() -> None:
    made = Simplify().apply(reshaping_by_shape(), {})
    assert inputs(made)[0].shape == (None, 2, 3)
    assert outputs(made)[0].shape[0] is None
    for batch in (1, 5):
        x = np.arange(6 * batch, dtype=np.float32).reshape(batch, 2, 3)
        np.testing.assert_array_equal(run(made, {"x": x})[0], x.reshape(batch, 6))


def test_batch_normalization_is_folded_into_the_convolution(tiny_cnn: Case) -> None:
    model, samples = tiny_cnn
    made = Simplify().apply(model, {})
    assert [n.op_type for n in made.graph.node] == [
        *("Conv", "Relu", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm"),
    ]
    np.testing.assert_allclose(run(made, samples)[0], run(model, samples)[0], rtol=1e-5, atol=1e-6)


def test_the_result_agrees_with_the_reference_implementation_of_onnx(tiny_bilstm: Case) -> None:
    model, samples = tiny_bilstm
    expected = evaluate(tiny_bilstm_unidirectional(model), samples)
    actual = run(Simplify(batch=None).apply(tiny_bilstm_unidirectional(model), {}), samples)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def tiny_bilstm_unidirectional(model: ModelProto) -> ModelProto:
    """The forward half: ONNX's own evaluator has no bidirectional LSTM."""
    made = ModelProto()
    made.CopyFrom(model)
    tensors = weights(model)
    for tensor in made.graph.initializer:
        if tensor.name in ("W", "R", "B"):
            tensor.CopyFrom(numpy_helper.from_array(tensors[tensor.name][:1], tensor.name))
        elif tensor.name == "matrix":
            tensor.CopyFrom(numpy_helper.from_array(tensors["matrix"][:8], "matrix"))
        elif tensor.name == "joined":
            tensor.CopyFrom(numpy_helper.from_array(np.array([0, 0, 8]), "joined"))
    for attribute in made.graph.node[2].attribute:
        if attribute.name == "direction":
            attribute.s = b"forward"
    return made


@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_the_border_and_the_opset_stay(
    network: str, batch: int | None, request: pytest.FixtureRequest
) -> None:
    model: ModelProto = request.getfixturevalue(network)[0]
    made = Simplify(batch).apply(model, {})
    onnx.checker.check_model(made, full_check=True)
    for before, after in ((inputs(model), inputs(made)), (outputs(model), outputs(made))):
        assert [(b.name, b.dtype, (batch, *b.shape[1:])) for b in before] == [
            (a.name, a.dtype, a.shape) for a in after
        ]
    assert opset(made) == opset(model)
    assert {o.domain for o in made.opset_import} == {""}


def test_applying_it_twice_changes_nothing_more(tiny_cnn: Case) -> None:
    once = Simplify().apply(tiny_cnn[0], {})
    assert serialise(Simplify().apply(once, {})) == serialise(once)


def test_the_source_stays_as_it_is(tiny_cnn: Case) -> None:
    before = serialise(tiny_cnn[0])
    Simplify(batch=1).apply(tiny_cnn[0], {})
    assert serialise(tiny_cnn[0]) == before


def test_weights_listed_among_the_inputs_are_constants_all_the_same(tiny_cnn: Case) -> None:
    model = ModelProto()
    model.CopyFrom(tiny_cnn[0])
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    made = Simplify().apply(model, {})
    assert [v.name for v in made.graph.input] == ["image"]
    assert "BatchNormalization" not in {n.op_type for n in made.graph.node}


def test_a_second_symbolic_axis_is_named_when_the_batch_is_fixed() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    model = model_of([relu], {}, x=(FLOAT, ["batch", "time"]), y=(FLOAT, ["batch", "time"]))
    with pytest.raises(SprueError, match=r"'x' has the symbolic axis 1 \('time'\)"):
        Simplify(batch=1).apply(model, {})
    assert inputs(Simplify().apply(model, {}))[0].shape == (None, None)


def test_contradicting_shapes_are_an_error_of_ours_not_of_a_library() -> None:
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"], "broken")
    model = model_of(
        [matmul], {"w": np.ones((4, 2), np.float32)}, x=(FLOAT, ["batch", 3]), y=(FLOAT, ["batch", 2])
    )
    with pytest.raises(SprueError) as caught:
        Simplify().apply(model, {})
    assert caught.value.remedy


def test_an_operator_that_onnxruntime_lacks_is_left_alone() -> None:
    lacking = helper.make_node("Acos", ["x"], ["y"], "acos")  # it has Acos for float only
    model = model_of(
        [lacking], {}, x=(TensorProto.DOUBLE, ["batch", 3]), y=(TensorProto.DOUBLE, ["batch", 3])
    )
    assert [n.op_type for n in Simplify().apply(model, {}).graph.node] == ["Acos"]


def test_functions_of_the_model_are_inlined() -> None:
    double = helper.make_function(
        "acme",
        "Double",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    call = helper.make_node("Double", ["x"], ["y"], "call", domain="acme")
    model = model_of([call], {}, x=(FLOAT, ["batch", 3]), y=(FLOAT, ["batch", 3]))
    model.functions.append(double)
    model.opset_import.append(helper.make_opsetid("acme", 1))
    made = Simplify().apply(model, {})
    assert {n.domain for n in made.graph.node} == {""}
    assert not made.functions
    np.testing.assert_array_equal(run(made, {"x": np.ones((2, 3), np.float32)})[0], np.full((2, 3), 2))
