"""Weights beside the graph: what onnx and onnxruntime make of them, what is refused, what siblings cost."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.backend import Variant, find
from sprue.bundle.freeze import freeze
from sprue.bundle.store import Store
from sprue.canonical import file_digest
from sprue.errors import SprueError
from sprue.graph import read_model
from sprue.passes.simplify import Simplify
from sprue.target import load_target
from sprue.weights import SMALLEST, write_model

WIDTH = 64
FIELDS: dict[str, Any] = {
    "name": "sibling", "version": "1.0.0", "source": {"revision": None, "digest": "a" * 64},
    "recipe": "b" * 64, "toolchain": {}, "createdAt": None, "targets": [], "metrics": {}, "licenses": [],
    "parents": [],
}  # fmt: skip


def residual(
    seed: int, blocks: int, width: int = WIDTH, *, changed: frozenset[int] = frozenset()
) -> ModelProto:
    """x float32 [batch,width] -> y float32 [batch,width]: x + relu(x W) V, a block after another.

    The weights of a block are those of `seed`; of the blocks `changed`, those of another.
    """
    nodes, weights, last = [], [], "x"
    for i in range(blocks):
        rng = np.random.default_rng([i, seed if i in changed else 0])
        for name, shape in ((f"w{i}", (width, 2 * width)), (f"v{i}", (2 * width, width))):
            array = (rng.standard_normal(shape) / shape[0]).astype(np.float32)
            weights.append(numpy_helper.from_array(array, name))
        weights.append(numpy_helper.from_array(rng.standard_normal(width).astype(np.float32), f"b{i}"))
        nodes += [
            helper.make_node("MatMul", [last, f"w{i}"], [f"h{i}"], f"in{i}"),
            helper.make_node("Relu", [f"h{i}"], [f"r{i}"], f"relu{i}"),
            helper.make_node("MatMul", [f"r{i}", f"v{i}"], [f"o{i}"], f"out{i}"),
            helper.make_node("Add", [f"o{i}", f"b{i}"], [f"s{i}"], f"bias{i}"),
            helper.make_node("Add", [last, f"s{i}"], [f"x{i}"], f"skip{i}"),
        ]
        last = f"x{i}"
    nodes[-1].output[0] = "y"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", width]) for n in "xy")
    graph = helper.make_graph(nodes, "residual", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    write_model(residual(1, 2), tmp_path / "split" / "model.onnx")
    return tmp_path / "split"


def test_what_is_read_is_what_was_written(split: Path) -> None:
    model = residual(1, 2)
    assert read_model(split / "model.onnx") == model
    large = [t for t in model.graph.initializer if len(t.raw_data) >= SMALLEST]
    assert len(list((split / "weights").iterdir())) == len(large) == 4
    assert (split / "model.onnx").stat().st_size < 4 * SMALLEST
    for path in (split / "weights").iterdir():
        assert file_digest(path) == path.name


def test_onnx_and_onnxruntime_read_it_as_they_read_one_file(split: Path, tmp_path: Path) -> None:
    import onnxruntime as ort

    loaded = onnx.load(split / "model.onnx").graph.initializer
    for have, want in zip(loaded, residual(1, 2).graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(have), numpy_helper.to_array(want))
    onnx.checker.check_model(str(split / "model.onnx"))
    onnx.save(residual(1, 2), tmp_path / "one.onnx")
    x = np.random.default_rng(0).standard_normal((3, WIDTH)).astype(np.float32)
    both = [
        ort.InferenceSession(p, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (split / "model.onnx", tmp_path / "one.onnx")
    ]
    np.testing.assert_array_equal(*both)


def test_typed_fields_and_equal_tensors_are_written_once(tmp_path: Path) -> None:
    model = residual(1, 1)
    values = np.arange(2 * WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, 2 * WIDTH)
    typed = helper.make_tensor("w0", TensorProto.FLOAT, values.shape, values.ravel().tolist())
    assert not typed.raw_data
    model.graph.initializer[0].CopyFrom(typed)
    model.graph.initializer.append(numpy_helper.from_array(values, "twin"))
    write_model(model, tmp_path / "model.onnx")
    assert len(list((tmp_path / "weights").iterdir())) == 2
    read = read_model(tmp_path / "model.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(read.graph.initializer[0]), values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "../weights/x"),
        ("location", "/etc/passwd"),
        ("location", "weights/../model.onnx"),
        ("location", "weights/" + "g" * 64),
        ("location", "model.onnx"),
        ("location", ""),
        ("offset", "0"),
        ("checksum", "x"),
    ],
)
def test_data_anywhere_else_is_refused(split: Path, key: str, value: str) -> None:
    model = onnx.load(split / "model.onnx", load_external_data=False)
    tensor = model.graph.initializer[0]
    said = {e.key: e.value for e in tensor.external_data} | {key: value}
    tensor.ClearField("external_data")
    tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in said.items())
    (split / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SprueError, match="the tensor 'w0' lies outside the file"):
        read_model(split / "model.onnx")


def test_a_weight_that_is_damaged_missing_or_a_link_is_refused(split: Path, tmp_path: Path) -> None:
    path = min((split / "weights").iterdir())
    data = path.read_bytes()
    for spoiled in (b"", data[:-1], data + b"\0", bytes([data[0] ^ 1]) + data[1:]):
        path.write_bytes(spoiled)
        with pytest.raises(SprueError, match="is damaged: weights/"):
            read_model(split / "model.onnx")
    path.unlink()
    with pytest.raises(SprueError, match=r"cannot be read: weights/.*No such file"):
        read_model(split / "model.onnx")
    (tmp_path / "elsewhere").write_bytes(data)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SprueError, match="cannot be read"):
        read_model(split / "model.onnx")
    path.unlink()
    path.mkdir()
    with pytest.raises(SprueError, match="cannot be read"):
        read_model(split / "model.onnx")


def test_a_length_that_lies_is_refused(split: Path) -> None:
    model = onnx.load(split / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[1].value = "5"
    (split / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SprueError, match="is damaged"):
        read_model(split / "model.onnx")


@pytest.mark.slow
def test_ten_siblings_with_one_tensor_in_twenty_changed_cost_less_than_1_6(tmp_path: Path) -> None:
    """Each is one ONNX file of 20 MiB, and onnxruntime's artifact of it, which share their weights, too."""
    store, variant = Store(tmp_path / "store"), Variant(load_target("server-cpu"), "onnxruntime", "float32")
    costs, alone = [], 0
    for i in range(10):
        model = residual(i + 1, 20, 256, changed=frozenset({i} if i else ()))
        alone += model.ByteSize()
        with store.staging() as staged:
            write_model(model, staged / "model" / "model.onnx")
            artifact = staged / "targets" / "server-cpu" / "artifact"
            artifact.mkdir(parents=True)
            find("onnxruntime").compile(Simplify().apply(model, {}), variant, {}, artifact)
            store.keep(staged, freeze(staged, FIELDS | {"version": f"1.0.{i}"}))
        costs.append(used(store.folder))
    print(f"ten siblings take {costs[-1] / costs[0]:.2f} times what one takes")
    assert costs[-1] < 1.6 * costs[0] < alone
    for stored in store.bundles():
        store.check(stored)
        subprocess.run(
            ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=stored.folder, check=True, timeout=60
        )
        find("onnxruntime").load(stored.folder / "targets" / "server-cpu" / "artifact", variant)


def used(folder: Path) -> int:
    """Bytes on the disk, as `du` counts them: a file with several links once."""
    done = subprocess.run(["du", "-s", "-B1", folder], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout.split()[0])
