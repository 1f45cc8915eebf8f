"""Pieces of a network compute what the whole network computes there: onnxruntime says so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from sprue.debug import cut
from sprue.errors import SprueError
from sprue.graph import with_batch

Samples = dict[str, NDArray[np.generic]]


def run(model: ModelProto, feeds: Mapping[str, NDArray[np.generic]]) -> Samples:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(names, dict(feeds))), strict=True))


def tensors_of(model: ModelProto, samples: Samples) -> Samples:
    """[samples, *shape at batch 1] of every tensor, and of the inputs."""
    whole = with_batch(cut.exposed(model, cut.tensors(model)), 1)
    feeds = [{n: a[i : i + 1] for n, a in samples.items()} for i in range(3)]
    rows = [run(whole, one) | one for one in feeds]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("name", ["tiny_cnn", "tiny_bilstm"])
def test_every_piece_gives_the_tensor_that_the_network_has_there(
    name: str, request: pytest.FixtureRequest
) -> None:
    model, samples = request.getfixturevalue(name)
    tensors = tensors_of(model, samples)
    for gives in cut.compared(model):
        for levels in (1, 2, cut.ALL):
            takes = cut.before(model, gives, levels, tensors)
            piece = cut.piece(model, {n: tensors[n] for n in takes}, gives, tensors[gives])
            onnx.checker.check_model(piece, full_check=True)
            for i in range(3):
                made = run(piece, {n: tensors[n][i : i + 1] for n in takes})[gives]
                np.testing.assert_allclose(made[0], tensors[gives][i], rtol=1e-5, atol=1e-6)


def test_what_only_a_limiting_activation_reads_is_not_looked_at(
    tiny_cnn: tuple[ModelProto, Samples],
) -> None:
    assert cut.compared(tiny_cnn[0]) == ["conv", "relu", "pool", "mean_of_all", "flat", "logits"]


def test_a_piece_is_named_by_its_nodes(tiny_cnn: tuple[ModelProto, Samples]) -> None:
    assert cut.between(
        tiny_cnn[0], cut.before(tiny_cnn[0], "pool", 2, {"conv", "norm", "relu", "pool"}), "pool"
    ) == ("relu", "pool")


def test_a_network_with_a_graph_inside_a_node_cannot_be_cut_and_is_told_so() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 2])],
    )
    node = helper.make_node("If", ["flag"], ["y"], "choose", then_branch=inner, else_branch=inner)
    model = helper.make_model(
        helper.make_graph(
            [node],
            "if",
            [
                helper.make_tensor_value_info("flag", TensorProto.BOOL, [1]),
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        )
    )
    array = np.zeros((1, 1, 2), np.float32)
    with pytest.raises(SprueError, match=r"'choose' \(If\)"):
        cut.piece(model, {"x": array}, "y", array)
