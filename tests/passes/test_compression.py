"""Pruning, sparsity, clustering: what goes changes nothing else, and what cannot go is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.errors import CheckError
from sprue.graph import serialise, weights
from sprue.passes.cluster import Cluster, shared
from sprue.passes.compression import compression_passes
from sprue.passes.layer_weights import layer_weights
from sprue.passes.prune_channels import PruneChannels
from sprue.passes.simplify import Simplify
from sprue.passes.sparsify import Sparsify
from sprue.variant import Compression

DEAD = (1, 4)
"""Of 8 channels: those that are always zero."""


def run(model: ModelProto, x: NDArray[Any]) -> NDArray[Any]:
    session = ort.InferenceSession(serialise(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def residual_network(flatten: str, dead: tuple[int, ...] = DEAD) -> tuple[ModelProto, NDArray[np.float32]]:
    """Convolutions with a residual addition, BatchNormalization, a depthwise layer, a gate, and products.

    The `dead` channels have no weights anywhere, so that removing them changes no answer.
    """
    rng = np.random.default_rng(5)
    held: dict[str, NDArray[Any]] = {}

    def weight(name: str, *shape: int, along: int | None = 0) -> str:
        values = rng.standard_normal(shape).astype(np.float32)
        if along is not None:
            index: list[Any] = [slice(None)] * len(shape)
            index[along] = list(dead)
            values[tuple(index)] = 0
        held[name] = values
        return name

    def conv(name: str, source: str, *shape: int, **known: Any) -> NodeProto:
        inputs = [source, weight(f"{name}w", *shape), weight(f"{name}b", shape[0])]
        return helper.make_node("Conv", inputs, [name], name, kernel_shape=shape[2:], **known)

    pads = {"pads": [1, 1, 1, 1]}
    normal = [weight(f"n{i}", 8) for i in range(3)]
    nodes = [
        conv("c1", "x", 8, 3, 3, 3, **pads),
        helper.make_node("Relu", ["c1"], ["r1"], "r1"),
        conv("c2", "r1", 8, 8, 3, 3, **pads),
        helper.make_node("Add", ["c2", "r1"], ["sum"], "sum"),
        helper.make_node("BatchNormalization", ["sum", *normal, "var"], ["n"], "n"),
        helper.make_node("Relu", ["n"], ["r2"], "r2"),
        conv("c3", "r2", 8, 1, 3, 3, group=8, **pads),
        helper.make_node("GlobalAveragePool", ["c3"], ["pool"], "pool"),
        helper.make_node("Sigmoid", ["pool"], ["gate"], "gate"),
        helper.make_node("Mul", ["c3", "gate"], ["gated"], "gated"),
        helper.make_node("Mul", ["gated", weight("each", 8, 1, 1)], ["scaled"], "scaled"),
        helper.make_node("MaxPool", ["scaled"], ["small"], "small", kernel_shape=[2, 2], strides=[2, 2]),
        {
            "Flatten": helper.make_node("Flatten", ["small"], ["flat"], "flat"),
            "Reshape": helper.make_node("Reshape", ["small", "shape"], ["flat"], "flat"),
        }[flatten],
        helper.make_node("Gemm", ["flat", weight("gw", 8, 8 * 9), weight("gb", 8)], ["g"], "g", transB=1),
        helper.make_node("Relu", ["g"], ["r3"], "r3"),
        helper.make_node("MatMul", ["r3", weight("mw", 8, 5, along=None)], ["y"], "y"),
    ]
    held["var"] = np.abs(weights_like(rng, 8)) + 1
    if flatten == "Reshape":
        held["shape"] = np.array([-1, 72], np.int64)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])
    tensors = [numpy_helper.from_array(v, k) for k, v in held.items()]
    graph = helper.make_graph(nodes, "residual", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model, rng.standard_normal((4, 3, 6, 6)).astype(np.float32)


def weights_like(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    return rng.standard_normal(size).astype(np.float32)


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
def test_channels_without_weights_go_everywhere_and_no_answer_changes(flatten: str) -> None:
    model, x = residual_network(flatten)
    made = PruneChannels(0.25).apply(model, {})
    np.testing.assert_allclose(run(made, x), run(model, x), rtol=1e-4, atol=1e-4)
    shapes = {name: array.shape for name, array in weights(made).items()}
    assert shapes["c1w"] == (6, 3, 3, 3)
    assert shapes["c2w"] == (6, 6, 3, 3)
    assert shapes["c3w"] == (6, 1, 3, 3)
    assert (shapes["gw"], shapes["mw"]) == ((6, 6 * 9), (6, 5))
    assert {shapes[n] for n in ("c1b", "c2b", "c3b", "n0", "n1", "n2", "var", "gb")} == {(6,)}
    (depthwise,) = [n for n in made.graph.node if n.name == "c3"]
    assert next(a.i for a in depthwise.attribute if a.name == "group") == 6


def test_the_channels_with_the_smallest_norm_go(tiny_mlp: tuple[ModelProto, Any]) -> None:
    before, after = weights(tiny_mlp[0]), weights(PruneChannels(0.5).apply(tiny_mlp[0], {}))
    norms = np.abs(before["first"].astype(float)).sum(axis=0)
    kept = sorted(np.argsort(norms)[4:].tolist())
    np.testing.assert_array_equal(after["first"], before["first"][:, kept])
    np.testing.assert_array_equal(after["second"], before["second"][kept])


def test_the_outputs_of_a_model_stay_whole(tiny_cnn: tuple[ModelProto, Any]) -> None:
    model = Simplify().apply(tiny_cnn[0], {})
    made = weights(PruneChannels(0.5).apply(model, {}))
    assert made["matrix"].shape == (10, 4)


def test_what_cannot_be_pruned_is_refused_and_says_why(tiny_bilstm: tuple[ModelProto, Any]) -> None:
    with pytest.raises(CheckError, match="'logits' is an output of the model"):
        PruneChannels(0.5).apply(tiny_bilstm[0], {})


def test_a_share_that_takes_no_whole_channel_is_refused(tiny_mlp: tuple[ModelProto, Any]) -> None:
    with pytest.raises(CheckError, match="no channel can be removed"):
        PruneChannels(0.1).apply(tiny_mlp[0], {})


@pytest.mark.parametrize(
    ("node", "word"),
    [
        (helper.make_node("Softmax", ["c1"], ["after"], "soft", axis=1), "'soft' \\(Softmax\\)"),
        (helper.make_node("Concat", ["c1", "x"], ["after"], "join", axis=1), "'join' \\(Concat\\)"),
        (helper.make_node("Add", ["c1", "table"], ["after"], "plus"), "'plus' \\(Add\\)"),
    ],
)
def test_operators_to_which_channels_mean_something_hold_them(node: NodeProto, word: str) -> None:
    rng = np.random.default_rng(1)
    held = {"w": rng.standard_normal((8, 3, 1, 1)), "table": rng.standard_normal((8, 6, 6))}
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in held.items()]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c1"], "c1"), node]
    nodes.append(helper.make_node("ReduceSum", ["after"], ["y"], "sum", keepdims=1))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "held", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(CheckError, match=word):
        PruneChannels(0.5).apply(model, {})


@given(st.floats(0.01, 0.99))
def test_sparsity_zeroes_the_smallest_weights(share: float) -> None:
    model, _ = residual_network("Flatten", dead=())
    before, after = weights(model), weights(Sparsify(share).apply(model, {}))
    for tensor in layer_weights(model):
        was, now = (np.abs(v[tensor.name].astype(float)).ravel() for v in (before, after))
        gone = (now == 0) & (was > 0)
        assert gone.sum() == int(share * was.size)
        assert was[gone].max(initial=0) <= was[~gone].min()
    np.testing.assert_array_equal(after["c1b"], before["c1b"])


@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-5, 5, width=32)),
    st.integers(1, 9),
)
def test_clusters_are_means_of_what_lies_nearest(values: NDArray[np.float64], count: int) -> None:
    made = shared(values, count)
    centres = np.unique(made)
    assert len(centres) <= count
    nearest = np.abs(values[:, None] - centres[None]).min(axis=1)
    np.testing.assert_allclose(np.abs(values - made), nearest, atol=1e-9)
    for centre in centres:
        assert values[made == centre].mean() == pytest.approx(centre, abs=1e-6)


def test_clustering_a_sparse_model_keeps_its_zeros() -> None:
    sparse = Sparsify(0.5).apply(residual_network("Flatten", dead=())[0], {})
    before, after = weights(sparse), weights(Cluster(4).apply(sparse, {}))
    for tensor in layer_weights(sparse):
        assert len(np.unique(after[tensor.name])) <= 4
        np.testing.assert_array_equal(after[tensor.name] == 0, before[tensor.name] == 0)


@pytest.mark.parametrize("change", [PruneChannels(0.25), Sparsify(0.5), Cluster(4)])
def test_the_same_model_gives_the_same_bytes(change: Any) -> None:
    model, _ = residual_network("Flatten", dead=())
    assert serialise(change.apply(model, {})) == serialise(change.apply(model, {}))


def test_nothing_is_done_if_nothing_is_asked_for() -> None:
    assert compression_passes(Compression()) == ()
    asked = compression_passes(Compression(prune=0.3, sparsity=0.5, cluster=16))
    assert [type(p).__name__ for p in asked] == ["Simplify", "PruneChannels", "Sparsify", "Cluster"]
