"""Float16 against ONNX's own checker (types) and its reference evaluator (values)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sprue.errors import SprueError
from sprue.graph import inputs, outputs, serialise, weights
from sprue.passes.float16 import Float16, overflowing_weights, to_float16

Samples = dict[str, NDArray[Any]]
Case = tuple[ModelProto, Samples]
FLOAT, HALF, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def f32(values: Sequence[float]) -> NDArray[Any]:
    return np.array(values, np.float32)


def evaluate(model: ModelProto, feeds: Samples) -> NDArray[Any]:
    """The first output, by the reference implementation that ONNX itself ships."""
    return np.asarray(next(iter(ReferenceEvaluator(model).run(None, feeds))))


def model_of(
    nodes: list[Any], constants: dict[str, NDArray[Any]], opset: int = 17, **border: Any
) -> ModelProto:
    values = {n: helper.make_tensor_value_info(n, *spec) for n, spec in border.items()}
    sources = [v for n, v in values.items() if not any(n in node.output for node in nodes)]
    results = [v for n, v in values.items() if any(n in node.output for node in nodes)]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "made", sources, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def converted(model: ModelProto, keep_border: bool = True) -> ModelProto:
    """The float16 model, whose types ONNX's checker has inferred anew and found to fit."""
    made = Float16(keep_border).apply(model, {})
    onnx.checker.check_model(made, full_check=True)
    onnx.shape_inference.infer_shapes(made, check_type=True, strict_mode=True)
    return made


def types(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return found | {t.name: t.data_type for t in graph.initializer}


@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
def test_everything_between_the_casts_at_the_border_is_float16(
    network: str, request: pytest.FixtureRequest
) -> None:
    model: ModelProto = request.getfixturevalue(network)[0]
    made = converted(model)
    assert inputs(made) == inputs(model)
    assert outputs(made) == outputs(model)
    border = {v.name for v in (*made.graph.input, *made.graph.output)}
    assert {t for n, t in types(made).items() if n not in border} <= {HALF, INT64}
    casts = [n for n in made.graph.node if n.op_type == "Cast"]
    assert all(n.input[0] in border or n.output[0] in border for n in casts)


def test_without_the_border_inputs_and_outputs_are_float16_too(tiny_cnn: Case) -> None:
    made = converted(tiny_cnn[0], keep_border=False)
    assert set(types(made).values()) == {HALF}
    assert "Cast" not in {n.op_type for n in made.graph.node}


def test_the_values_are_those_of_the_float_model_to_half_precision(tiny_cnn: Case) -> None:
    model, samples = tiny_cnn
    image = {"image": samples["image"][:3]}
    expected = evaluate(model, image)
    actual = evaluate(converted(model), image)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=5e-3, atol=5e-3)


def test_an_input_that_must_be_float32_stays_float32_and_exact() -> None:
    scales = np.array([1, 1, 1.0001, 2.0001], np.float32)
    resize = helper.make_node("Resize", ["x", "", "scales"], ["y"], "resize", mode="nearest")
    model = model_of([resize], {"scales": scales}, x=(FLOAT, [1, 1, 2, 2]), y=(FLOAT, [1, 1, 2, 4]))
    made = converted(model)
    kept = next(n for n in made.graph.node if n.op_type == "Resize").input[2]
    np.testing.assert_array_equal(weights(made)[kept], scales)


def test_an_operator_without_float16_stands_between_casts() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    constants: dict[str, NDArray[Any]] = {"scale": np.array(0.1, np.float32), "zero": np.array(3, np.int8)}
    made = converted(model_of(nodes, constants, x=(FLOAT, [4]), y=(FLOAT, [4])))
    assert weights(made)[made.graph.node[2].input[1]].dtype == np.float32
    assert types(made)[next(n for n in made.graph.node if n.op_type == "Relu").input[0]] == HALF


