"""ONNX's own node tests, asked of the float32 variant of every backend: what `check` accepts must be right.

A node test is one operator with inputs and expected outputs (onnx.backend.test, made by the onnx package).
Here it becomes a model as sprue takes it: every input and output gets a batch axis of 1, by a Reshape where
the operator has none. Each is tried twice, with all inputs fed, and with all but the first as weights.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sprue.backend import Variant, find, names
from sprue.errors import SprueError
from sprue.target import load_target, target_files

RANDOM = {
    *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
    *("RandomUniformLike", "Gradient", "Adam", "Adagrad", "Momentum"),
}
"""Operators whose expected outputs are drawn from numpy's generator, and those of ONNX's training preview."""

SAMPLE = {
    "averagepool": "test_averagepool_2d_default",
    "conv": "test_basic_conv_with_padding",
    "flatten": "test_flatten_axis1",
    "gemm": "test_gemm_default_vector_bias",
    "lstm": "test_lstm_defaults",
    "matmul": "test_matmul_2d",
    "maxpool": "test_maxpool_2d_default",
    "relu": "test_relu",
    "softmax": "test_softmax_example",
}
"""The fast set: a module of ONNX's node tests, and one test of it."""

FORGOTTEN = "check knows the shape, which Simplify does not pass on to compile: refused there, not answered"
FULLY_MASKED = "a row whose keys are all masked gives NaN instead of 0: check cannot see that in the graph"
KNOWN_WRONG = {
    ("tflite", "test_*squeeze_negative_axes-fed"): FORGOTTEN,
    ("openvino", "test_attention_*boolmask*_expanded-*"): FULLY_MASKED,
    ("openvino", "test_attention_*fullymasked*_expanded-*"): FULLY_MASKED,
    ("openvino", "test_attention_*_structural_empty_expanded-*"): FULLY_MASKED,
    ("openvino", "test_attention_*_softmax_precision_expanded-*"): FULLY_MASKED,
    ("openvino", "test_attention_local_window_gqa_rank4_mask_expanded-*"): FULLY_MASKED,
}
"""(backend, cases) -> why its answer is wrong although `check` accepts. Verification on real data stays."""


EVERY = {"c": 10, "openvino": 2}
"""Of how many cases one is run, where each takes long: OpenVINO compiles its graph, C runs on an emulator.
`tests/targets/c/test_node_conformance.py` runs all of them on the host."""


@dataclass(frozen=True)
class Case:
    """A node test as a sprue model. `wanted` are the expected outputs, with their batch axis."""

    name: str
    model: ModelProto
    feeds: dict[str, NDArray[Any]]
    wanted: dict[str, NDArray[Any]]
    rtol: float
    atol: float


