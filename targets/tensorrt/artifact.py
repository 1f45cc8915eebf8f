"""Writing the artifact: what a GPU machine needs to build the engine; on a GPU machine, the engine too.

model.onnx                      the strongly typed graph: precision stands in the graph, not in builder flags
engine.json                     how to build it: profile, flags, tensors, TensorRT versions; written last
triton/model/config.pbtxt       Triton's model repository
triton/model/1/model.plan       the engine (with a GPU)
golden/{input,output}_*.npy     inputs and what model.onnx makes of them in onnxruntime
rtx.json                        what tensorrt-rtx says of the graph (where it is installed)
rtx/model.engine                its ahead-of-time engine (only with SPRUE_RTX_ENGINE=freeze)
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from sprue import canonical, graph
from sprue.backend import Variant
from sprue.errors import CheckError, SprueError

from .check import counts, finding
from .child import BUILD_SECONDS, ChildError, EngineProcess, ask
from .manifest import (
    CONFIG,
    GOLDEN,
    MODEL,
    PLAN,
    RTX_ENGINE,
    SUPPORT,
    BuiltPlan,
    EngineManifest,
    describe,
    golden_files,
    write_manifest,
)
from .probe import Device, device, rtx
from .run import in_batches, onnx_session, worst
from .triton import config

if TYPE_CHECKING:
    from sprue.backend import Samples

    from .run import Arrays

GOLDEN_SAMPLES = 8
RTX_SECONDS = 600.0
FREEZE_RTX = "SPRUE_RTX_ENGINE"


def freezes_rtx() -> bool:
    """Whether to keep tensorrt-rtx's engine in the artifact, though its bytes differ from run to run."""
    return os.environ.get(FREEZE_RTX) == "freeze"


