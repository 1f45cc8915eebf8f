"""The tensorrt backend: NVIDIA GPUs, through TensorRT and Triton.

Without a GPU it makes the `prepared` artifact, with one it builds the engine, runs it and freezes it (see
artifact.py for what is in either). NVIDIA's libraries are only ever loaded in child processes (engine.py).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.backend import Availability, Contract, Finding, Offer, Pass, Runner, Variant
from sprue.errors import SprueError
from sprue.target import Precision

from .child import PROGRAM
from .probe import Absent, device, rtx

if TYPE_CHECKING:
    from onnx import ModelProto

    from sprue.backend import Samples
    from sprue.facts import Facts
    from sprue.target import Target

INSTALL = "pip install tensorrt cuda-bindings (on a machine with an NVIDIA driver; see docs/gpu.md)"

QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where TensorRT has int8 kernels. Pairs around anything else (Gather, Transpose, LSTM) only cost rounding,
and tensorrt-rtx fails to compile some of them."""


class TensorRT:
    name = "tensorrt"
    version = 1
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8-static")
    settings: tuple[str, ...] = ()
    settings_in_artifact: tuple[str, ...] = ()
    int8_border: tuple[Precision, ...] = ()
    writes_description = False

    def available(self) -> Availability:
        here = device()
        if isinstance(here, Absent):
            return Availability(True, False, missing=here.missing, install=INSTALL)
        return Availability(compiles=True, executes=True)

    def tools(self, target: Target | None = None) -> dict[str, str]:
        """onnxruntime makes the golden outputs; TensorRT and the GPU count only where an engine is built."""
        from .artifact import freezes_rtx

        found = {"numpy": version("numpy"), "onnx": version("onnx"), "onnxruntime": _onnxruntime()}
        rtx_version = rtx()
        if rtx_version:
            found["tensorrt-rtx"] = rtx_version
            found |= {"tensorrt-rtx-engine": "frozen"} if freezes_rtx() else {}
        here = device()
        if not isinstance(here, Absent):
            found |= {"tensorrt": here.tensorrt, "compute-capability": here.compute_capability}
        return found

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        half = Offer("float16", "tensor cores compute in it at twice the speed of float32 or more")
        static = Offer("int8-static", "int8 tensor cores pay for convolutions", mixed=True)
        single = Offer("float32", "what the others are held against")
        return (static, half, single) if facts.kind == "convolutional" else (half, single)

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        """Precision goes into the graph: TensorRT 11 takes strongly typed networks only."""
        from sprue.passes.simplify import Simplify

        if variant.precision == "float16":
            from sprue.passes.float16 import Float16

            return (Simplify(), Float16())
        if variant.precision == "int8-static":
            from sprue.passes.quantize_static import QuantizeStatic

            from .float_bias import FloatBias

            quantize = QuantizeStatic(
                activations="int8", symmetric=True, op_types=QUANTIZED, exclude=variant.float_layers
            )
            return (Simplify(), quantize, FloatBias())
        if variant.precision == "float32":
            return (Simplify(),)
        raise SprueError(
            f"the tensorrt backend has no {variant.precision}",
            remedy=f"choose of {', '.join(self.precisions)}",
        )

    def needs_calibration(self, variant: Variant) -> bool:
        return True  # the golden inputs

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        from .check import check

        return check(model, variant)

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        from .artifact import write

        write(model, variant, calibration, out)

    def load(self, artifact: Path, variant: Variant) -> Runner:
        """The engine where the artifact has one and its GPU is here, else model.onnx in onnxruntime."""
        from .manifest import read_manifest
        from .run import Native, StandIn

        manifest = read_manifest(artifact)
        here = device()
        if manifest.plan is None or isinstance(here, Absent):
            return StandIn(artifact, manifest)
        built = (manifest.plan.tensorrt, manifest.plan.compute_capability)
        if built != (here.tensorrt, here.compute_capability):
            raise SprueError(
                f"the engine is for TensorRT {built[0]} on compute capability {built[1]}; here is TensorRT "
                f"{here.tensorrt} on {here.compute_capability}",
                where=str(artifact),
                remedy="build it on this machine: an engine runs only where it was built for",
            )
        return Native(artifact, manifest)

    def entry(self, variant: Variant) -> str:
        from .manifest import MANIFEST

        return MANIFEST

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        """An engine runs with the TensorRT and on the compute capability that it was built for, no others."""
        from .manifest import read_manifest

        manifest = read_manifest(artifact)
        features = variant.target.features
        if manifest.plan is None:
            return Contract({"tensorrt": manifest.tensorrt}, features, loader=PROGRAM)
        engine = {"compute-capability": manifest.plan.compute_capability}
        return Contract({"tensorrt": f"=={manifest.plan.tensorrt}"}, features, engine, loader=PROGRAM)


def _onnxruntime() -> str:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise SprueError("onnxruntime is not installed", remedy="pip install onnxruntime")


BACKEND = TensorRT()
