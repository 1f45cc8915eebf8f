"""Peak memory of a fresh process, against what its artifact is known to hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprue.backend import Variant
from sprue.errors import SprueError
from sprue.measuring import resident
from sprue.target import load_target

MIB = 2**20


def artifact(folder: Path, width: int) -> Path:
    """x [batch, width] times a float matrix of width * width."""
    folder.mkdir()
    weight = numpy_helper.from_array(np.ones((width, width), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", width]) for n in "xy")
    graph = helper.make_graph([node], "wide", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    np.savez(folder / "samples.npz", allow_pickle=False, x=np.ones((3, width), np.float32))
    return folder


def variant() -> dict[str, object]:
    made: dict[str, object] = json.loads(
        json.dumps(asdict(Variant(load_target("server-cpu"), "onnxruntime", "float32")))
    )
    return made


@pytest.mark.slow
def test_larger_weights_need_as_much_more_memory(tmp_path: Path) -> None:
    """4096 x 4096 floats are 64 MiB; the process holds them at least once, and no more often than 6 times."""
    small, large = artifact(tmp_path / "small", 16), artifact(tmp_path / "large", 4096)
    found = [resident.measure(a, variant(), a / "samples.npz") for a in (small, large)]
    more = found[1]["peak_memory"] - found[0]["peak_memory"]
    assert 64 * MIB <= more <= 6 * 64 * MIB
    assert all(10 * MIB < f["start_memory"] <= f["peak_memory"] for f in found)


@pytest.mark.slow
def test_what_ships_no_loader_is_opened_by_its_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then sprue and onnx, which the backend imports, are in the figure."""
    folder = artifact(tmp_path / "small", 16)
    shipped = resident.measure(folder, variant(), folder / "samples.npz")
    monkeypatch.setattr(resident, "_opens_here", lambda contract: False)
    opened = resident.measure(folder, variant(), folder / "samples.npz")
    assert opened["peak_memory"] > shipped["peak_memory"] + 10 * MIB


@pytest.mark.slow
def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "small", 16)
    (folder / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(SprueError, match="the process that was to measure its memory failed: "):
        resident.measure(folder, variant(), folder / "samples.npz")
