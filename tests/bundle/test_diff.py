"""What changed between two bundles is said in figures, each where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, TensorProto, helper

from sprue.bundle.diff import Change, diff_bundles
from sprue.canonical import digest
from sprue.errors import CheckError

Freeze = Callable[..., Path]

TARGET = {
    "id": "phone",
    "family": "phone",
    "os": "android",
    "arch": "aarch64",
    "variant": "tflite-float32",
    "runtime": {"ai-edge-litert": "2.3.0"},
    "contract": {"features": [], "runtime": {"ai-edge-litert": ">=2.3,<3"}, "engine": {}},
    "entry": "targets/phone/artifact/model.tflite",
    "state": "verified",
}


def measured(latency: float) -> bytes:
    return json.dumps({"variants": {"phone/tflite-float32": {"timing": {"best": latency}}}}).encode()


def network(*operators: str, weights: int = 4) -> bytes:
    nodes = [helper.make_node(op, [f"t{i}"], [f"t{i + 1}"]) for i, op in enumerate(operators)]
    value = helper.make_tensor_value_info
    weight = helper.make_tensor("w", TensorProto.FLOAT, [weights], [0.0] * weights)
    ends = [value(n, TensorProto.FLOAT, [1]) for n in ("t0", f"t{len(operators)}")]
    model: ModelProto = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight]))
    return bytes(model.SerializeToString(deterministic=True))


def changes(one: Path, two: Path) -> dict[str, tuple[Any, Any]]:
    return {f"{c.part}: {c.what}": (c.before, c.after) for c in diff_bundles(one, two).changes}


def test_equal_bundles_do_not_differ(tmp_path: Path, fill: Freeze) -> None:
    found = diff_bundles(fill(tmp_path / "one"), fill(tmp_path / "two"))
    assert found.changes == ()
    assert found.before.id() == found.after.id()


@pytest.mark.parametrize(
    ("files", "fields", "expected"),
    [
        ({}, {"version": "1.1.0"}, {"bundle: version": ("1.0.0", "1.1.0")}),
        ({}, {"licenses": []}, {"bundle: licenses": ("Apache-2.0", "")}),
        (
            {},
            {"toolchain": {"onnx": "1.24", "numpy": "2"}},
            {"toolchain: numpy": (None, "2"), "toolchain: onnx": ("1.23", "1.24")},
        ),
        (
            {},
            {"metrics": {"reference": {"accuracy": 0.98}, "phone": {"accuracy": 0.5}}},
            {"phone: metric accuracy": (0.975, 0.5)},
        ),
        ({}, {"targets": [TARGET | {"state": "prepared"}]}, {"phone: state": ("verified", "prepared")}),
        (
            {},
            {"targets": [TARGET | {"runtime": {"ai-edge-litert": "2.4.0"}}]},
            {"phone: runtime ai-edge-litert": ("2.3.0", "2.4.0")},
        ),
        (
            {"data/evaluation.npz": b"other data"},
            {},
            {"data: data/evaluation.npz": (digest(b"the data"), digest(b"other data"))},
        ),
        (
            {"targets/phone/artifact/model.tflite": b"longer artifact"},
            {},
            {"phone: size": (12, 15), "phone: changed files": (None, "1 of 1")},
        ),
        (
            {"evidence/recipe.json": b'{"name":"tiny","target.phone.threads":2}\n'},
            {},
            {"recipe: target.phone.threads": (None, 2)},
        ),
    ],
)
def test_each_change_is_said_and_nothing_else(
    tmp_path: Path, fill: Freeze, files: dict[str, bytes], fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert changes(fill(tmp_path / "one"), fill(tmp_path / "two", files, **fields)) == expected


def test_latency_is_that_of_the_kept_variant(tmp_path: Path, fill: Freeze) -> None:
    name = "evidence/measurements.json"
    one, two = fill(tmp_path / "one", {name: measured(2e-3)}), fill(tmp_path / "two", {name: measured(1e-3)})
    assert diff_bundles(one, two).changes == (Change("phone", "latency", 2e-3, 1e-3, "s"),)


def test_a_target_that_came_and_one_that_went(tmp_path: Path, fill: Freeze) -> None:
    entry = "targets/board/artifact/net.c"
    board = TARGET | {"id": "board", "entry": entry, "variant": "c-int8", "runtime": {}}
    two = fill(tmp_path / "two", {entry: b"int net;"}, targets=[board])
    found = changes(fill(tmp_path / "one"), two)
    assert found["board: variant"] == (None, "c-int8")
    assert found["board: size"] == (None, 8)
    assert found["phone: variant"] == ("tflite-float32", None)
    assert found["phone: size"] == (12, None)


def test_the_graph_is_compared_by_operators_and_weights(tmp_path: Path, fill: Freeze) -> None:
    name = "model/model.onnx"
    one = fill(tmp_path / "one", {name: network("Relu", "Relu", "Tanh")})
    two = fill(tmp_path / "two", {name: network("Relu", "Sigmoid", weights=9)})
    found = changes(one, two)
    assert found.pop(f"model: {name}")
    assert found == {
        f"model: {name}: Relu nodes": (2, 1),
        f"model: {name}: Tanh nodes": (1, None),
        f"model: {name}: Sigmoid nodes": (None, 1),
        f"model: {name}: nodes": (3, 2),
        f"model: {name}: weights": (4, 9),
        f"model: {name}: changed weights": (None, "1 of 1: w"),
    }


def test_a_damaged_bundle_is_not_compared(tmp_path: Path, fill: Freeze) -> None:
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two")
    (two / "evidence" / "recipe.json").write_text('{"name":"tiny","x":1}\n')
    with pytest.raises(CheckError, match=r"evidence/recipe\.json is damaged"):
        diff_bundles(one, two)


@pytest.mark.parametrize("junk", [b"", b"{", b"[" * 10**5, b"\xff", b'{"a":1,"a":2}'])
@pytest.mark.parametrize("path", ["evidence/recipe.json", "evidence/measurements.json"])
def test_evidence_that_is_no_json_is_named(tmp_path: Path, fill: Freeze, path: str, junk: bytes) -> None:
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two", {path: junk})
    with pytest.raises(CheckError, match="cannot be read"):
        diff_bundles(one, two)


@pytest.mark.parametrize(
    "junk", [b"[1]", b'"x"', b'{"seconds":[]}', b'{"seconds":{"phone/tflite-float32":1}}']
)
@pytest.mark.parametrize("path", ["evidence/recipe.json", "evidence/measurements.json"])
def test_other_json_in_the_evidence_says_no_figures(
    tmp_path: Path, fill: Freeze, path: str, junk: bytes
) -> None:
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two", {path: junk})
    assert all(c.part == "recipe" for c in diff_bundles(one, two).changes)
