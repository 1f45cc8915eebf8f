"""The int8 MLPerf Tiny models in C against LiteRT on Google's own .tflite files: every tensor, every element.

`rebuild.py` turns a file into QDQ ONNX with its very scales, zero points, weights and biases; the C backend
makes integer kernels of it. With floats the reference is LiteRT as it is used, with XNNPACK, which multiplies
sums by a float32 as we do. In fixed point it is TFLite Micro. Those two differ from each other, by up to 48
of 255 in ResNet's outputs, and so do LiteRT's other sets of kernels.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from sprue.targets.c.check import shaping

from sprue.backend import Variant, find
from sprue.target import load_target

from .host import PLAIN, Program, build, fused
from .models import Array, source

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
PROJECT = Path(__file__).parents[3]
DATA = Path(os.environ.get("SPRUE_DATA", PROJECT.parent / "shared" / "data")) / "mlperf-tiny"
FILES = ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"]
SAMPLES = 50
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
    pytest.mark.skipif(
        not DATA.is_dir(), reason="needs the MLPerf Tiny models; SPRUE_DATA names their folder"
    ),
]


def _module() -> ModuleType:
    """`rebuild.py`: it stands in no package."""
    place = PROJECT / "models" / "mlperf_tiny" / "rebuild.py"
    spec = importlib.util.spec_from_file_location("mlperf_tiny_rebuild", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_every_tensor(name: str) -> tuple[bytes, ModelProto]:
    """The file, and its ONNX, with each result as an output: `tensor<number>` in ONNX, NCHW."""
    from sprue.targets.tflite.flatbuffer import read, write

    data = (DATA / f"{name}.tflite").read_bytes()
    file = read(data)
    graph = file.subgraphs[0]
    file.signatureDefs = None
    graph.outputs = [int(operation.outputs[0]) for operation in graph.operators]
    made: ModelProto = _module().rebuild(data)
    shown = [helper.make_tensor_value_info(f"tensor{t}", TensorProto.INT8, None) for t in graph.outputs]
    made.graph.output.extend(shown)
    for change in shaping():
        made = change.apply(made, {})
    return bytes(write(file)), made


def answers(data: bytes, samples: Array) -> dict[str, Array]:
    """`tensor<number>` -> [samples, ...], of LiteRT with XNNPACK, its default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    outputs: list[dict[str, Any]] = interpreter.get_output_details()
    found: dict[str, list[Array]] = {f"tensor{o['index']}": [] for o in outputs}
    for sample in samples:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        for output in outputs:
            found[f"tensor{output['index']}"].append(_planes(interpreter.get_tensor(output["index"])))
    return {n: np.concatenate(a) for n, a in found.items()}


def micro_answers(data: bytes, samples: Array, names: list[str]) -> dict[str, Array]:
    """The same of TFLite Micro; `names`: of its outputs, in order."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 24)
    found: dict[str, list[Array]] = {name: [] for name in names}
    for sample in samples:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        for index, name in enumerate(names):
            found[name].append(_planes(interpreter.get_output(index)))
    return {n: np.concatenate(a) for n, a in found.items()}


def _planes(tensor: Array) -> Array:
    return tensor.transpose(0, 3, 1, 2) if tensor.ndim == 4 else tensor


@pytest.fixture(scope="module")
def files() -> dict[str, tuple[bytes, ModelProto]]:
    return {name: with_every_tensor(name) for name in FILES}


@pytest.fixture(scope="module")
def program(files: dict[str, tuple[bytes, ModelProto]], tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The four models with floats, then the four in fixed point."""
    models = [model for _, model in files.values()]
    made = [source(m, f"m{i}", fixed_point=i >= len(FILES)) for i, m in enumerate([*models, *models])]
    return build(tmp_path_factory.mktemp("litert"), made, (*PLAIN, "-O2", *fused()))


def noise(model: ModelProto, count: int) -> Array:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return np.random.default_rng(1).integers(-128, 127, (count, *shape), np.int8, endpoint=True)


def assert_every_tensor_equals(wanted: dict[str, Array], runs: list[dict[str, Array]]) -> None:
    for tensor, values in wanted.items():
        got = np.concatenate([r[tensor] for r in runs])
        assert len(np.unique(values)) > 2, f"{tensor} is too tame to show anything"
        np.testing.assert_array_equal(got, values, err_msg=tensor, strict=True)


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_equals_litert(
    name: str, files: dict[str, tuple[bytes, ModelProto]], program: Program
) -> None:
    data, model = files[name]
    samples = noise(model, SAMPLES)
    runs = [program.run(FILES.index(name), {"x": sample[None]}) for sample in samples]
    assert_every_tensor_equals(answers(data, samples), runs)


@pytest.mark.parametrize("name", FILES)
def test_in_fixed_point_every_tensor_equals_tflite_micro(
    name: str, files: dict[str, tuple[bytes, ModelProto]], program: Program
) -> None:
    data, model = files[name]
    samples = noise(model, SAMPLES)
    wanted = micro_answers(data, samples, [o.name for o in model.graph.output if o.name != "y"])
    index = len(FILES) + FILES.index(name)
    runs = [program.run(index, {"x": sample[None]}) for sample in samples]
    assert_every_tensor_equals(wanted, runs)


@pytest.mark.parametrize(
    ("name", "features"),
    [*((name, ("dsp", "fpv4-sp")) for name in FILES), ("pretrainedResnet_quant", ("dsp",))],
)
def test_a_cortex_m4_gives_the_same_bytes(
    name: str,
    features: tuple[str, ...],
    files: dict[str, tuple[bytes, ModelProto]],
    program: Program,
    tmp_path: Path,
) -> None:
    """Without its floating point unit, too: then in fixed point."""
    pytest.importorskip("ziglang", reason="needs the extra sprue[embedded]")
    pytest.importorskip("unicorn", reason="needs the extra sprue[embedded]")
    target = dataclasses.replace(load_target("cortex-m4"), features=features)
    backend, variant = find("c"), Variant(target, "c", "float32")
    model: ModelProto = _module().rebuild((DATA / f"{name}.tflite").read_bytes())
    samples = noise(files[name][1], 3)
    for change in backend.passes(variant):
        model = change.apply(model, {"x": samples})
    backend.compile(model, variant, {"x": samples}, tmp_path)
    got = backend.load(tmp_path, variant).run({"x": samples})["y"]
    index = FILES.index(name) + (0 if "fpv4-sp" in features else len(FILES))
    wanted = [program.run(index, {"x": sample[None]})["y"] for sample in samples]
    np.testing.assert_array_equal(got, np.concatenate(wanted), strict=True)