def all_node_tests() -> list[Any]:
    """Every one of ONNX's node tests; making them takes about ten seconds."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own overflows and divisions by zero, on purpose
        return list(load_model_tests(kind="node"))


def sampled_node_tests() -> list[Any]:
    from onnx.backend.test.case import node

    for family in SAMPLE:
        importlib.import_module(f"onnx.backend.test.case.node.{family}")
    made = {c.name: c for c in node._NodeTestCases}
    return [made[name] for name in SAMPLE.values()]


def adapted(test: Any) -> Iterator[Case]:
    """The test with all inputs fed, and with all but the first constant; none if sprue has no such model."""
    inputs, outputs = test.data_sets[0]
    arrays = [*inputs, *outputs]
    known = all(isinstance(a, np.ndarray | np.generic) and a.dtype.kind in "fiub" for a in arrays)
    whole = all(np.asarray(a).size for a in arrays) if known else False
    graph = test.model.graph
    if (
        not known
        or not whole
        or not inputs
        or len(graph.input) != len(inputs)
        or len(graph.output) != len(outputs)
    ):
        return
    if {n.op_type for n in graph.node} & RANDOM or any(
        o.version < 7 for o in test.model.opset_import if not o.domain
    ):
        return
    given = {v.name: np.asarray(a) for v, a in zip(graph.input, inputs, strict=True)}
    wanted = {v.name: np.asarray(a) for v, a in zip(graph.output, outputs, strict=True)}
    yield _case(test, "fed", given, {}, wanted)
    if len(given) > 1:
        first = next(iter(given))
        weights = {k: v for k, v in given.items() if k != first}
        yield _case(test, "constant", {first: given[first]}, weights, wanted)


def _case(test: Any, how: str, fed: dict[str, Any], weights: dict[str, Any], wanted: dict[str, Any]) -> Case:
    batched = all(a.ndim and a.shape[0] == 1 for a in (*fed.values(), *wanted.values()))
    inside = {} if batched else {n: f"{n}_inside" for n in (*fed, *wanted)}
    before: list[NodeProto] = []
    after: list[NodeProto] = []
    constants = dict(weights)
    for name, array in ({} if batched else {**fed, **wanted}).items():
        source, result, shape = (name, inside[name], array.shape)
        if name in wanted:
            source, result, shape = (inside[name], name, (1, *array.shape))
        constants[f"{name}_shape"] = np.array(shape, np.int64)
        made = helper.make_node("Reshape", [source, f"{name}_shape"], [result], f"{name}_reshape")
        (after if name in wanted else before).append(made)
    nodes = []
    for node in test.model.graph.node:
        copy = NodeProto.FromString(node.SerializeToString())
        copy.input[:] = [inside.get(i, i) for i in node.input]
        copy.output[:] = [inside.get(o, o) for o in node.output]
        nodes.append(copy)

    def edge(array: NDArray[Any]) -> NDArray[Any]:
        return array if batched else array[np.newaxis]

    values = {
        n: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), edge(a).shape)
        for n, a in (*fed.items(), *wanted.items())
    }
    graph = helper.make_graph(
        [*before, *nodes, *after],
        test.name,
        [values[n] for n in fed],
        [values[n] for n in wanted],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    opsets = {o.domain: o.version for o in test.model.opset_import}
    imports = [helper.make_opsetid(d, v) for d, v in ({"": 17} | opsets).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=max(8, test.model.ir_version))
    model.functions.extend(test.model.functions)
    return Case(
        f"{test.name}-{how}",
        model,
        {n: edge(a) for n, a in fed.items()},
        {n: edge(a) for n, a in wanted.items()},
        test.rtol,
        test.atol,
    )


def outcome(name: str, case: Case) -> tuple[str, str]:
    """("refused" | "matched" | "wrong", why)."""
    backend = find(name)
    targets = (load_target(t) for t in target_files())
    target = next((t for t in targets if name in t.backends), load_target("server-cpu"))
    variant = Variant(target, name, "float32")
    try:
        findings = backend.check(case.model, variant)
        if findings:
            return "refused", findings[0].reason
        model = case.model
        for change in backend.passes(variant):
            model = change.apply(model, {})
        with tempfile.TemporaryDirectory() as folder:
            backend.compile(model, variant, case.feeds, Path(folder))
            actual = backend.load(Path(folder), variant).run(case.feeds)
    except SprueError as error:
        return "wrong", f"accepted, then: {error}"
    except Exception as error:  # to be counted; anything but SprueError is a bug of the backend
        return "wrong", f"{type(error).__name__}: {error}"
    return _compare(case, actual)


def _compare(case: Case, actual: dict[str, Any]) -> tuple[str, str]:
    """The test's own tolerance, relaxed only by the size of the values and by one quantization step."""
    steps = {n.output[0] for n in case.model.graph.node if n.op_type in ("DynamicQuantizeLinear", "Round")}
    for name, wanted in case.wanted.items():
        made = actual[name]
        if (made.shape, made.dtype) != (wanted.shape, wanted.dtype):
            return "wrong", f"{name} is {made.dtype}{made.shape}, not {wanted.dtype}{wanted.shape}"
        rtol = max(case.rtol, 2e-3) if wanted.dtype == np.float16 else case.rtol
        finite = np.abs(np.where(np.isfinite(wanted), wanted, 0).astype(np.float64))
        atol = max(case.atol, 1e-6 * float(finite.max()) if wanted.dtype.kind == "f" else 0.0)
        if wanted.dtype.kind in "iu" and steps:
            atol = 1
        if not np.allclose(made, wanted, rtol=rtol, atol=atol, equal_nan=True):
            worst = np.abs(made.astype(np.float64) - wanted.astype(np.float64)).max()
            return "wrong", f"{name} is off by {worst:.3g}"
    return "matched", ""


@pytest.mark.parametrize("name", names())
def test_a_sample_of_what_check_accepts_is_right(name: str) -> None:
    state = find(name).available()
    if not (state.compiles and state.executes):
        pytest.skip(f"{name} lacks: {state.missing}; {state.install}")
    outcomes = {c.name: outcome(name, c) for t in sampled_node_tests() for c in adapted(t)}
    assert {c: why for c, (kind, why) in outcomes.items() if kind == "wrong"} == {}
    assert "matched" in {kind for kind, _ in outcomes.values()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", names())
def test_whatever_check_accepts_is_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: a runtime that crashes names the case, and ends nothing else."""
    state = find(name).available()
    if not (state.compiles and state.executes):
        pytest.skip(f"{name} lacks: {state.missing}; {state.install}")
    done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=False)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"crashed at {rows[-1:]}: {done.stderr[-2000:]}"
    wrong = {row[0]: row[2] for row in rows if row[1] == "wrong"}
    known = {c for c in wrong for b, pattern in KNOWN_WRONG if b == name and fnmatch(c, pattern)}
    counts = Counter(row[1] for row in rows)
    with capsys.disabled():
        print(
            f"\n{name}: of {len(rows)} node cases {counts['matched']} matched, {counts['refused']} refused "
            f"by check, {len(known)} known to be wrong, {len(wrong) - len(known)} wrong"
        )
    assert {c: why for c, why in wrong.items() if c not in known} == {}
    assert counts["matched"] > 50


if __name__ == "__main__":
    for test in all_node_tests()[:: EVERY.get(sys.argv[1], 1)]:
        for case in adapted(test):
            print(case.name, end="\t", flush=True)
            kind, why = outcome(sys.argv[1], case)
            print(kind, " ".join(why.split()), sep="\t", flush=True)
