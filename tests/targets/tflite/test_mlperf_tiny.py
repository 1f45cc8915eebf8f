"""The MLPerf Tiny networks, rebuilt in ONNX from Google's own .tflite files: ours against theirs.

Same outputs, never a larger file, and the latency of both printed (one thread, interleaved).
"""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from .build import lowered_runner, reference, worst

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
DATA = Path(os.environ.get("SPRUE_DATA", str(Path(__file__).parents[4] / "shared" / "data"))) / "mlperf-tiny"
FOLDER = Path(__file__).parents[3] / "models" / "mlperf_tiny"
FILES = ["ad01_fp32", "pretrainedResnet", "vww_96_float"]
"""Not kws_ref_model_float32, whose weights are int8 whatever its name says."""
each_file = pytest.mark.parametrize("name", FILES)
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the MLPerf Tiny models; SPRUE_DATA names their folder"
)


def _module() -> ModuleType:
    """`rebuild.py`: it stands in no package."""
    spec = importlib.util.spec_from_file_location("rebuild", FOLDER / "rebuild.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rebuild = _module().rebuild


def theirs(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=data, num_threads=1)
    made.allocate_tensors()
    return made


def answer(interpreter: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found: np.ndarray[Any, Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


@each_file
def test_a_rebuilt_network_is_the_same_no_larger_and_as_fast(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sprue.targets.tflite.flatbuffer import pack
    from sprue.targets.tflite.lower import lower

    from sprue.passes.simplify import Simplify

    data = (DATA / f"{name}.tflite").read_bytes()
    rebuilt = rebuild(data)
    start = time.perf_counter()
    lowered = lower(Simplify(batch=1).apply(rebuilt, {}))
    made = pack(lowered.inputs, lowered.outputs)
    seconds = time.perf_counter() - start
    ours, other = lowered_runner(Simplify(batch=1).apply(rebuilt, {})), theirs(data)
    x = np.random.default_rng(0).standard_normal(lowered.inputs[0].shape).astype(np.float32)
    assert worst(ours.run({"x": x}), {"y": answer(other, x)}) < 1e-5
    assert len(made) <= len(data)
    times: list[list[float]] = [[], []]
    for _ in range(40):
        for kind in (0, 1):
            begun = time.perf_counter()
            _ = answer(other, x) if kind else ours.run({"x": x})
            times[kind].append(time.perf_counter() - begun)
    fast, slow = (1e3 * float(np.median(t)) for t in times)
    with capsys.disabled():
        print(f"\n{name}: lowered in {seconds:.3f} s, {len(made)} bytes (theirs {len(data)}), ", end="")
        print(f"{fast:.3f} ms (theirs {slow:.3f})")


@each_file
def test_its_onnx_agrees_with_the_float_original(name: str) -> None:
    data = (DATA / f"{name}.tflite").read_bytes()
    rebuilt, original = rebuild(data), theirs(data)
    shape = [d.dim_value for d in rebuilt.graph.input[0].type.tensor_type.shape.dim][1:]
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((1, *shape)).astype(np.float32)
        assert worst(reference(rebuilt, {"x": x}), {"y": answer(original, x)}) < 1e-5


def with_float_weights(data: bytes) -> bytes:
    """The file with its int8 weights as the floats that they stand for: LiteRT then computes in float."""
    from sprue.targets.tflite.flatbuffer import read, schema, write

    file, s = read(data), schema()
    for tensor in file.subgraphs[0].tensors:
        if tensor.type == s.TensorType.INT8:
            assert len(tensor.quantization.scale) == 1
            buffer = file.buffers[tensor.buffer]
            stored = np.asarray(buffer.data, np.uint8).view(np.int8).astype(np.float32)
            values = (stored - tensor.quantization.zeroPoint[0]) * tensor.quantization.scale[0]
            buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
            tensor.type, tensor.quantization = s.TensorType.FLOAT32, None
    return bytes(write(file))


def test_keyword_spotting_agrees_once_its_weights_are_floats() -> None:
    """As it is, LiteRT rounds the activations of every layer, whatever its name `float32` says."""
    data = (DATA / "kws_ref_model_float32.tflite").read_bytes()
    rebuilt, original = rebuild(data), theirs(with_float_weights(data))
    random = np.random.default_rng(0)
    for _ in range(8):
        x = random.uniform(-123, 25, (1, 49, 10, 1)).astype(np.float32)
        assert worst(reference(rebuilt, {"x": x}), {"y": answer(original, x)}) < 1e-5
