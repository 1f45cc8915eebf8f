"""Crashes, hangs and nonsense in the process that holds NVIDIA's libraries stay there."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.tensorrt import BACKEND, probe
from sprue.targets.tensorrt.child import PROGRAM, ChildError, EngineProcess, ask
from sprue.targets.tensorrt.manifest import PLAN, BuiltPlan, read_manifest
from sprue.targets.tensorrt.run import Native

from sprue.errors import SprueError

pytestmark = pytest.mark.slow

Arrays = dict[str, NDArray[Any]]


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(text)
    return path


def test_this_machine_is_probed_without_a_crash() -> None:
    here = probe.device()
    available = BACKEND.available()
    assert available.compiles
    assert available.executes == isinstance(here, probe.Device)
    assert bool(available.missing) == bool(available.install) == (not available.executes)


def test_no_child_is_started_where_tensorrt_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a child was started")

    monkeypatch.setattr(probe, "installed", lambda module: False)
    monkeypatch.setattr(probe, "ask", forbidden)
    assert probe.device.__wrapped__() == probe.Absent("the tensorrt package is not installed")


def test_a_folder_called_tensorrt_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt_of_no_one").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not probe.installed("tensorrt_of_no_one")
    assert not probe.installed("no_parent.child")


def test_the_real_probe_names_what_is_missing_here() -> None:
    if isinstance(probe.device(), probe.Device):
        pytest.skip("TensorRT and a GPU are here: nothing is missing")
    found = probe.probed(PROGRAM, 60)
    assert isinstance(found, probe.Absent)
    assert found.missing.startswith("TensorRT does not work here: ")
    assert "Traceback" not in found.missing


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os; os.abort()", "was killed by SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("", "ended with exit code 0"),
        ("import sys; sys.exit('no driver today')", "no driver today"),
        ("print('Segmentation fault')", "no JSON"),
        ("print('[1, 2]')", "[1, 2]"),
        ("print('{}')", "nonsense"),
        (
            'print(\'{"tensorrt": 1, "compute_capability": "9.0", "driver": "13.0", "device": "x"}\')',
            "nonsense",
        ),
        ('print(\'{"error": "CUDA: no device"}\')', "CUDA: no device"),
    ],
)
def test_a_probe_that_fails_in_any_way_is_an_absence(tmp_path: Path, text: str, reason: str) -> None:
    found = probe.probed(program(tmp_path, text), 60)
    assert isinstance(found, probe.Absent)
    assert reason in found.missing


def test_a_probe_that_hangs_is_given_up(tmp_path: Path) -> None:
    start = time.monotonic()
    found = probe.probed(program(tmp_path, "import time; time.sleep(600)"), 0.5)
    assert found == probe.Absent("TensorRT does not work here: no answer to 'probe' within 0.5 s")
    assert time.monotonic() - start < 30


def test_what_a_library_prints_does_not_spoil_the_answer(model: ModelProto, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not an ONNX model")  # the parser logs this to standard output
    answer = ask("support", {"module": "tensorrt_rtx", "model": str(path)}, seconds=60)
    assert not answer["supported"]
    path.write_bytes(model.SerializeToString())
    assert ask("support", {"module": "tensorrt_rtx", "model": str(path)}, seconds=60)["supported"]


def test_an_error_in_the_child_arrives_as_its_message() -> None:
    with pytest.raises(ChildError, match="ModuleNotFoundError: No module named 'no_such_runtime'"):
        ask("support", {"module": "no_such_runtime", "model": "x"}, seconds=60)


SERVER = f"""
import sys; sys.path.insert(0, {str(PROGRAM.parent)!r})
import io, os
import numpy as np, onnxruntime
import engine
session = onnxruntime.InferenceSession(sys.argv[2].split('"')[3])
class Runs:
    def __init__(self, plan): pass
    def __call__(self, feeds):
        ACTION
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
engine._Engine = Runs
sys.exit(engine.main(sys.argv[1:]))
"""
"""The frames of engine.py around onnxruntime, with which an ONNX file may serve as the "engine"."""


@pytest.fixture
def served(digits: ModelProto, prepare: Callable[..., Path], tmp_path: Path) -> Callable[..., Native]:
    folder = prepare(digits, "float32", tmp_path / "artifact")
    plan = folder / PLAN
    plan.parent.mkdir(parents=True, exist_ok=True)
    plan.write_bytes((folder / "model.onnx").read_bytes())
    built = BuiltPlan(
        sha256=hashlib.sha256(plan.read_bytes()).hexdigest(),
        size=plan.stat().st_size,
        tensorrt="11.0",
        compute_capability="9.0",
        driver="13.0",
        device="none",
    )
    manifest = read_manifest(folder).model_copy(update={"plan": built})

    def serve(action: str = "pass", seconds: float = 60.0) -> Native:
        path = program(tmp_path, SERVER.replace("ACTION", action))
        return Native(folder, manifest, program=path, seconds=seconds)

    return serve


def test_tensors_go_through_the_pipe_and_back(
    served: Callable[..., Native], digits: ModelProto, samples: Callable[..., Arrays]
) -> None:
    import onnxruntime

    runner, inputs = served(), samples(digits, 150)
    (expected,) = onnxruntime.InferenceSession(digits.SerializeToString()).run(None, inputs)
    for _ in range(2):  # the child stays
        np.testing.assert_allclose(runner.run(inputs)["logits"], expected, rtol=1e-4, atol=1e-5)
    assert runner.execution == "native"
    assert "compute capability 9.0" in runner.profile().notes["engine"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("os.abort()", "was killed by SIGABRT"),
        ("raise RuntimeError('CUDA: out of memory')", "CUDA: out of memory"),
        ("os._exit(5)", "ended with exit code 5"),
        ("sys.stderr.write('cuda core dumped'); sys.stderr.flush(); os._exit(1)", "cuda core dumped"),
    ],
)
def test_an_engine_that_crashes_is_an_error_that_says_how(
    served: Callable[..., Native],
    digits: ModelProto,
    samples: Callable[..., Arrays],
    action: str,
    message: str,
) -> None:
    runner = served(action)
    with pytest.raises(SprueError, match=message):
        runner.run(samples(digits, 1))
    with pytest.raises(SprueError, match="has ended; load the artifact again"):
        runner.run(samples(digits, 1))


def test_an_engine_that_hangs_is_killed(
    served: Callable[..., Native], digits: ModelProto, samples: Callable[..., Arrays]
) -> None:
    runner = served("import time; time.sleep(600)", seconds=3.0)
    with pytest.raises(SprueError, match="did not answer within 3 s"):
        runner.run(samples(digits, 1))


def test_a_server_that_talks_nonsense_is_an_error(tmp_path: Path) -> None:
    for text in (
        "import sys; sys.stdout.buffer.write(b'x' * 4096)",
        "import sys, struct; sys.stdout.buffer.write(struct.pack('<QQ', 4, 0) + b'abcd'); sys.stdin.read()",
    ):
        with pytest.raises(ChildError, match="nonsense"):
            EngineProcess(tmp_path / "plan", program(tmp_path, text), 20)


def test_the_names_that_engine_py_uses_exist_in_nvidias_api() -> None:
    """tensorrt-rtx shares TensorRT's Python API; execution itself needs a GPU (test_engine_on_gpu.py)."""
    trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    assert callable(trt.Runtime.deserialize_cuda_engine)
    for name in ("create_execution_context", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype"):
        assert hasattr(trt.ICudaEngine, name)
    assert hasattr(trt.ICudaEngine, "num_io_tensors")
    for name in ("set_input_shape", "set_tensor_address", "get_tensor_shape", "execute_async_v3"):
        assert hasattr(trt.IExecutionContext, name)
    assert trt.nptype(trt.DataType.INT64) is np.int64
    assert trt.nptype(trt.DataType.FLOAT) is np.float32
    assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT
    assert trt.BuilderFlag.TF32.name == "TF32"


def test_an_engine_that_tensorrt_does_not_load_is_refused_with_its_own_reason(tmp_path: Path) -> None:
    """tensorrt-rtx stands in, whose Python API is the same; without a driver it refuses all engines."""
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-bindings")
    (tmp_path / "plan").write_bytes(b"no engine" * 100)
    text = f"""import sys
import tensorrt_rtx
sys.modules["tensorrt"] = tensorrt_rtx
sys.argv[0] = {str(PROGRAM)!r}
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))"""
    with pytest.raises(ChildError, match=r"cannot load the engine: .*(driver|engine)"):
        EngineProcess(tmp_path / "plan", program(tmp_path, text), 60)


def test_the_cuda_calls_fail_by_status_where_there_is_no_driver() -> None:
    cuda = pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-bindings")
    if isinstance(probe.device(), probe.Device):
        pytest.skip("there is a driver")
    engine = sys.modules["sprue.targets.tensorrt.engine"]
    with pytest.raises(RuntimeError, match="CUDA: "):
        engine._checked(cuda, cuda.cudaGetDeviceCount())
    assert cuda.cudaStreamCreate()[0] != cuda.cudaError_t.cudaSuccess
    assert cuda.cudaMalloc(16)[0] != cuda.cudaError_t.cudaSuccess
