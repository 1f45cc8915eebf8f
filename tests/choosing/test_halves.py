"""Which weights go to half precision: what is proposed holds when it is built, and nothing smaller does."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue import reference
from sprue.choosing.halves import propose
from sprue.graph import serialise
from sprue.judging.metric import find_metric
from sprue.passes.quantize_weights import QuantizeWeights, stored_weights

ACCURACY = find_metric("accuracy")
SIZES = {"first": (16, 24), "second": (24, 24), "third": (24, 20), "last": (20, 6)}


def chain(seed: int) -> tuple[ModelProto, dict[str, Any], Any]:
    """Four products with their samples; the labels are the network's own answers, so each that changes is
    lost.
    """
    rng = np.random.default_rng(seed)
    held = {n: (rng.standard_normal(s) / 4).astype(np.float32) for n, s in SIZES.items()}
    nodes, read = [], "x"
    for name in SIZES:
        nodes.append(helper.make_node("MatMul", [read, name], [f"{name}/y"], name))
        read = f"{name}/y" if name == "last" else f"{name}/t"
        if name != "last":
            nodes.append(helper.make_node("Tanh", [f"{name}/y"], [read], f"{name}/tanh"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])
    y = helper.make_tensor_value_info("last/y", TensorProto.FLOAT, ["n", 6])
    graph = helper.make_graph(
        nodes, "chain", [x], [y], [numpy_helper.from_array(v, k) for k, v in held.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    samples = {"x": rng.standard_normal((300, 16)).astype(np.float32)}
    return model, samples, reference.outputs(serialise(model), samples)["last/y"].argmax(axis=1)


def holds(
    model: ModelProto, samples: dict[str, Any], labels: Any, half: tuple[str, ...], drop: float
) -> bool:
    made = QuantizeWeights(half=half).apply(model, {})
    return ACCURACY.compute(reference.outputs(serialise(made), samples), labels) >= 1 - drop - 1e-9


def test_the_smallest_set_of_each_number_that_holds_when_built_is_proposed() -> None:
    proposed = 0
    for seed in range(8):
        model, samples, labels = chain(seed)
        bytes_of = {n: a * b for n, (a, b) in SIZES.items()}
        expected = []
        for count in (1, 2, 3):
            sets = sorted(combinations(SIZES, count), key=lambda s: sum(bytes_of[n] for n in s))
            held = next((set(s) for s in sets if holds(model, samples, labels, s, 0.004)), None)
            expected += [held] if held is not None else []
        found = propose(model, samples, labels, ACCURACY, 0.004)
        assert [set(s) for s in found] == sorted(expected, key=lambda s: sum(bytes_of[n] for n in s))
        proposed += len(found)
    assert proposed > 8
    assert set(stored_weights(chain(0)[0])) == set(SIZES)


def test_nothing_is_proposed_where_the_answers_are_classes() -> None:
    """They are no sums of anything."""
    model, samples, labels = chain(0)
    model.graph.node.append(helper.make_node("ArgMax", ["last/y"], ["class"], "class", axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("class", TensorProto.INT64, ["n", 1]))
    assert propose(model, samples, labels, ACCURACY, 0.0) == []
