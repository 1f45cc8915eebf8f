"""Artifacts come from elsewhere: whatever their files hold, loading is an error, not a crash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto
from sprue.targets.tensorrt import BACKEND
from sprue.targets.tensorrt.manifest import MAX_MANIFEST_BYTES, PLAN, BuiltPlan, read_manifest
from sprue.targets.tensorrt.run import Native

from sprue.errors import SprueError

pytestmark = pytest.mark.slow


@pytest.fixture
def artifact(digits: ModelProto, prepare: Callable[..., Path], tmp_path: Path) -> Path:
    return prepare(digits, "float32", tmp_path / "artifact")


@pytest.fixture
def load(artifact: Path, variant: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: BACKEND.load(artifact, variant("float32"))


def rewrite(artifact: Path, **changes: Any) -> None:
    path = artifact / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_model(artifact: Path, data: bytes) -> None:
    """The file and, as one who forges would, its digest."""
    (artifact / "model.onnx").write_bytes(data)
    rewrite(artifact, onnx_sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 100,
        b"{",
        b"[]",
        b"null",
        b'{"format": "sprue-tensorrt-2"}',
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b"[" * 100_000,
        b" " * (MAX_MANIFEST_BYTES + 1),
        "é".encode("latin-1"),
    ],
    ids=["empty", "zeros", "cut", "list", "null", "version", "twice", "nan", "deep", "large", "encoding"],
)
def test_a_garbage_manifest_is_an_error_with_its_place(
    artifact: Path, load: Callable[[], Any], data: bytes
) -> None:
    (artifact / "engine.json").write_bytes(data)
    with pytest.raises(SprueError, match=r"engine\.json"):
        load()


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": []},
        {"inputs": [{"name": "image", "dtype": "float32", "shape": []}]},
        {"inputs": [{"name": "image", "dtype": "float32", "shape": [0, 1, 8, 8]}], "profile": {}},
        {"inputs": [{"name": "image", "dtype": "float32", "shape": [-1, -1, 8, 8]}]},
        {"inputs": [{"name": "image", "dtype": "float32", "shape": [-5, 1, 8, 8]}]},
        {"profile": {}},
        {"profile": {"other": {"min": [1], "opt": [1], "max": [1]}}},
        {"precision": "int4"},
        {"onnx_sha256": "../../etc"},
        {"plan": {"path": "/bin/sh"}},
        {"surplus": 1},
        {"tolerance": "wide"},
    ],
)
def test_a_manifest_of_the_wrong_form_is_an_error(
    artifact: Path, load: Callable[[], Any], changes: dict[str, Any]
) -> None:
    rewrite(artifact, **changes)
    with pytest.raises(SprueError, match="not an engine manifest"):
        load()


def test_a_missing_manifest_or_graph_is_an_error(artifact: Path, load: Callable[[], Any]) -> None:
    (artifact / "model.onnx").unlink()
    with pytest.raises(SprueError, match=r"model\.onnx"):
        load()
    (artifact / "engine.json").unlink()
    with pytest.raises(SprueError, match="no engine manifest"):
        load()


def test_a_changed_graph_is_not_run(artifact: Path, load: Callable[[], Any]) -> None:
    model = onnx.load(artifact / "model.onnx")
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, artifact / "model.onnx")
    with pytest.raises(SprueError, match=r"not the one that engine\.json names"):
        load()


@pytest.mark.parametrize("keep", [0, 1, 100, 2000])
def test_a_truncated_graph_is_an_error(artifact: Path, load: Callable[[], Any], keep: int) -> None:
    replace_model(artifact, (artifact / "model.onnx").read_bytes()[:keep])
    with pytest.raises(SprueError):
        load()


def test_a_graph_with_another_input_is_an_error(
    artifact: Path, load: Callable[[], Any], intent: ModelProto
) -> None:
    replace_model(artifact, intent.SerializeToString())
    with pytest.raises(SprueError, match="has no 'image'"):
        load()


def test_weights_outside_the_file_are_not_read(
    artifact: Path, load: Callable[[], Any], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10_000))
    model = onnx.load(artifact / "model.onnx")
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=str(secret))
    replace_model(artifact, model.SerializeToString())
    with pytest.raises(SprueError):
        load()


def test_an_operator_that_onnxruntime_lacks_is_an_error(artifact: Path, load: Callable[[], Any]) -> None:
    model = onnx.load(artifact / "model.onnx")
    model.graph.node[1].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    replace_model(artifact, model.SerializeToString())
    with pytest.raises(SprueError, match="onnxruntime cannot load the graph"):
        load()


def test_an_engine_that_was_swapped_is_not_loaded(artifact: Path) -> None:
    plan = artifact / PLAN
    plan.parent.mkdir(parents=True, exist_ok=True)
    plan.write_bytes(b"another engine")
    built = BuiltPlan(
        sha256="0" * 64, size=1, tensorrt="11.0", compute_capability="9.0", driver="13.0", device="any"
    )
    manifest = read_manifest(artifact).model_copy(update={"plan": built})
    with pytest.raises(SprueError, match="not the one that its manifest names"):
        Native(artifact, manifest)
    plan.unlink()
    with pytest.raises(SprueError, match="has no engine"):
        Native(artifact, manifest)


def test_golden_files_load_without_pickle(artifact: Path) -> None:
    for path in sorted((artifact / "golden").iterdir()):
        assert np.load(path, allow_pickle=False).dtype == np.float32