def write(model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
    made = graph.normalise(model)
    manifest = describe(made, variant.precision)
    (out / MODEL).write_bytes(graph.serialise(made))
    manifest = manifest.model_copy(update={"onnx_sha256": canonical.file_digest(out / MODEL)})
    golden = _write_golden(made, manifest, calibration, out)
    (out / CONFIG).parent.mkdir(parents=True)
    (out / CONFIG).write_text(config(manifest), encoding="utf-8")
    if rtx():
        _write_rtx(manifest, out)
    here = device()
    if isinstance(here, Device):
        manifest = manifest.model_copy(update={"plan": _build_plan(manifest, here, out)})
        _prove(manifest, golden, out)
    write_manifest(manifest, out)


def build_request(manifest: EngineManifest, module: str, model: Path, out: Path) -> dict[str, Any]:
    """What engine.py's `build` takes."""
    return {
        "module": module,
        "model": str(model.resolve()),
        "out": str(out.resolve()),
        "flags": manifest.flags,
        "workspace_bytes": manifest.workspace_bytes,
        "profile": {n: [s.min, s.opt, s.max] for n, s in manifest.profile.items()},
    }


def _write_golden(
    model: ModelProto, manifest: EngineManifest, calibration: Samples, out: Path
) -> tuple[Arrays, Arrays]:
    missing = [t.name for t in manifest.inputs if t.name not in calibration or not len(calibration[t.name])]
    if missing:
        raise SprueError(
            f"there are no calibration samples of '{missing[0]}' to make golden inputs and outputs of",
            remedy="name a file with at least one sample as `calibration` in the model's [data]",
        )
    count = GOLDEN_SAMPLES
    if not manifest.free_batch:
        batch = manifest.inputs[0].shape[0]
        count = max(GOLDEN_SAMPLES // batch, 1) * batch
    fed = {t.name: np.ascontiguousarray(calibration[t.name][:count]) for t in manifest.inputs}
    expected = in_batches(onnx_session(model, MODEL), manifest, fed)
    files = golden_files(manifest)
    (out / GOLDEN).mkdir()
    for name, array in (fed | expected).items():
        np.save(out / files[name], array, allow_pickle=False)
    return fed, expected


def _write_rtx(manifest: EngineManifest, out: Path) -> None:
    """Ask tensorrt-rtx's parser, then build its engine ahead of time: compiled by NVIDIA, run by nobody.

    The engine's bytes are left out unless asked for: the compiler's choice among equal shape expressions
    follows memory addresses, so the bytes of two runs may differ.
    """
    try:
        said = ask(
            "support", {"module": "tensorrt_rtx", "model": str((out / MODEL).resolve())}, seconds=RTX_SECONDS
        )
    except ChildError as error:
        raise SprueError(
            f"tensorrt-rtx's parser failed: {error.what}",
            remedy="uninstall tensorrt-rtx to build without its support report, and report this to sprue",
        ) from error
    first = next((finding(r) for r in said["refused"] if counts(r)), None)
    if first is not None:
        raise CheckError(first.reason, where=f"node '{first.node}'", remedy=first.remedy)
    report: dict[str, Any] = {
        "tensorrt-rtx": said["version"],
        "supported": said["supported"],
        "refused": [{"node": r["node"], "op": r["op"]} for r in said["refused"]],
        "engine": _rtx_engine(manifest, out),
    }
    (out / SUPPORT).write_bytes(canonical.canonical(report) + b"\n")


def _rtx_engine(manifest: EngineManifest, out: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="sprue-tensorrt-") as folder:
        built = Path(folder) / "model.engine"
        # RTX's own defaults: compute capability 8.0, 8.6, 8.9, 12.0 and later
        try:
            answer = ask(
                "build", build_request(manifest, "tensorrt_rtx", out / MODEL, built), seconds=RTX_SECONDS
            )
        except ChildError:
            answer = {"built": False}
        if not answer["built"]:
            # no reason: its messages number temporaries anew each time, and RTX compiles less than TensorRT
            return "did not build"
        if freezes_rtx():
            (out / RTX_ENGINE).parent.mkdir()
            (out / RTX_ENGINE).write_bytes(built.read_bytes())
    return "built, not executed"


def _build_plan(manifest: EngineManifest, here: Device, out: Path) -> BuiltPlan:
    plan = out / PLAN
    plan.parent.mkdir(parents=True)
    try:
        answer = ask("build", build_request(manifest, "tensorrt", out / MODEL, plan), seconds=BUILD_SECONDS)
    except ChildError as error:
        raise SprueError(
            f"TensorRT {here.tensorrt} did not build the engine: {error.what}",
            remedy="free GPU memory, or build with another TensorRT",
        ) from error
    if not answer["built"]:
        first = finding(answer["refused"][0]) if answer["refused"] else None
        reason = first.reason if first else answer["reason"]
        raise CheckError(
            f"TensorRT {here.tensorrt} cannot build the engine: {reason}",
            where=f"node '{first.node}'" if first else "",
            remedy=first.remedy if first else f"run in a copy of the artifact: {' '.join(manifest.trtexec)}",
        )
    key = {k: getattr(here, k) for k in ("tensorrt", "compute_capability", "driver", "device")}
    return BuiltPlan(sha256=canonical.file_digest(plan), size=plan.stat().st_size, **key)


def _prove(manifest: EngineManifest, golden: tuple[Arrays, Arrays], out: Path) -> None:
    """Run the saved engine on the golden inputs. Raises CheckError when it is further off than rounding."""
    fed, expected = golden
    engine = EngineProcess(out / PLAN)
    try:
        got = in_batches(engine, manifest, fed)
    finally:
        engine.close()
    for name, share in worst(manifest, expected, got).items():
        if share > manifest.tolerance:
            raise CheckError(
                f"the engine's output '{name}' is off by {share:.2g} of its range from the same graph in "
                f"onnxruntime; {manifest.precision} allows {manifest.tolerance:g}",
                remedy="build with another TensorRT, or choose a wider precision for this target",
            )
