"""The int8 MLPerf Tiny models in C against LiteRT on Google's own .tflite files: every tensor, every element.

`rebuild.py` turns a file into QDQ ONNX with its very scales, zero points, weights and biases; the C backend
makes integer kernels of it. The reference is LiteRT as it is used, with XNNPACK, which multiplies sums by a
float32 as we do. Its kernels without a delegate multiply by a 32-bit fixed-point number and round twice.
"""

from __future__ import annotations

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

from .host import PLAIN, Program, build, fused
from .models import Array, source

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
PROJECT = Path(__file__).parents[3]
DATA = Path(os.environ.get("SPRUE_DATA", PROJECT.parent / "shared" / "data")) / "mlperf-tiny"
FILES = ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"]
SAMPLES = 100
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


def answers(data: bytes, samples: Array, resolver: str) -> dict[str, Array]:
    """`tensor<number>` -> [samples, ...], of LiteRT with one of its sets of kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = getattr(OpResolverType, resolver)
    interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    outputs: list[dict[str, Any]] = interpreter.get_output_details()
    found: dict[str, list[Array]] = {f"tensor{o['index']}": [] for o in outputs}
    for sample in samples:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        for output in outputs:
            tensor = interpreter.get_tensor(output["index"])
            found[f"tensor{output['index']}"].append(
                tensor.transpose(0, 3, 1, 2) if tensor.ndim == 4 else tensor
            )
    return {n: np.concatenate(a) for n, a in found.items()}


@pytest.fixture(scope="module")
def files() -> dict[str, tuple[bytes, ModelProto]]:
    return {name: with_every_tensor(name) for name in FILES}


@pytest.fixture(scope="module")
def program(files: dict[str, tuple[bytes, ModelProto]], tmp_path_factory: pytest.TempPathFactory) -> Program:
    made = [source(model, f"m{i}") for i, (_, model) in enumerate(files.values())]
    return build(tmp_path_factory.mktemp("litert"), made, (*PLAIN, "-O2", *fused()))


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_equals_litert(
    name: str, files: dict[str, tuple[bytes, ModelProto]], program: Program
) -> None:
    data, model = files[name]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    samples = np.random.default_rng(1).integers(-128, 127, (SAMPLES, *shape), np.int8, endpoint=True)
    wanted = answers(data, samples, "AUTO")
    runs = [program.run(FILES.index(name), {"x": sample[None]}) for sample in samples]
    for tensor, values in wanted.items():
        got = np.concatenate([r[tensor] for r in runs])
        assert len(np.unique(values)) > 2, f"{tensor} is too tame to show anything"
        np.testing.assert_array_equal(got, values, err_msg=tensor, strict=True)
