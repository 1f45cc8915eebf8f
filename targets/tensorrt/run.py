"""Running an artifact: the engine in a child process, or, without a GPU, the graph it is made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from onnx import ModelProto, TensorProto

from sprue import canonical, graph
from sprue.backend import Operator, Profile
from sprue.errors import SprueError

from .child import PROGRAM, RUN_SECONDS, EngineProcess
from .manifest import BATCH, MODEL, PLAN, EngineManifest, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprue.backend import Samples

    Arrays = dict[str, NDArray[np.generic]]


class Session(Protocol):
    """Runs one batch that the artifact's batch axis allows."""

    def __call__(self, feeds: Arrays) -> Arrays: ...


class StandIn:
    """model.onnx in onnxruntime on the CPU: the same graph, not the engine.

    Optimisation is off: Q and DQ are then computed one by one in float, as ONNX defines them, free of the
    16-bit saturation of x86 int8 kernels; what onnxruntime has no float16 kernel for, it computes in float32
    and rounds to float16 after each node.
    """

    execution: Literal["native", "emulated", "stand-in"] = "stand-in"

    def __init__(self, folder: Path, manifest: EngineManifest) -> None:
        self._manifest = manifest
        self._model = folder / MODEL
        self._session = onnx_session(_trusted_model(self._model, manifest), str(self._model))

    def run(self, inputs: Samples) -> Arrays:
        return in_batches(self._session, self._manifest, inputs)

    def profile(self) -> Profile:
        size = self._model.stat().st_size
        return Profile(flash=size, notes={"stand-in": "model.onnx in onnxruntime on the CPU, not the engine"})

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """(): what onnxruntime needs on a CPU says nothing of the engine."""
        return ()


class Native:
    """The engine, in a child process that lives as long as this object. Latency includes the pipe to it."""

    execution: Literal["native", "emulated", "stand-in"] = "native"

    def __init__(
        self, folder: Path, manifest: EngineManifest, *, program: Path = PROGRAM, seconds: float = RUN_SECONDS
    ) -> None:
        self._manifest = manifest
        self._plan = folder / PLAN
        if manifest.plan is None or not self._plan.is_file():
            raise SprueError("the artifact has no engine", where=str(self._plan), remedy="build it again")
        if canonical.file_digest(self._plan) != manifest.plan.sha256:
            raise SprueError(
                "the engine is not the one that its manifest names",
                where=str(self._plan),
                remedy="build or pull the artifact again; an engine is a program, never load a stranger's",
            )
        self._child = EngineProcess(self._plan, program, seconds)

    def run(self, inputs: Samples) -> Arrays:
        return in_batches(self._child, self._manifest, inputs)

    def profile(self) -> Profile:
        plan = self._manifest.plan
        notes = (
            {"engine": f"TensorRT {plan.tensorrt}, compute capability {plan.compute_capability}"}
            if plan
            else {}
        )
        if self._child.seconds:
            notes["gpu-seconds"] = f"{self._child.seconds:.6f} for the last batch, copies included"
        return Profile(flash=self._plan.stat().st_size, notes=notes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """(): an engine tells its layers only to a profiler that was registered in its own process."""
        return ()


def onnx_session(model: ModelProto, where: str) -> Session:
    """A plain onnxruntime session: one thread and no optimisation, so that runs are repeatable."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(graph.serialise(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise SprueError(f"onnxruntime cannot load the graph: {_first_line(error)}", where=where) from error
    names = [o.name for o in session.get_outputs()]

    def run(feeds: Arrays) -> Arrays:
        try:
            return dict(zip(names, session.run(names, feeds), strict=True))
        except Exception as error:
            raise SprueError(
                f"onnxruntime cannot run the graph: {_first_line(error)}", where=where
            ) from error

    return run


def in_batches(session: Session, manifest: EngineManifest, inputs: Samples) -> Arrays:
    """Run any number of samples in portions that the artifact takes. Raises SprueError for wrong inputs."""
    feeds, count = _checked(manifest.inputs, inputs)
    step = BATCH[2] if manifest.free_batch else manifest.inputs[0].shape[0]
    if count % step and not manifest.free_batch:
        raise SprueError(f"the artifact takes {step} samples at a time, these are {count}")
    parts = [session({n: a[i : i + step] for n, a in feeds.items()}) for i in range(0, count, step)]
    made: Arrays = {}
    for tensor in manifest.outputs:
        missing = next((p for p in parts if tensor.name not in p), None)
        if missing is not None:
            raise SprueError(f"the artifact gives no output '{tensor.name}'", remedy="build it again")
        made[tensor.name] = np.concatenate([p[tensor.name] for p in parts])
    return made


def _checked(wanted: list[Tensor], inputs: Samples) -> tuple[Arrays, int]:
    feeds: Arrays = {}
    for tensor in wanted:
        if tensor.name not in inputs:
            have = ", ".join(sorted(inputs)) or "nothing"
            raise SprueError(f"the input '{tensor.name}' is missing", remedy=f"given: {have}")
        array = np.ascontiguousarray(inputs[tensor.name])
        if array.dtype.name != tensor.dtype or list(array.shape[1:]) != tensor.shape[1:] or array.ndim == 0:
            raise SprueError(
                f"the input '{tensor.name}' is {array.dtype}{list(array.shape)}, "
                f"the artifact takes {tensor.dtype}{tensor.shape}"
            )
        feeds[tensor.name] = array
    counts = {len(a) for a in feeds.values()}
    if len(counts) != 1 or not next(iter(counts)):
        raise SprueError("the inputs need one and the same number of samples, at least one")
    return feeds, counts.pop()


def _trusted_model(path: Path, manifest: EngineManifest) -> ModelProto:
    """model.onnx, if it is what the manifest names and reads no other file."""
    model = graph.read_model(path)
    if canonical.file_digest(path) != manifest.onnx_sha256:
        raise SprueError(
            "the ONNX graph is not the one that engine.json names",
            where=str(path),
            remedy="build or pull the artifact again",
        )
    outside = [t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    if outside:
        raise SprueError(f"the weight '{outside[0]}' lies outside the ONNX file", where=str(path))
    have = {s.name for s in (*graph.inputs(model), *graph.outputs(model))}
    lacking = {t.name for t in (*manifest.inputs, *manifest.outputs)} - have
    if lacking:
        raise SprueError(f"the ONNX graph has no '{min(lacking)}', which engine.json names", where=str(path))
    return model


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def worst(manifest: EngineManifest, wanted: Arrays, got: Arrays) -> dict[str, float]:
    """Output -> greatest |difference| as a share of the output's greatest magnitude (of 1 where less).

    NaN and infinity where the golden output has none count as infinitely wrong.
    """
    found: dict[str, float] = {}
    for tensor in manifest.outputs:
        want, have = wanted[tensor.name], got[tensor.name]
        if want.shape != have.shape:
            found[tensor.name] = float("inf")
            continue
        a, b = want.astype(np.float64), have.astype(np.float64)
        share = np.abs(a - b).max() / max(1.0, np.abs(a).max())
        found[tensor.name] = float(share) if np.isfinite(share) else float("inf")
    return found
