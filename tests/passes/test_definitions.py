"""Our definitions of operators compute what onnxruntime computes, or leave the operator as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from sprue.passes.definitions import definitions
from sprue.passes.expand import Expand

Array = NDArray[Any]
RNG = np.random.default_rng(7)
BASIC = (
    *("Abs", "Add", "ArgMax", "AveragePool", "Cast", "Concat", "Constant", "Conv", "ConvTranspose", "Div"),
    *(
        "Equal",
        "Expand",
        "Gather",
        "GatherElements",
        "Greater",
        "GridSample",
        "GRU",
        "Identity",
        "Less",
        "LSTM",
        "MatMul",
    ),
    *(
        "Max",
        "MaxPool",
        "Min",
        "Mod",
        "Mul",
        "Pad",
        "Pow",
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
    ),
    *(
        "QuantizeLinear",
        "ReduceSum",
        "Reshape",
        "Round",
        "ScatterElements",
        "Slice",
        "Sqrt",
        "Sub",
        "Tanh",
        "Transpose",
    ),
    *("Unsqueeze", "Where", "BatchNormalization", "SpaceToDepth"),
)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def small(dtype: str, *shape: int) -> Array:
    return RNG.integers(0, 100, shape).astype(dtype)


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


QUANTIZED = {
    "a_scale": np.float32(0.02), "a_zero": np.uint8(12), "b": small("uint8", 5, 3),
    "b_scale": np.float32(0.1), "b_zero": np.uint8(60), "y_scale": np.float32(0.5), "y_zero": np.uint8(7),
}  # fmt: skip
CONVOLVED = {**QUANTIZED, "b": small("uint8", 4, 2, 3, 3), "bias": small("int32", 4)}
GATED = {"w": normal(2, 16, 3), "r": normal(2, 16, 4), "b": normal(2, 32)}
RECURRENT = {"w": normal(2, 4, 3), "r": normal(2, 4, 4), "b": normal(2, 8)}


@dataclass(frozen=True)
class Case:
    """One node: its input, its constants, how many results it has."""

    op: str
    x: Array
    constants: dict[str, Any]
    outputs: int
    attributes: dict[str, Any]


def one(
    op: str, x: Array, constants: dict[str, Any] | None = None, outputs: int = 1, **attributes: Any
) -> Case:
    return Case(op, x, constants or {}, outputs, attributes)


CASES: dict[str, Case] = {
    "product of a batch": one("Einsum", normal(2, 3, 4), {"b": normal(2, 4, 5)}, equation="bij,bjk->bik"),
    "any axes before": one("Einsum", normal(2, 3, 4), {"b": normal(4, 5)}, equation="...i,ij->...j"),
    "diagonals": one("Einsum", normal(2, 3, 3), equation="bii->bi"),
    "trace": one("Einsum", normal(3, 3), equation="ii"),
    "three terms": one(
        "Einsum", normal(2, 3), {"b": normal(3, 4), "c": normal(2, 4)}, equation="ij,jk,ik->k"
    ),
    "spectrum": one("DFT", normal(2, 6, 1), {"n": integers(6)[0], "axis": integers(1)[0]}),
    "half a spectrum, cropped": one(
        "DFT", normal(2, 8, 2, 1), {"n": integers(5)[0], "axis": integers(1)[0]}, onesided=1
    ),
    "back from a spectrum": one(
        "DFT", normal(2, 6, 2), {"n": integers(6)[0], "axis": integers(1)[0]}, inverse=1
    ),
    "frames": one("STFT", normal(1, 32, 1), {"step": integers(5)[0], "window": normal(16)}),
    "max pool over three axes": one(
        "MaxPool", normal(1, 2, 6, 5, 7), kernel_shape=[3, 2, 3], pads=[1, 0, 1, 1, 1, 0], strides=[2, 1, 2]
    ),
    "average over three axes": one(
        "AveragePool",
        normal(1, 2, 6, 5, 7),
        kernel_shape=[3, 2, 3],
        pads=[1, 0, 1, 1, 1, 0],
        ceil_mode=1,
        strides=[2, 2, 2],
    ),
    "third powers": one("LpPool", normal(1, 2, 6, 5), kernel_shape=[3, 2], p=3),
    "image of blocks": one(
        "Col2Im", normal(1, 12, 12), {"image": integers(5, 6), "block": integers(2, 3)}, dilations=[2, 1]
    ),
    "neighbouring channels": one("LRN", normal(1, 7, 3, 2), size=5, alpha=0.1),
    "by the L2 norm": one("LpNormalization", normal(2, 5), axis=1),
    "hard maximum": one("Hardmax", normal(2, 5, 3), axis=1),
    "one of many": one(
        "OneHot", integers(1, -2, 7, 3), {"depth": integers(5)[0], "values": normal(2)}, axis=0
    ),
    "reversed": one(
        "ReverseSequence", normal(4, 3, 2), {"lengths": integers(1, 4, 2)}, time_axis=0, batch_axis=1
    ),
    "reflected": one("Pad", normal(3, 4), {"pads": integers(1, 2, 2, 3)}, mode="reflect"),
    "repeated edges": one("Pad", normal(3, 4), {"pads": integers(1, 0, 2, 3)}, mode="edge"),
    "back to where the maximum lay": one(
        "MaxUnpool",
        normal(1, 1, 2, 2),
        {"i": integers(0, 3, 9, 14).reshape(1, 1, 2, 2)},
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    "what is chosen": one("Compress", normal(3, 4), {"which": np.array([True, False, True])}, axis=1),
    "determinants": one("Det", normal(2, 4, 4)),
    "integer product": one(
        "MatMulInteger",
        small("uint8", 2, 5),
        {"b": small("uint8", 5, 3), "za": np.uint8(3), "zb": np.uint8(9)},
    ),
    "integer convolution": one(
        "ConvInteger",
        small("uint8", 1, 2, 5, 5),
        {"w": small("uint8", 3, 2, 3, 3), "z": np.uint8(4)},
        pads=[1, 1, 1, 1],
    ),
    "integer convolution of many terms": one(
        "ConvInteger", small("uint8", 1, 1500, 2, 2), {"w": small("uint8", 3, 1500, 1, 1)}
    ),
    "quantized product": one("QLinearMatMul", small("uint8", 2, 5), QUANTIZED),
    "quantized convolution": one("QLinearConv", small("uint8", 1, 2, 5, 5), CONVOLVED),
    "both directions": one(
        "RNN", normal(5, 2, 3), RECURRENT, outputs=2, hidden_size=4, direction="bidirectional"
    ),
    "peepholes": one(
        "LSTM",
        normal(5, 2, 3),
        {
            **GATED,
            "n": np.array([2, 5], np.int32),
            "h": normal(2, 2, 4),
            "c": normal(2, 2, 4),
            "p": normal(2, 12),
        },
        outputs=3,
        hidden_size=4,
        direction="bidirectional",
    ),
    "lengths that say nothing": one(
        "GRU",
        normal(5, 2, 3),
        {"w": normal(1, 12, 3), "r": normal(1, 12, 4), "b": normal(1, 24), "n": np.array([5, 5], np.int32)},
        outputs=2,
        hidden_size=4,
    ),
    "n-grams": one(
        "TfIdfVectorizer",
        small("int32", 2, 12) % 4,
        outputs=1,
        mode="TFIDF",
        min_gram_length=1,
        max_gram_length=2,
        max_skip_count=2,
        ngram_counts=[0, 3],
        ngram_indexes=[2, 0, 1, 4, 3],
        pool_int64s=[0, 1, 2, 1, 2, 3, 3],
        weights=[0.5, 1.0, 2.0, 3.0, 4.0],
    ),
    "sampled with offsets": one(
        "DeformConv",
        normal(1, 2, 5, 4),
        {"w": normal(3, 2, 2, 2), "offset": normal(1, 8, 4, 3), "b": normal(3), "mask": normal(1, 4, 4, 3)},
    ),
    "sequences of their own lengths": one(
        "RNN",
        normal(5, 2, 3),
        {**RECURRENT, "n": np.array([2, 5], np.int32), "h": normal(2, 2, 4)},
        outputs=2,
        hidden_size=4,
        direction="bidirectional",
    ),
}


def model_of(case: Case) -> ModelProto:
    made = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, ["x", *case.constants], made, "node", **case.attributes)
    value = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(case.x.dtype), case.x.shape)
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in case.constants.items()]
    empty = [helper.make_empty_tensor_value_info(n) for n in made]
    graph = helper.make_graph([node], "one", [value], empty, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def run(model: ModelProto, x: Array) -> list[Array]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(made) for made in session.run(None, {"x": x})]


@pytest.mark.parametrize("name", CASES)
def test_a_definition_computes_what_the_operator_computes(name: str) -> None:
    case = CASES[name]
    model = model_of(case)
    written = Expand(keep=BASIC).apply(model, {})
    onnx.checker.check_model(written, full_check=True)
    assert case.op in definitions("FORMS") or case.op not in {n.op_type for n in written.graph.node}
    assert written.SerializeToString() != model.SerializeToString()
    for made, wanted in zip(run(written, case.x), run(model, case.x), strict=True):
        assert (made.dtype, made.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


def test_integer_operators_become_pairs_where_a_backend_has_kernels_for_the_plain_one() -> None:
    """Those hold weights in int8, around their zero point. Of others the sums are written out, and exact."""
    kept = (*BASIC, "DequantizeLinear", "QLinearConv", "QLinearMatMul")
    for name in ("quantized convolution", "quantized product"):
        for zero, pairs in ((60, True), (200, False)):
            case = replace(CASES[name], constants={**CASES[name].constants, "b_zero": np.uint8(zero)})
            model = model_of(case)
            written = Expand(keep=kept).apply(model, {})
            ops = [n.op_type for n in written.graph.node]
            assert ("DequantizeLinear" in ops) == pairs
            assert not {"QLinearConv", "QLinearMatMul"} & set(ops)
            np.testing.assert_array_equal(run(written, case.x)[0], run(model, case.x)[0])


@pytest.mark.parametrize(
    "case",
    [
        one("Det", normal(1, 5, 5)),
        one("Einsum", normal(1, 3), {"b": normal(2, 3)}, equation="ij,ij->ij"),
        one("LpPool", normal(1, 2, 6, 5), kernel_shape=[4, 2], strides=[3, 2], ceil_mode=1),
        one("ConvInteger", small("uint8", 1, 3000, 1, 1), {"w": small("uint8", 2, 1500, 1, 1)}, group=2),
    ],
    ids=lambda case: case.op,
)
def test_a_form_that_is_not_covered_stays_as_it_is(case: Case) -> None:
    model = model_of(case)
    assert Expand(keep=BASIC).apply(model, {}) is model


def test_every_operator_with_a_definition_is_one_of_onnx() -> None:
    for name in (*definitions("FORMS"), *definitions("DEFINITIONS")):
        domain, _, op = name.rpartition(".")
        assert onnx.defs.has(op, domain)
