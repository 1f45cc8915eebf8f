"""The backend `tflite`: one .tflite file and a report on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from sprue import description
from sprue.backend import Availability, Contract, Finding, Offer, Pass, Runner, Variant, compatible
from sprue.border import Border, at_border, read_border
from sprue.canonical import canonical, digest, read_json
from sprue.errors import CheckError, SprueError
from sprue.graph import inputs
from sprue.passes.float_region import float_region
from sprue.passes.masks import masking_nodes
from sprue.passes.simplify import Simplify

from .._findings import flash_findings, scale_findings
from .._offers import FLOAT, with_feature
from . import emulated

if TYPE_CHECKING:
    from sprue.backend import Samples
    from sprue.facts import Facts
    from sprue.target import Precision, Target

    from .artifact import Contents
    from .lower import Lowered

ENTRY = "model.tflite"
REPORT = "report.json"
LOADER = Path(__file__).with_name("deployed.py")
OLD_RUNTIME = ">=2.14,<3"
"""Of tflite-runtime: 2.14 is its last release, and the one that is tested."""
MAX_BYTES = 2**31 - 1
"""A flatbuffer's offsets are 31 bits."""
PACKAGES = ("ai-edge-litert", "ai-edge-quantizer", "flatbuffers", "numpy", "onnx")


class Tflite:
    """ONNX -> TFLite by our own lowering; int8 by ai-edge-quantizer; run by LiteRT or tflite-runtime."""

    name = "tflite"
    version = 1
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8-dynamic", "int8-static")
    settings: tuple[str, ...] = ("threads",)
    settings_in_artifact: tuple[str, ...] = ()
    int8_border: tuple[Precision, ...] = ("int8-static",)
    writes_description = True

    def available(self) -> Availability:
        missing = [p for p in ("ai_edge_litert", "ai_edge_quantizer") if find_spec(p) is None]
        there = not missing
        if there:
            return Availability(there, there)
        named = " and ".join(p.replace("_", "-") for p in missing)
        return Availability(there, there, f"{named} not installed", "pip install 'sprue[mobile]'")

    def tools(self, target: Target | None = None) -> dict[str, str]:
        found = {}
        for package in PACKAGES:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        there = emulated.runtime()
        return found | ({f"emulated-{emulated.ARCH}": there} if there else {})

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        half = Offer("float16", "half the size, and the same answers")
        dynamic = Offer("int8-dynamic", with_feature("a quarter of the size, float activations", target))
        static = Offer("int8-static", with_feature("static int8 pays for convolutions", target), mixed=True)
        if facts.kind == "convolutional":
            return (static, half, FLOAT)
        if facts.kind == "dense":
            return (dynamic, static, half, FLOAT)
        return (dynamic, half, FLOAT)  # full int8 ruins transformers, and LSTMs stay hybrid anyway

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        """The batch stays free: `compile` fixes it, and frees it again where the graph allows that.

        Operators stay whole: what `check` has lowered is more than what onnxruntime writes out, in float64.
        """
        return (Simplify(whole=True),)

    def needs_calibration(self, variant: Variant) -> bool:
        return variant.precision == "int8-static"

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        """The lowering itself, nothing written: what it finds is what `compile` would stumble over."""
        if variant.precision not in self.precisions:
            offered = ", ".join(self.precisions)
            reason = f"tflite does not offer {variant.precision}"
            return [Finding("precision", "", "", reason, f"use one of {offered}")]
        if bad := scale_findings(model):
            return bad
        try:
            fixed = _fixed(model)
        except SprueError as error:
            return [Finding("shape", "", "", error.what, error.remedy)]
        lowered = _lower(fixed)
        old = [] if lowered.findings else _beyond(lowered, variant)
        return [
            *lowered.findings,
            *old,
            *flash_findings(model, variant),
            *_nothing_to_quantize(lowered, variant),
        ]

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        """Write `model.tflite`, `report.json` and the projects. Raises CheckError for what is not lowered."""
        from . import project, tflite_runtime
        from .artifact import contents
        from .int8_border import int8_border
        from .metadata import label_files, metadata, with_files
        from .run import interpreter

        lowered = _lower(_fixed(model))
        if found := [*lowered.findings] or _beyond(lowered, variant):
            raise CheckError(
                "; ".join(f"{f.node} ({f.op}): {f.reason}" for f in found), remedy=found[0].remedy
            )
        lowered, single = _for_any_batch(model, lowered)
        floats = [*float_region(model, variant.float_layers), *masking_nodes(model)]
        said = description.read(model)
        borders = ([_spec(t) for t in side] for side in (lowered.inputs, lowered.outputs))
        data = _built(lowered, variant, calibration, floats, metadata(said, *borders))
        border = None
        if variant.border == "int8":
            data, border = int8_border(data)
            border = border if border.int8 else None
        labels = label_files(said)
        data = with_files(data, labels)
        held = contents(data, ENTRY)
        _agree(held, lowered, border)
        interpreter(data, variant.settings.threads, ENTRY)
        (out / ENTRY).write_bytes(data)
        for name, text in labels.items():
            (out / name).write_bytes(text)
        report = _report(data, held, variant) | {"batch": f"1: {single}" if single else "any"}
        report |= {} if border is None else {"border": border.to_json()}
        without = project.write_project(
            out,
            said,
            held.inputs,
            held.outputs,
            project.OLD if tflite_runtime.FEATURE in variant.target.features else project.LITERT,
            border=border or Border(),
            precision=variant.precision,
            sha256=str(report["sha256"]),
            size=len(data),
        )
        (out / REPORT).write_bytes(canonical({**report, "no_projects": without} if without else report))

    def load(self, artifact: Path, variant: Variant) -> Runner:
        """Check the file against its report's digest and its own bounds, then hand it to the runtime."""
        from . import tflite_runtime
        from .artifact import contents
        from .run import LiteRtRunner

        path = artifact / ENTRY
        data = _read(path)
        held = contents(data, str(path))
        border = _untouched(data, artifact / REPORT)
        phone = variant.precision if variant.target.arch == emulated.ARCH else None
        if tflite_runtime.FEATURE in variant.target.features:
            old = tflite_runtime.TfliteRuntimeRunner
            return at_border(old(data, held, variant.settings.threads, str(path), phone=phone), border)
        return at_border(LiteRtRunner(data, held, variant.settings.threads, str(path), phone=phone), border)

    def entry(self, variant: Variant) -> str:
        return ENTRY

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        """tflite-runtime stands among a target's features, and is none of its processor."""
        from .tflite_runtime import FEATURE

        features = tuple(f for f in variant.target.features if f != FEATURE)
        runtime = {"ai-edge-litert": compatible(version("ai-edge-litert"))}
        if FEATURE in variant.target.features:
            runtime = {"tflite-runtime": OLD_RUNTIME}
        border = _told(artifact / REPORT)[1] if variant.border == "int8" else None
        return Contract(runtime, features, loader=LOADER, border=border)