def test_constants_casts_and_filled_shapes_change_their_stated_type() -> None:
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(f32([0.5]))),
        helper.make_node("ConstantOfShape", ["size"], ["filled"], value=value),
        helper.make_node("Cast", ["tokens"], ["numbers"], to=FLOAT),
        helper.make_node("Add", ["half", "filled"], ["sum"]),
        helper.make_node("Mul", ["numbers", "sum"], ["y"]),
    ]
    model = model_of(nodes, {"size": np.array([3])}, tokens=(INT64, [3]), y=(FLOAT, [3]))
    made = converted(model)
    assert FLOAT not in {t for n, t in types(made).items() if n != "y"}
    actual = evaluate(made, {"tokens": np.array([1, 2, 3])})
    np.testing.assert_array_equal(actual, f32([1, 2, 3]))


def test_branches_are_converted_with_what_they_read_from_outside() -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(name, FLOAT, [2])
        return helper.make_graph([helper.make_node(op, ["x", "w"], [name])], name, [], [result])

    node = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch("sum", "Add"), else_branch=branch("product", "Mul")
    )
    constants = {"w": f32([3, 4])}
    model = model_of([node], constants, flag=(TensorProto.BOOL, []), x=(FLOAT, [2]), y=(FLOAT, [2]))
    made = converted(model)
    for flag, wanted in ((True, [4, 6]), (False, [3, 8])):
        feeds = {"flag": np.array(flag), "x": f32([1, 2])}
        np.testing.assert_array_equal(evaluate(made, feeds), f32(wanted))


def test_a_model_without_floats_stays_as_it_is() -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"], "add")
    model = model_of([node], {}, x=(INT64, ["batch"]), y=(INT64, ["batch"]))
    assert [n.op_type for n in converted(model).graph.node] == ["Add"]


def test_weights_beyond_the_range_are_clamped_or_refused_by_name() -> None:
    constants = {"mask": f32([-3.4e38, 0, 7e4, np.inf])}
    node = helper.make_node("Add", ["x", "mask"], ["y"])
    model = model_of([node], constants, x=(FLOAT, [4]), y=(FLOAT, [4]))
    assert overflowing_weights(model) == ["mask"]
    made = weights(converted(model))["mask"]
    np.testing.assert_array_equal(made, f32([-65504, 0, 65504, np.inf]))
    with pytest.raises(SprueError, match="'mask' exceed"):
        Float16(overflow="refuse").apply(model, {})


def test_an_operator_of_one_runtime_is_refused_by_name() -> None:
    node = helper.make_node("FusedGemm", ["x"], ["y"], "odd", domain="com.microsoft")
    model = model_of([node], {}, x=(FLOAT, [4]), y=(FLOAT, [4]))
    with pytest.raises(SprueError, match="'odd'"):
        Float16().apply(model, {})


def test_a_name_that_is_taken_is_not_used_again() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["x_float16"]), helper.make_node("Neg", ["x_float16"], ["y"])]
    model = model_of(nodes, {}, x=(FLOAT, [2]), y=(FLOAT, [2]))
    actual = evaluate(converted(model), {"x": f32([-1, 2])})
    np.testing.assert_array_equal(actual, f32([0, -2]))


def test_equal_models_give_equal_bytes(tiny_cnn: Case) -> None:
    before = serialise(tiny_cnn[0])
    assert serialise(Float16().apply(tiny_cnn[0], {})) == serialise(Float16().apply(tiny_cnn[0], {}))
    assert serialise(tiny_cnn[0]) == before


@given(hnp.arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False)))
def test_rounding_keeps_the_sign_of_what_is_not_zero_and_is_nearest_within_the_range(
    array: NDArray[np.float32],
) -> None:
    made = to_float16(array)
    np.testing.assert_array_equal(np.sign(made), np.sign(array))
    normal = (np.abs(array) >= 2**-14) & (np.abs(array) <= 65504)
    assert (np.abs(made[normal] - array[normal]) <= np.abs(array[normal]) * 2**-11).all()
