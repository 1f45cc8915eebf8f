"""What becomes of common ONNX graphs: which TFLite operations, and the same numbers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from .build import (
    BACKEND,
    Arrays,
    compiled,
    lowered_runner,
    model,
    operations,
    reference,
    variant,
    weight,
    worst,
)

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
EXACT = 2e-6
"""float32 against float32: another order of summation."""
node = helper.make_node


def image(seed: int = 3, samples: int = 3, channels: int = 3) -> Arrays:
    return {"x": np.random.default_rng(seed).standard_normal((samples, channels, 9, 11)).astype(np.float32)}


def network() -> ModelProto:
    """Two convolutions with a batch norm, activations, an addition, pooling and a classifier."""
    weights: Arrays = {"w1": weight(1, 8, 3, 3, 3), "b1": weight(2, 8), "w2": weight(3, 8, 8, 3, 3)}
    weights |= {k: weight(i, 8) for i, k in enumerate(("scale", "shift", "mean"))}
    weights |= {"var": np.linspace(0.5, 2, 8, dtype=np.float32), "w3": weight(5, 4, 8), "b3": weight(6, 4)}
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("Add", ["c2", "r1"], ["a2"]),
        node("Clip", ["a2", "zero", "six"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    weights |= {"zero": np.zeros((), np.float32), "six": np.array(6, np.float32)}
    return model(nodes, {"x": ["batch", 3, 9, 11]}, ["y"], weights)


def fixed(source: ModelProto) -> ModelProto:
    from sprue.graph import with_batch

    return with_batch(source, 1)


def test_a_convolutional_network_keeps_nhwc_inside_and_fuses(tmp_path: Path) -> None:
    made = operations(fixed(network()))
    assert made == {"TRANSPOSE": 1, "CONV_2D": 2, "ADD": 1, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}
    samples = image()
    actual = compiled(network(), "float32", samples, tmp_path).run(samples)
    assert worst(actual, reference(network(), samples)) < EXACT


def test_a_relu_is_not_fused_into_a_result_that_others_read(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["r"]), node("Sub", ["c", "r"], ["y"])]
    source = model(nodes, {"x": [1, 3, 9, 11]}, ["y"], {"w": weight(1, 4, 3, 3, 3)})
    samples = image(samples=1)
    assert operations(source)["RELU"] == 1
    actual = compiled(source, "float32", samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < EXACT


def test_a_batch_norm_is_not_folded_into_a_convolution_that_others_read(tmp_path: Path) -> None:
    weights = {k: np.abs(weight(i, 4)) + 0.1 for i, k in enumerate(("s", "b", "m", "v"))}
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("Add", ["n", "c"], ["y"]),
    ]
    source = model(nodes, {"x": [1, 3, 9, 11]}, ["y"], {"w": weight(1, 4, 3, 3, 3), **weights})
    samples = image(samples=1)
    actual = compiled(source, "float32", samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < EXACT


@pytest.mark.parametrize("shape", [(1, 5), (2, 3, 5), (1, 2, 3, 5)])
def test_a_product_with_constant_weights_is_fully_connected_with_its_bias(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["y"])]
    source = model(nodes, {"x": shape}, ["y"], {"w": weight(1, 5, 7), "b": weight(2, 7)})
    assert operations(source) == {"FULLY_CONNECTED": 1}
    samples: Arrays = {"x": weight(3, *shape)}
    actual = compiled(source, "float32", samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < EXACT


def test_opposite_transposes_leave_nothing() -> None:
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        node("Relu", ["a"], ["b"]),
        node("Transpose", ["b"], ["y"], perm=[0, 3, 1, 2]),
    ]
    assert operations(model(nodes, {"x": [1, 3, 4, 5]}, ["y"])) == {"RELU": 1}


@pytest.mark.parametrize("order", ["x*a*half", "half*a*x", "x*half*a"])
def test_a_gelu_that_is_written_out_is_one_operation(order: str, tmp_path: Path) -> None:
    first, second, third = order.replace("half", "h").split("*")
    nodes = [
        node("Div", ["x", "r"], ["d"]),
        node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["a"]),
        node("Mul", [first, second], ["m"]),
        node("Mul", ["m", third], ["y"]),
    ]
    scalars = {"r": np.sqrt(2), "one": 1.0, "h": 0.5}
    weights: Arrays = {k: np.array(v, np.float32) for k, v in scalars.items()}
    source = model(nodes, {"x": [1, 64]}, ["y"], weights)
    assert operations(source) == {"GELU": 1}
    samples: Arrays = {"x": np.linspace(-6, 6, 64, dtype=np.float32)[None]}
    actual = compiled(source, "float32", samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < EXACT


@pytest.mark.parametrize("read", [0, 1], ids=["sequence", "last state"])
def test_an_lstm_is_fused_when_outputs_that_nobody_reads_have_names(read: int) -> None:
    """As torch writes them."""
    weights: Arrays = {"W": weight(1, 1, 16, 3), "R": weight(2, 1, 16, 4), "B": weight(3, 1, 32)}
    lstm = node("LSTM", ["x", "W", "R", "B"], ["y", "last", "cell"], hidden_size=4)
    source = model([lstm, node("Relu", [lstm.output[read]], ["z"])], {"x": [5, 2, 3]}, ["z"], weights)
    assert operations(source)["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    samples: Arrays = {"x": weight(4, 5, 2, 3)}
    assert worst(lowered_runner(source).run(samples), reference(source, samples)) < EXACT


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("start", ["none", "constant", "input"])
def test_an_lstm_starts_anew_at_each_run(direction: str, start: str) -> None:
    ways = 2 if direction == "bidirectional" else 1
    weights: Arrays = {"W": weight(1, ways, 16, 3), "R": weight(2, ways, 16, 4), "B": weight(3, ways, 32)}
    inputs: dict[str, list[int | str]] = {"x": [5, 2, 3]}
    samples: Arrays = {"x": weight(4, 5, 2, 3)}
    states = ["", "h", "c"] if start != "none" else []
    if start == "constant":
        weights |= {"h": weight(5, ways, 2, 4), "c": weight(6, ways, 2, 4)}
    if start == "input":
        inputs |= {"h": [ways, 2, 4], "c": [ways, 2, 4]}
        samples |= {"h": weight(5, ways, 2, 4), "c": weight(6, ways, 2, 4)}
    lstm = node("LSTM", ["x", "W", "R", "B", *states], ["y", "last"], hidden_size=4, direction=direction)
    source = model([lstm], inputs, ["y", "last"], weights)
    assert operations(source)["UNIDIRECTIONAL_SEQUENCE_LSTM"] == ways
    runner = lowered_runner(source)
    first, second = runner.run(samples), runner.run(samples)
    assert worst(first, reference(source, samples)) < EXACT
    assert all((first[k] == second[k]).all() for k in first)


def test_every_unsupported_node_is_found_and_named() -> None:
    nodes = [
        node("Relu", ["x"], ["a"], "fine"),
        node("NonZero", ["a"], ["b"], "first"),
        node("Det", ["x"], ["c"], "second"),
        node("Cast", ["b"], ["y"], "behind", to=TensorProto.FLOAT),
        node("Relu", ["c"], ["z"], "behind too"),
    ]
    found = BACKEND.check(model(nodes, {"x": ["batch", 5, 5]}, ["y", "z"]), variant("float32"))
    assert {(f.kind, f.node, f.op) for f in found} == {
        ("operator", "first", "NonZero"),
        ("operator", "second", "Det"),
    }
    assert all(f.reason and f.remedy for f in found)


def test_a_second_free_axis_is_a_shape_finding() -> None:
    found = BACKEND.check(
        model([node("Relu", ["x"], ["y"])], {"x": ["n", "t", 3]}, ["y"]), variant("float32")
    )
    assert [f.kind for f in found] == ["shape"]
    assert "'x'" in found[0].reason


def test_a_limit_that_the_weights_exceed_is_found_without_compiling() -> None:
    import dataclasses

    target = dataclasses.replace(variant("float32").target, limit_flash=1000)
    found = BACKEND.check(network(), variant("float32", target))
    assert [f.kind for f in found] == ["limit"]


def test_lowering_a_small_model_takes_a_fraction_of_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = image()
    compiled(network(), "float32", samples, tmp_path)  # imports, once
    source = fixed(network())
    start = time.perf_counter()
    operations(source)
    middle = time.perf_counter()
    BACKEND.check(network(), variant("int8-static"))
    with capsys.disabled():
        print(f"\nlowering {middle - start:.4f} s, check {time.perf_counter() - middle:.4f} s (aim: 0.2)")


def test_a_relu_is_not_fused_into_a_result_that_is_read_under_another_name(tmp_path: Path) -> None:
    nodes = [
        node("Add", ["x", "x"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[1, 2, 3, 0]),
        node("Relu", ["b"], ["y"]),
        node("Sigmoid", ["a"], ["z"]),
    ]
    source = model(nodes, {"x": [1, 3, 9, 11]}, ["y", "z"])
    samples = image(samples=1)
    assert worst(lowered_runner(source).run(samples), reference(source, samples)) < EXACT


def test_a_relu_in_a_function_body_is_not_fused_into_what_the_body_reads_again() -> None:
    """Shrink is one that ONNX defines by others; it reads its input four times."""
    nodes = [node("Add", ["x", "x"], ["a"]), node("Shrink", ["a"], ["y"], lambd=0.5, bias=0.1)]
    source = model(nodes, {"x": [1, 3, 9, 11]}, ["y"])
    samples = image(samples=1)
    assert worst(lowered_runner(source).run(samples), reference(source, samples)) < EXACT


def test_a_relu_is_not_fused_into_a_result_that_a_loop_reads() -> None:
    step = helper.make_tensor_value_info("step", TensorProto.INT64, [])
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    state = helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 3, 9, 11])
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 9, 11]) for n in ("t",)]
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    inside = [node("Identity", ["go"], ["on"]), node("Add", ["s", "a"], ["t"])]
    body = helper.make_graph(inside, "body", [step, go, state], [on, *made])
    nodes = [
        node("Add", ["x", "x"], ["a"]),
        node("Relu", ["a"], ["r"]),
        node("Loop", ["count", "", "r"], ["y"], body=body),
    ]
    source = model(nodes, {"x": [1, 3, 9, 11]}, ["y"], {"count": np.array(3)})
    samples = image(samples=1)
    assert worst(lowered_runner(source).run(samples), reference(source, samples)) < EXACT


def encoder() -> ModelProto:
    """One block of a transformer as exporters write it: x float32 [batch,6,16] -> y, 4 heads."""
    names = ["q", "k", "v", "o", "up", "down"]
    sizes = {"up": (16, 32), "down": (32, 16)}
    weights: Arrays = {n: weight(i, *sizes.get(n, (16, 16))) for i, n in enumerate(names)}
    weights |= {f"{n}_b": weight(9, sizes.get(n, (16, 16))[1]) for n in names}
    weights |= {"scale": np.array(0.5, np.float32), "one": np.ones(16, np.float32), "none": weight(8, 16)}
    weights |= {"heads": np.array([0, 6, 4, 4]), "whole": np.array([0, 6, 16])}
    nodes = []

    def dense(x: str, name: str) -> str:
        nodes.append(node("MatMul", [x, name], [f"{name}_m"]))
        nodes.append(node("Add", [f"{name}_m", f"{name}_b"], [f"{name}_y"]))
        return f"{name}_y"

    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes.append(node("Reshape", [dense("x", name), "heads"], [f"{name}_r"]))
        nodes.append(node("Transpose", [f"{name}_r"], [f"{name}_t"], perm=perm))
    nodes += [
        node("MatMul", ["q_t", "k_t"], ["s"]),
        node("Mul", ["s", "scale"], ["s2"]),
        node("Softmax", ["s2"], ["p"], axis=-1),
        node("MatMul", ["p", "v_t"], ["a"]),
        node("Transpose", ["a"], ["a_t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["a_t", "whole"], ["a_r"]),
    ]
    nodes.append(node("Add", ["x", dense("a_r", "o")], ["r1"]))
    nodes.append(node("LayerNormalization", ["r1", "one", "none"], ["n1"]))
    nodes.append(node("Gelu", [dense("n1", "up")], ["g"]))
    nodes.append(node("Add", ["n1", dense("g", "down")], ["y"]))
    return model(nodes, {"x": ["batch", 6, 16]}, ["y"], weights, opset=20)


def test_attention_keeps_its_weights_where_quantizers_find_them(tmp_path: Path) -> None:
    made = operations(fixed(encoder()))
    assert (made["FULLY_CONNECTED"], made["BATCH_MATMUL"], made["GELU"], made["SOFTMAX"]) == (6, 2, 1, 1)
    samples: Arrays = {"x": weight(1, 9, 6, 16) * 3}
    expected = reference(encoder(), samples)
    for precision, limit in (("float32", EXACT), ("float16", 2e-3), ("int8-dynamic", 0.03)):
        folder = tmp_path / precision
        folder.mkdir()
        assert worst(compiled(encoder(), precision, samples, folder).run(samples), expected) < limit  # type: ignore[arg-type]  # a Precision


def test_behind_a_flattened_image_the_weights_are_reordered_and_not_the_image(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Flatten", ["c"], ["f"]),
        node("Gemm", ["f", "k"], ["y"], transB=1),
    ]
    weights: Arrays = {"w": weight(1, 4, 3, 3, 3), "k": weight(2, 6, 4 * 7 * 9)}
    source = model(nodes, {"x": ["batch", 3, 9, 11]}, ["y"], weights)
    made = operations(fixed(source))
    assert made == {"TRANSPOSE": 1, "CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}
    samples = image()
    assert (
        worst(compiled(source, "float32", samples, tmp_path).run(samples), reference(source, samples)) < EXACT
    )


@pytest.mark.parametrize("opset", [13, 17, 21, onnx.defs.onnx_opset_version()])
def test_operator_sets_from_13_to_the_newest_mean_the_same(opset: int) -> None:
    source, samples = fixed(network()), image(samples=1)
    expected = reference(source, samples)
    source.opset_import[0].version = opset
    assert worst(lowered_runner(source).run(samples), expected) < EXACT


@pytest.mark.parametrize("opset", [6, 99])
def test_an_operator_set_that_is_too_old_or_too_new_is_found(opset: int) -> None:
    source = model([node("Add", ["x", "x"], ["y"])], {"x": [1, 3]}, ["y"], opset=opset)
    found = BACKEND.check(source, variant("float32"))
    assert {f.kind for f in found} == {"operator"}
    assert f"operator set {opset}" in found[0].reason


@pytest.mark.parametrize("scale", [0.0, 1e-40])
def test_a_scale_that_is_no_number_to_divide_by_is_found(scale: float) -> None:
    weights: Arrays = {"s": np.array(scale, np.float32), "z": np.array(3, np.uint8)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    found = BACKEND.check(model(nodes, {"x": [1, 3]}, ["y"], weights), variant("float32"))
    assert ("q", "QuantizeLinear") in {(f.node, f.op) for f in found}


def test_an_index_outside_its_table_is_found() -> None:
    weights: Arrays = {"i": np.array([2**40])}
    source = model([node("Gather", ["x", "i"], ["y"], "far", axis=1)], {"x": [1, 3]}, ["y"], weights)
    found = BACKEND.check(source, variant("float32"))
    assert [(f.node, f.op) for f in found] == [("far", "Gather")]
