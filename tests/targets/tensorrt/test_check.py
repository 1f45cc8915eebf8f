"""What `check` says, by tensorrt-rtx's parser and by the table, and that the two agree."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from sprue.targets.tensorrt import BACKEND, check, operators

from sprue import graph

FLOAT = TensorProto.FLOAT


@pytest.fixture(params=["parser", "table"])
def answers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who answers: NVIDIA's parser, or the table, as where tensorrt-rtx is not installed."""
    who: str = request.param
    if who == "parser":
        pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    else:
        monkeypatch.setattr(check, "rtx", lambda: None)
    return who


def test_the_sample_like_models_have_no_findings(
    answers: str, model: ModelProto, variant: Callable[..., Any]
) -> None:
    assert [BACKEND.check(model, variant(p)) for p in BACKEND.precisions] == [[], [], []]


def test_every_unsupported_operator_is_named_with_its_node(
    answers: str, network: Callable[..., ModelProto], tensor: Callable[..., Any], variant: Callable[..., Any]
) -> None:
    made = network(
        [
            helper.make_node("Det", ["x"], ["d"], name="volume"),
            helper.make_node("Flatten", ["d"], ["f"], name="flatten"),
            helper.make_node("Bernoulli", ["f"], ["b"], name="dice"),
            helper.make_node("Blur", ["b"], ["y"], name="blur", domain="com.example"),
        ],
        [tensor("x", FLOAT, "n", 3, 4, 4)],
        [tensor("y", FLOAT, "n", 3)],
        {},
    )
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    found = BACKEND.check(made, variant("float32"))
    assert [(f.kind, f.node, f.op) for f in found] == [
        ("operator", "volume", "Det"),
        ("operator", "dice", "Bernoulli"),
        ("operator", "blur", "Blur"),
    ]
    assert "does not support Det" in found[0].reason
    assert "without a plugin" in found[2].reason
    assert all(f.remedy for f in found)


def test_an_operator_for_which_only_tensorrt_has_a_plugin_is_no_finding(
    answers: str, network: Callable[..., ModelProto], tensor: Callable[..., Any], variant: Callable[..., Any]
) -> None:
    made = network(
        [helper.make_node("RoiAlign", ["x", "boxes", "of"], ["y"], output_height=2, output_width=2)],
        [tensor("x", FLOAT, "n", 1, 8, 8)],
        [tensor("y", FLOAT, 1, 1, 2, 2)],
        {"boxes": np.array([[0, 0, 4, 4]], np.float32), "of": np.array([0], np.int64)},
    )
    assert BACKEND.check(made, variant("float32")) == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (TensorProto.DOUBLE, "float64 into float32"),
        (TensorProto.UINT8, "uint8 only into or out of a Cast"),
        (TensorProto.STRING, "holds no string"),
        (TensorProto.UINT16, "holds no uint16"),
    ],
)
def test_inputs_of_types_that_tensorrt_cannot_have_are_named(
    answers: str,
    digits: ModelProto,
    variant: Callable[..., Any],
    kind: int,
    reason: str,
) -> None:
    digits.graph.input[0].type.tensor_type.elem_type = kind
    (found,) = BACKEND.check(digits, variant("float32"))
    assert (found.kind, found.node, found.op) == ("precision", "image", "Input")
    assert reason in found.reason


def test_uint8_pixels_that_are_cast_at_once_are_fine(
    answers: str, digits: ModelProto, variant: Callable[..., Any]
) -> None:
    digits.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    digits.graph.node[0].input[0] = "pixels"
    digits.graph.node.insert(0, helper.make_node("Cast", ["image"], ["pixels"], name="cast", to=FLOAT))
    assert BACKEND.check(digits, variant("float32")) == []


def test_a_free_axis_besides_the_batch_axis_is_named(
    answers: str, digits: ModelProto, variant: Callable[..., Any]
) -> None:
    digits.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    (found,) = BACKEND.check(digits, variant("float16"))
    assert (found.kind, found.node) == ("shape", "image")
    assert "axis 3 ('width')" in found.reason