def _for_any_batch(model: ModelProto, lowered: Lowered) -> tuple[Lowered, str]:
    """The graph for any number of samples, and ""; or `lowered` as it is, and why not.

    First what is best for one sample, then what is right for all: LSTMs whose states follow the batch.
    """
    from .batch import MANY, free_batch

    if not all(spec.shape and spec.shape[0] is None for spec in inputs(model)):
        return lowered, "the model takes one sample itself"
    one, many = _fixed(model), _fixed(model, MANY)
    if not free_batch(lowered, _lower(many)):
        return lowered, ""
    freed = _lower(one, free=True)
    why = free_batch(freed, _lower(many, free=True))
    return (lowered, why) if why else (freed, "")


def _fixed(model: ModelProto, batch: int = 1) -> ModelProto:
    """The model at `batch` samples, if that axis is still free. Raises SprueError for other free axes.

    `sprue.graph.with_batch` infers all shapes anew, a second for 90 MB; the walk infers them as it goes.
    """
    free = {spec.name for spec in inputs(model) if None in spec.shape}
    for spec in inputs(model):
        if None in spec.shape[1:]:
            raise SprueError(
                f"input '{spec.name}' has the symbolic axis {spec.shape[1:].index(None) + 1}; only the batch "
                "axis may be symbolic",
                remedy="export the model with that axis fixed",
            )
    if not free:
        return model
    made = ModelProto()
    made.CopyFrom(model)
    for value in made.graph.input:
        if value.name in free:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    del made.graph.value_info[:]
    return made


def _lower(model: ModelProto, *, free: bool = False) -> Lowered:
    from .lower import lower

    return lower(model, free=free)


def _beyond(lowered: Lowered, variant: Variant) -> list[Finding]:
    """What the target's runtime cannot run of it."""
    from . import old_runtime, tflite_runtime

    return old_runtime.findings(lowered) if tflite_runtime.FEATURE in variant.target.features else []


