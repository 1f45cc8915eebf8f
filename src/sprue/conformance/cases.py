"""ONNX's node tests as models that sprue takes.

A node test is one operator with inputs and expected outputs (onnx.backend.test, made by the onnx package).
Here every input and output gets a batch axis of 1, by a Reshape where the operator has none. Each test is
tried twice: with all inputs fed, and with all but the first as weights, which is how most models hold them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sprue.canonical import canonical, parse
from sprue.data import read_arrays, write_arrays
from sprue.passes.inline import renamed

Form = Literal["fed", "constant"]

RANDOM = frozenset(
    {
        *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
        *("RandomUniformLike", "Gradient", "Adam", "Adagrad", "Momentum"),
    }
)
"""Operators whose expected outputs are drawn from numpy's generator, and those of ONNX's training preview."""

OLDEST_OPSET = 7


@dataclass(frozen=True)
class Case:
    """A node test as a sprue model. `wanted` are the expected outputs, with their batch axis.

    `operator` is the op that the test is of, also where the test holds the op's expansion into others.
    """

    test: str
    form: Form
    operator: str
    model: ModelProto
    feeds: dict[str, NDArray[Any]]
    wanted: dict[str, NDArray[Any]]
    rtol: float
    atol: float

    @property
    def name(self) -> str:
        return f"{self.test}-{self.form}"


def node_tests() -> list[Any]:
    """Every one of ONNX's node tests, as onnx.backend.test makes them, which takes about ten seconds."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own overflows and divisions by zero, on purpose
        return list(load_model_tests(kind="node"))


def all_cases(tests: Iterable[Any]) -> Iterator[Case]:
    """The cases of all tests that sprue has models for: of numbers, with outputs that are not random."""
    made = {test.name: test for test in tests}
    for test in made.values():
        yield from adapted(test, _operator(test, made))


def adapted(test: Any, operator: str) -> Iterator[Case]:
    """The test with all inputs fed, and with all but the first constant; none if sprue has no such model."""
    inputs, outputs = test.data_sets[0]
    arrays = [*inputs, *outputs]
    known = all(isinstance(a, np.ndarray | np.generic) and a.dtype.kind in "fiub" for a in arrays)
    whole = all(np.asarray(a).size for a in arrays) if known else False
    graph = test.model.graph
    fits = len(graph.input) == len(inputs) and len(graph.output) == len(outputs)
    if not (known and whole and inputs and fits):
        return
    old = any(o.version < OLDEST_OPSET for o in test.model.opset_import if not o.domain)
    if old or {n.op_type for n in graph.node} & RANDOM:
        return
    given = {v.name: np.asarray(a) for v, a in zip(graph.input, inputs, strict=True)}
    wanted = {v.name: np.asarray(a) for v, a in zip(graph.output, outputs, strict=True)}
    yield _case(test, operator, "fed", given, {}, wanted)
    if len(given) > 1:
        first = next(iter(given))
        weights = {k: v for k, v in given.items() if k != first}
        yield _case(test, operator, "constant", {first: given[first]}, weights, wanted)


def write_case(case: Case, path: Path) -> None:
    """As .npz: the model's bytes, its arrays by role and name, and the rest as JSON. Deterministic."""
    fields = ("test", "form", "operator", "rtol", "atol")
    about = {name: getattr(case, name) for name in fields}
    texts = {"model": case.model.SerializeToString(deterministic=True), "about": canonical(about)}
    arrays: dict[str, NDArray[Any]] = {n: np.frombuffer(text, np.uint8) for n, text in texts.items()}
    arrays |= {f"feeds/{n}": a for n, a in case.feeds.items()}
    arrays |= {f"wanted/{n}": a for n, a in case.wanted.items()}
    write_arrays(path, arrays)


def read_case(path: Path) -> Case:
    arrays = dict(read_arrays(path))
    model = ModelProto.FromString(arrays.pop("model").tobytes())
    about = parse(arrays.pop("about").tobytes())

    def named(role: str) -> dict[str, NDArray[Any]]:
        return {n.removeprefix(role): a for n, a in arrays.items() if n.startswith(role)}

    return Case(**about, model=model, feeds=named("feeds/"), wanted=named("wanted/"))


def _operator(test: Any, tests: dict[str, Any]) -> str:
    """An expansion (`test_x_expanded`, `test_x_expanded_ver18`) is of the operator that `test_x` is of."""
    whole = re.sub(r"_expanded(_ver\d+)?$", "", test.name)
    node = tests.get(whole, test).model.graph.node[0]
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _case(
    test: Any,
    operator: str,
    form: Form,
    fed: dict[str, Any],
    weights: dict[str, Any],
    wanted: dict[str, Any],
) -> Case:
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
    nodes = [renamed(node, inside) for node in test.model.graph.node]

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
        test.name,
        form,
        operator,
        model,
        {n: edge(a) for n, a in fed.items()},
        {n: edge(a) for n, a in wanted.items()},
        test.rtol,
        test.atol,
    )