def test_a_precision_that_tensorrt_lacks_is_named(
    answers: str, digits: ModelProto, variant: Callable[..., Any]
) -> None:
    (found,) = BACKEND.check(digits, variant("int8-dynamic"))
    assert (found.kind, found.reason) == ("precision", "TensorRT has no int8-dynamic")
    assert "int8-static" in found.remedy


def test_an_operator_set_out_of_range_is_named(
    answers: str, digits: ModelProto, variant: Callable[..., Any]
) -> None:
    digits.opset_import[0].version = 8
    (found,) = BACKEND.check(digits, variant("float32"))
    assert "operator set 8 is not one of 9 to 24" in found.reason


def test_weights_beyond_the_flash_limit_are_found_by_precision(
    answers: str, digits: ModelProto, variant: Callable[..., Any]
) -> None:
    weights = sum(w.size for w in graph.weights(digits).values())
    limit = 3 * weights  # float32 needs 4 bytes each, float16 needs 2
    (found,) = BACKEND.check(digits, variant("float32", limit_flash=limit))
    assert (found.kind, f"{4 * weights} bytes" in found.reason) == ("limit", True)
    assert BACKEND.check(digits, variant("float16", limit_flash=limit)) == []


def test_nodes_inside_a_branch_are_looked_at(
    network: Callable[..., ModelProto], tensor: Callable[..., Any]
) -> None:
    def branch(op: str) -> Any:
        inner = helper.make_node(op, ["x"], ["out"], name=f"in-branch-{op}")
        return helper.make_graph([inner], op, [], [tensor("out", FLOAT, "n", 4)])

    choose = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch("Relu"), else_branch=branch("Hardmax2")
    )
    made = network(
        [choose], [tensor("x", FLOAT, "n", 4)], [tensor("y", FLOAT, "n", 4)], {"flag": np.array(True)}
    )
    (found,) = operators.operator_findings(made)
    assert (found.node, found.op) == ("in-branch-Hardmax2", "Hardmax2")


def test_a_parser_that_dies_leaves_the_answer_to_the_table(
    digits: ModelProto, variant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise sys.modules["sprue.targets.tensorrt.child"].ChildError("was killed by SIGSEGV")

    digits.graph.node[1].op_type = "Hardmax2"
    check.parser_refuses.cache_clear()
    monkeypatch.setattr(check, "rtx", lambda: "1.0")
    monkeypatch.setattr(check, "ask", dies)
    (found,) = BACKEND.check(digits, variant("float32"))
    assert (found.node, found.op) == ("relu1", "Hardmax2")
    check.parser_refuses.cache_clear()


NEWER = {"AveragePool", "GRU", "LSTM", "MaxPool", "RNN", "Swish"}
"""1D pooling, `layout` 1 and Swish: tensorrt-rtx 1.7 takes them, TensorRT 10.15's documentation does not."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_table_agrees_with_the_parser_on_onnx_own_node_tests() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    from onnx.backend.test.case.node import collect_testcases

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    compared, lenient, strict = 0, set(), set()
    for case in collect_testcases(None):
        if case.model is None or len(case.model.graph.node) != 1 or case.model.graph.node[0].domain:
            continue
        op = case.model.graph.node[0].op_type
        net = builder.create_network(strongly_typed)  # held here: the parser does not keep it alive
        parser = trt.OnnxParser(net, logger)
        taken = parser.supports_model_v2(graph.serialise(case.model))
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        unsupported = trt.ErrorCode.UNSUPPORTED_NODE
        says_unsupported = any(e.code() == unsupported and e.desc() == "false" for e in errors)
        refused = bool(operators.operator_findings(case.model))
        compared += 1
        strict |= {op} if taken and refused else set()
        lenient |= {op} if says_unsupported and not refused else set()
    assert compared > 800
    assert lenient == set()
    assert strict <= NEWER