def _nothing_to_quantize(lowered: Lowered, variant: Variant) -> list[Finding]:
    from .flatbuffer import reachable
    from .quantize import QUANTIZED_OPS

    if lowered.findings or not variant.precision.startswith("int8"):
        return []
    if any(o.code in QUANTIZED_OPS for o in reachable(lowered.outputs)):
        return []
    reason = f"{variant.precision} would change nothing: no operation of the model has weights to quantize"
    return [Finding("precision", "", "", reason, f"leave {variant.precision} out of `precision`")]


def _built(
    lowered: Lowered, variant: Variant, calibration: Samples, float_nodes: Sequence[str], metadata: bytes
) -> bytes:
    from . import quantize, tflite_runtime
    from .flatbuffer import pack
    from .run import batch_of
    from .sums import split_products

    size = sum(t.data.nbytes for t in _constants(lowered) if t.data is not None)
    if size > MAX_BYTES:
        raise CheckError(f"{size} bytes of weights: a TFLite file holds 2 GiB", remedy="split the model")
    if variant.precision == "float16":
        quantize.halve_weights(lowered.outputs)
    if variant.precision == "float32":
        split_products(lowered.outputs)
    if not variant.precision.startswith("int8"):
        return pack(lowered.inputs, lowered.outputs, metadata)
    quantize.quantize_lstm(lowered.outputs)
    batch = batch_of(tuple(_spec(t) for t in lowered.inputs))
    return quantize.quantize_rest(
        pack(lowered.inputs, lowered.outputs),
        variant.precision,
        calibration,
        batch,
        per_tensor=tflite_runtime.FEATURE in variant.target.features,
        narrow=quantize.narrow_embeddings(lowered.outputs),
        products=quantize.constant_products(lowered.outputs),
        floating=quantize.last_layers(lowered.outputs) if variant.border != "int8" else (),
        floats=quantize.results_of(lowered.outputs, float_nodes),
        metadata=metadata,
    )


def _constants(lowered: Lowered) -> list[Any]:
    from .flatbuffer import reachable

    found = {id(t): t for o in reachable(lowered.outputs) for t in o.inputs if t is not None}
    return list(found.values())


def _spec(tensor: Any) -> Any:
    from sprue.graph import TensorSpec

    return TensorSpec(tensor.name, tensor.dtype, tensor.shape)


def _agree(held: Contents, lowered: Lowered, border: Border | None) -> None:
    """The border of the file is the model's own, but for what became int8: names, dtypes and shapes."""
    edges = border or Border()
    for ours, theirs, changed in (
        (lowered.inputs, held.inputs, edges.inputs),
        (lowered.outputs, held.outputs, edges.outputs),
    ):
        wanted = [_spec(t) for t in ours]
        wanted = [
            replace(s, dtype=np.dtype(changed[s.name].dtype)) if s.name in changed else s for s in wanted
        ]
        if wanted != list(theirs):
            raise CheckError(
                f"the artifact takes or gives {', '.join(map(str, theirs))} where the model has "
                f"{', '.join(map(str, wanted))}",
                remedy="this is a bug of sprue: please report it",
            )


def _report(data: bytes, held: Contents, variant: Variant) -> dict[str, object]:
    def border(specs: Sequence[Any]) -> list[dict[str, object]]:
        return [{"name": s.name, "dtype": s.dtype.name, "shape": list(s.shape)} for s in specs]

    return {
        "schema": "sprue.tflite/1",
        "precision": variant.precision,
        "sha256": digest(data),
        "bytes": len(data),
        "inputs": border(held.inputs),
        "outputs": border(held.outputs),
        "operations": held.operations,
        "tensors": held.tensors,
        "weights": held.weights,
        "quantized_fraction": round(held.quantized_fraction, 6),
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SprueError(
            "there is no such TFLite file", where=str(path), remedy="build the artifact again"
        ) from error


def _untouched(data: bytes, report: Path) -> Border | None:
    """What the report says of the border. Raises CheckError when it is missing or speaks of other bytes."""
    expected, border = _told(report)
    if expected != digest(data):
        raise CheckError(
            "the file is not the one that was built",
            where=str(report.with_name(ENTRY)),
            remedy="build it again",
        )
    return border


def _told(report: Path) -> tuple[str, Border | None]:
    """The digest of the file and its border, as the report has them."""
    try:
        told = read_json(report)
        return str(told["sha256"]), read_border(told["border"]) if "border" in told else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckError(
            "the report on the artifact is missing or damaged", where=str(report), remedy="build it again"
        ) from error
