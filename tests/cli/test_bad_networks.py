"""Networks that our own lowerings, to TFLite and to C, cannot take: each says node, operator, target, remedy.

`check` says so without compiling, `build` as well; neither shows a traceback nor leaves half a bundle.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Run = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = "recipes/tiny.toml"
TARGETS = ("mobile", "cortex-m4")


@dataclass(frozen=True)
class Bad:
    """A network, and what is said of it: the node, the operator, a part of the reason for each target.

    `limits`: lines for the recipe's targets.
    """

    model: ModelProto
    node: str
    op: str
    reasons: tuple[str, str]
    limits: str = ""


def network(nodes: list[NodeProto], constants: dict[str, Any] | None = None, opset: int = 17) -> ModelProto:
    """x [batch,4] -> Gemm -> h [batch,3] -> nodes -> y [batch,3]."""
    held: dict[str, NDArray[Any]] = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)}
    held |= {name: np.asarray(value) for name, value in (constants or {}).items()}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["h"], "into"), *nodes],
        "bad",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(a, n) for n, a in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(op: str, inputs: str, made: str, name: str = "", **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), made.split(), name or f"{op}_{made}", **attributes)


def unsupported() -> ModelProto:
    boxes = {"b": np.array([[[0, 0, 1, 1], [0, 0, 2, 2]]], np.float32), "s": np.ones((1, 1, 2), np.float32)}
    nodes = [
        node("NonMaxSuppression", "b s", "found", "suppress"),
        node("Cast", "found", "f", to=TensorProto.FLOAT),
        node("ReduceSum", "f", "r", keepdims=0),
        node("Add", "h r", "y"),
    ]
    return network(nodes, boxes)


def as_long_as_the_data_says() -> ModelProto:
    nodes = [
        node("ReduceMax", "h", "m", keepdims=0),
        node("Cast", "m", "i", to=TensorProto.INT64),
        node("Unsqueeze", "i zero", "end"),
        node("Slice", "w zero end zero", "rows", "cut"),
        node("ReduceSum", "rows", "r", keepdims=0),
        node("Add", "h r", "y"),
    ]
    return network(nodes, {"zero": np.zeros(1, np.int64)})


def scaled(scale: float) -> ModelProto:
    nodes = [node("QuantizeLinear", "h s z", "q", "quantize"), node("DequantizeLinear", "q s z", "y")]
    return network(nodes, {"s": np.float32(scale), "z": np.int8(0)})


def scaled_by_axis(count: int) -> ModelProto:
    nodes = [
        node("QuantizeLinear", "h s z", "q", "quantize", axis=1),
        node("DequantizeLinear", "q s z", "y", axis=1),
    ]
    return network(nodes, {"s": np.full(count, 0.1, np.float32), "z": np.zeros(count, np.int8)})


def four_tebibytes() -> ModelProto:
    nodes = [
        node("Expand", "one shape", "e", "blow"),
        node("ReduceSum", "e", "r", "sum", keepdims=0),
        node("Add", "h r", "y"),
    ]
    return network(nodes, {"one": np.float32(1), "shape": np.array([2**20, 2**20])})


def beyond(op: str, indices: Any, **attributes: Any) -> ModelProto:
    return network([node(op, "h i", "y", "pick", **attributes)], {"i": np.array(indices, np.int64)})


def scaled_convolution(scale: float) -> ModelProto:
    """QLinearConv over the three channels h; its own scale is the bad one."""
    nodes = [
        node("QuantizeLinear", "h s z", "q"),
        node("Reshape", "q shape", "image"),
        node("QLinearConv", "image s z k s z bad z", "made", "convolve"),
        node("DequantizeLinear", "made s z", "real"),
        node("Reshape", "real flat", "y"),
    ]
    constants: dict[str, Any] = {"s": np.float32(0.1), "z": np.int8(0), "bad": np.float32(scale)}
    constants |= {"k": np.ones((3, 3, 1, 1), np.int8), "shape": np.array([-1, 3, 1, 1])}
    return network(nodes, {**constants, "flat": np.array([-1, 3])})


NOT_USABLE = "no number that a processor divides by"
FAR = f"the index {2**40} lies outside of the 3 elements"
WEIGHTS = (
    "limit.flash is 40; the most in node 'into' (Gemm)",
    "of flash, the limit is 40; most weights: 'into'",
)
FLASH = 'limit.flash = "40 B"\n'

CASES: dict[str, Callable[[], Bad]] = {
    "an operator that neither has": lambda: Bad(
        unsupported(), "suppress", "NonMaxSuppression", ("not supported", "has no C kernel")
    ),
    "a shape that only the data knows": lambda: Bad(
        as_long_as_the_data_says(), "cut", "Slice", ("not known before it runs", "not known at build time")
    ),
    "a scale of zero": lambda: Bad(scaled(0.0), "quantize", "QuantizeLinear", (NOT_USABLE, NOT_USABLE)),
    "a subnormal scale": lambda: Bad(scaled(1e-40), "quantize", "QuantizeLinear", (NOT_USABLE, NOT_USABLE)),
    "a negative scale": lambda: Bad(scaled(-0.1), "quantize", "QuantizeLinear", (NOT_USABLE, NOT_USABLE)),
    "fewer scales than channels": lambda: Bad(
        scaled_by_axis(2),
        "quantize",
        "QuantizeLinear",
        ("has 2 elements, the axis that they are of has 3",) * 2,
    ),
    "a scale of zero in QLinearConv": lambda: Bad(
        scaled_convolution(0.0), "convolve", "QLinearConv", ("its y_scale is 0", "its y_scale is 0")
    ),
    "an index beyond int32": lambda: Bad(
        beyond("Gather", [0, 1, 2**40], axis=1), "pick", "Gather", (FAR, FAR)
    ),
    "an element's index beyond int32": lambda: Bad(
        beyond("GatherElements", [[0, 1, 2**40]], axis=1), "pick", "GatherElements", (FAR, FAR)
    ),
    "weights beyond the flash": lambda: Bad(network([node("Relu", "h", "y")]), "", "", WEIGHTS, FLASH),
    "an operator set of the future": lambda: Bad(
        network([node("Relu", "h", "y")], opset=99), "", "", ("operator set 99", "opset 99")
    ),
}


def test_check_refuses_a_tensor_that_no_memory_holds(project: Path, sprue_here: Run) -> None:
    """C has no node for the constant: what reads it is named."""
    spoil(project, Bad(four_tebibytes(), "", "", ("", "")))
    done = sprue_here("check", RECIPE, "--json")
    assert done.returncode == 1, done.stderr
    variants = json.loads(done.stdout)["variants"]
    if any(v["missing"] for v in variants):
        pytest.skip("the extras sprue[mobile] and sprue[embedded] are not installed")
    found = {v["target"]: v["findings"][0] for v in variants}
    assert (found["mobile"]["node"], found["mobile"]["op"]) == ("blow", "Expand")
    assert "'e' takes 4398046511104 bytes" in found["mobile"]["reason"]
    assert (found["cortex-m4"]["node"], found["cortex-m4"]["kind"]) == ("sum", "limit")


def test_an_output_that_is_an_input_is_no_obstacle(project: Path, sprue_here: Run) -> None:
    model = network([node("Relu", "h", "y")])
    model.graph.output.append(model.graph.input[0])
    spoil(project, Bad(model, "", "", ("", "")))
    done = sprue_here("check", RECIPE, "--json")
    if any(v["missing"] for v in json.loads(done.stdout)["variants"]):
        pytest.skip("the extras sprue[mobile] and sprue[embedded] are not installed")
    assert done.returncode == 0, done.stdout


def spoil(project: Path, bad: Bad) -> None:
    (project / "models/tiny/tiny.onnx").write_bytes(bad.model.SerializeToString())
    recipe = "".join(f"[target.{target}]\n{bad.limits}" for target in TARGETS)
    (project / RECIPE).write_text(f'model = "tiny"\n{recipe}')


@pytest.mark.parametrize("case", CASES)
def test_check_names_node_operator_reason_and_remedy_for_each_target(
    case: str, project: Path, sprue_here: Run
) -> None:
    bad = CASES[case]()
    spoil(project, bad)
    done = sprue_here("check", RECIPE, "--json")
    assert done.returncode == 1, done.stderr
    variants = json.loads(done.stdout)["variants"]
    if any(v["missing"] for v in variants):
        pytest.skip("the extras sprue[mobile] and sprue[embedded] are not installed")
    for target, reason in zip(TARGETS, bad.reasons, strict=True):
        first = next(v for v in variants if v["target"] == target)["findings"][0]
        assert (first["node"], first["op"]) == (bad.node, bad.op)
        assert reason in first["reason"]
        assert first["remedy"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_build_fails_with_the_same_words_and_leaves_nothing(case: str, project: Path, sprue: Run) -> None:
    """What onnxruntime itself refuses ends a build at the reference: with exit code 2 and its own words."""
    bad = CASES[case]()
    spoil(project, bad)
    done = sprue(project, "build", RECIPE, "-j1")
    said = done.stdout + done.stderr
    if "pip install" in said:
        pytest.skip("the extras sprue[mobile] and sprue[embedded] are not installed")
    assert done.returncode in (1, 2), said
    assert done.returncode == 1 or "onnxruntime cannot run the source model" in done.stderr
    for target, reason in zip(TARGETS, bad.reasons, strict=True):
        line = next(s for s in said.splitlines() if target in s and reason in s)
        assert not bad.node or f"node '{bad.node}' ({bad.op}): " in line
    assert "Traceback" not in said
    assert sorted((project / "bundles").rglob("*")) == []
