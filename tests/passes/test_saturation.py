"""Weights with which x86 without VNNI cannot saturate: by the instruction's definition, and on such a CPU.

The CPU is emulated: QEMU runs onnxruntime on a Haswell (AVX2) and a Skylake server (AVX-512). Neither
has VNNI, and onnxruntime chooses its kernels as it would there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sprue.graph import serialise, weights
from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.saturation import SAFE, orders_of, pair_sums, quantized_weights, rows, worst_pairs
from sprue.passes.simplify import Simplify

QEMU = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
RUN = """
import sys, numpy, onnxruntime
x = numpy.load(sys.argv[1])
for model in sys.argv[2:]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    numpy.save(model + ".npy", session.run(None, {"x": x})[0])
"""


def vpmaddubsw(a: list[int], w: list[int]) -> int:
    """Intel SDM volume 2: SaturateToSignedWord(a0 * w0 + a1 * w1)."""
    return max(-(2**15), min(2**15 - 1, a[0] * w[0] + a[1] * w[1]))


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(5))),
    hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.just(5))),
)
def test_pairs_are_added_as_the_instruction_does(activations: np.ndarray, stored: np.ndarray) -> None:
    exact, clamped, count = pair_sums(activations, stored)
    a, w = (np.pad(v, ((0, 0), (0, 1))).astype(int).tolist() for v in (activations, stored))
    np.testing.assert_array_equal(exact, activations.astype(int) @ stored.astype(int).T)
    expected = [[sum(vpmaddubsw(r[j : j + 2], c[j : j + 2]) for j in (0, 2, 4)) for c in w] for r in a]
    np.testing.assert_array_equal(clamped, expected)
    assert (count > 0) or (exact == clamped).all()


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.integers(-127, 127)))
def test_weights_are_safe_if_and_only_if_no_activations_saturate_them(stored: np.ndarray) -> None:
    """The worst activations of a weight are 255 where it is positive, or where it is negative, and else 0."""
    worst = [np.where(sign * row > 0, 255, 0).astype(np.uint8) for row in stored for sign in (1, -1)]
    caught = np.array([pair_sums(np.array([a]), row[None])[2] > 0 for row in stored for a in worst])
    by_row = caught.reshape(len(stored), -1).any(axis=1)
    np.testing.assert_array_equal(worst_pairs([stored]) > SAFE, by_row)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_the_orders_of_a_convolution_hold_the_same_weights(outputs: int, inputs: int, kernel: int) -> None:
    weight = np.arange(1, 1 + outputs * inputs * kernel**2).reshape(outputs, inputs, kernel, kernel)
    for order in rows(weight, "Conv"):
        assert len(order) == outputs
        assert [sorted(set(row) - {0}) for row in order.tolist()] == [sorted(w.ravel()) for w in weight]


def odd_network() -> tuple[ModelProto, np.ndarray]:
    """Odd numbers of channels, strides, a depthwise and a grouped convolution, MatMul and Gemm.

    Most weights of a channel have one sign, so that pairs are as large as they get.
    """
    rng = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.uniform(0.2, 1, shape) * rng.choice([1, 1, 1, -1], shape)
        return numpy_helper.from_array((values / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)

    nodes: list[NodeProto] = []
    flow = "x"
    for name, known in (
        ("c1", {"pads": [1, 1, 1, 1]}),
        ("c2", {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("c3", {"pads": [1, 1, 1, 1], "group": 9}),
        ("c4", {"group": 3}),
    ):
        nodes.append(helper.make_node("Conv", [flow, f"{name}w"], [name], name, **known))
        nodes.append(helper.make_node("Relu", [name], [f"{name}r"], f"{name}r"))
        flow = f"{name}r"
    nodes += [
        helper.make_node("Flatten", [flow], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "mw"], ["m"], "matmul"),
        helper.make_node("Relu", ["m"], ["mr"], "mr"),
        helper.make_node("Gemm", ["mr", "gw", "gb"], ["y"], "gemm", transB=1),
    ]
    shapes = {"c1w": (7, 3, 3, 3), "c2w": (9, 7, 3, 3), "c3w": (9, 1, 3, 3), "c4w": (6, 3, 1, 1)}
    held = [weight(n, *s) for n, s in (shapes | {"mw": (150, 33), "gw": (5, 33), "gb": (5,)}).items()]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 10, 10])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 5])
    graph = helper.make_graph(nodes, "odd", [x], [y], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    samples = np.abs(rng.standard_normal((32, 3, 10, 10))).astype(np.float32)
    return Simplify().apply(model, {}), samples


def test_a_repaired_layer_has_no_unsafe_pair_and_changes_only_where_it_must() -> None:
    model, samples = odd_network()
    plain, safe = (
        QuantizeStatic(activations="uint8", pair_safe=p).apply(model, {"x": samples}) for p in (False, True)
    )
    before, after = weights(plain), weights(safe)
    layers = list(quantized_weights(safe))
    assert [w.node.name for w in layers] == ["c1", "c2", "c4", "matmul", "gemm"], "c3 is depthwise"
    for weight in layers:
        was = worst_pairs(orders_of(weight, before[weight.name]))
        now = worst_pairs(orders_of(weight, after[weight.name]))
        assert (was > SAFE).any()
        assert now.max() <= SAFE
        factor = after[weight.scale].astype(float) / before[weight.scale].astype(float)
        assert ((factor > 1) == (was > SAFE)).all()
        assert factor.max() < 2.05, "more than a bit"
    assert set(before) == set(after)


def test_the_bias_moves_with_the_scale_of_its_weights() -> None:
    model, samples = odd_network()
    safe = QuantizeStatic(activations="uint8", pair_safe=True).apply(model, {"x": samples})
    (gemm,) = [w for w in quantized_weights(safe) if w.node.name == "gemm"]
    assert gemm.bias is not None
    held = weights(safe)
    stored, scale = (held[n].astype(np.float64) for n in gemm.bias.input[:2])
    wanted = weights(model)["gb"].astype(np.float64)
    np.testing.assert_allclose(stored * scale, wanted, rtol=0, atol=float(scale.max()))


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed (Debian: qemu-user-static)")
@pytest.mark.parametrize("processor", ["Haswell", "Skylake-Server"])
def test_a_processor_without_vnni_gives_the_same_answers(processor: str, tmp_path: Path) -> None:
    model, samples = odd_network()
    script, data = tmp_path / "run.py", tmp_path / "x.npy"
    script.write_text(RUN)
    np.save(data, samples)
    answers = {}
    for safe in (False, True):
        path = tmp_path / f"{safe}.onnx"
        made = QuantizeStatic(activations="uint8", pair_safe=safe, float_outputs=True)
        path.write_bytes(serialise(made.apply(model, {"x": samples})))
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # no integer kernels
        answers[safe] = ort.InferenceSession(path, options).run(None, {"x": samples})[0]
    assert QEMU is not None
    command = [QEMU, "-cpu", processor, sys.executable, script, data, *sorted(tmp_path.glob("*.onnx"))]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    step = {safe: float(np.ptp(answer)) / 255 for safe, answer in answers.items()}
    off = {s: np.abs(np.load(tmp_path / f"{s}.onnx.npy") - answers[s]).max() / step[s] for s in answers}
    assert off[False] > 5, "the processor saturates: the test would notice"
    assert off[True] < 1
