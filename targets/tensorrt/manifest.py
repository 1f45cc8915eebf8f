"""engine.json: what to build from model.onnx, how, and, once built, for what the engine is.

Written by `compile`, read by `load`, which trusts none of it: every path is one of the constants here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sprue import canonical, graph
from sprue.errors import SprueError
from sprue.target import Precision

MANIFEST = "engine.json"
MODEL = "model.onnx"
REPOSITORY = "triton"
CONFIG = "triton/model/config.pbtxt"
PLAN = "triton/model/1/model.plan"
SUPPORT = "rtx.json"
RTX_ENGINE = "rtx/model.engine"
GOLDEN = "golden"

TENSORRT_RANGE = ">=10.8,<12"
"""10.8 is the first release of the API that engine.py uses; 11 takes strongly typed networks only."""
BATCH = (1, 8, 64)
"""Least, usual and greatest batch of the optimization profile, where the model's batch axis is free."""
WORKSPACE_BYTES = 2**30
MAX_MANIFEST_BYTES = 2**20

Dims = Annotated[list[Annotated[int, Field(ge=-1)]], Field(min_length=1, max_length=16)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tensor(Part):
    """A border tensor of the network. -1: the batch axis, free."""

    name: str
    dtype: str
    shape: Dims


class ProfileShapes(Part):
    """`min`, `opt` and `max` shape of one input, as TensorRT's optimization profiles want them."""

    min: Dims
    opt: Dims
    max: Dims


class BuiltPlan(Part):
    """The engine in the artifact, and the key under which alone it runs."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1)]
    tensorrt: str
    compute_capability: str
    driver: str
    device: str


class EngineManifest(Part):
    """Everything that an engine build needs besides model.onnx."""

    format: Literal["sprue-tensorrt-1"] = "sprue-tensorrt-1"
    precision: Precision
    onnx_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tensorrt: str = TENSORRT_RANGE
    network: Literal["STRONGLY_TYPED"] = "STRONGLY_TYPED"
    flags: dict[str, bool]
    """BuilderFlag -> set or cleared."""
    workspace_bytes: int = WORKSPACE_BYTES
    inputs: Annotated[list[Tensor], Field(min_length=1)]
    outputs: Annotated[list[Tensor], Field(min_length=1)]
    profile: dict[str, ProfileShapes]
    """Empty where the batch is fixed."""
    tolerance: float
    """Of the engine against golden/: greatest |difference| as a share of the output's greatest magnitude."""
    trtexec: list[str]
    """The same build by NVIDIA's command line tool, run in the artifact's folder."""
    plan: BuiltPlan | None = None

    @property
    def free_batch(self) -> bool:
        return bool(self.profile)

    @model_validator(mode="after")
    def _profile_covers_the_free_batch(self) -> EngineManifest:
        free = {t.name for t in self.inputs if t.shape[0] == -1}
        if free != set(self.profile) or (free and len(free) < len(self.inputs)):
            raise ValueError("`profile` does not name exactly the inputs with a free batch axis")
        if any(t.shape[0] == 0 or -1 in t.shape[1:] for t in self.inputs):
            raise ValueError("an input has an empty batch or a free axis besides the batch axis")
        return self


TOLERANCE: dict[str, float] = {"float32": 1e-4, "float16": 2e-2, "int8-static": 5e-2}
"""Engine against the same graph in onnxruntime, so only rounding and its order differ: 2^-24, 2^-11 and, in
int8, single steps of 1/127 of a range that tip the other way and add up."""


def describe(model: ModelProto, precision: Precision) -> EngineManifest:
    """The manifest of a model after its passes. Raises SprueError for shapes that no profile covers."""
    inputs = [_tensor(s, "input") for s in graph.inputs(model)]
    outputs = [_tensor(s, "output") for s in graph.outputs(model)]
    free = {t.name for t in inputs if t.shape[0] == -1}
    if free and len(free) < len(inputs):
        raise SprueError(
            f"the batch axis of {', '.join(sorted(free))} is free, that of the other inputs is fixed",
            remedy="export the model with one batch axis for all inputs",
        )
    profile = {
        t.name: ProfileShapes(
            **{k: [b, *t.shape[1:]] for k, b in zip(("min", "opt", "max"), BATCH, strict=True)}
        )
        for t in inputs
        if t.name in free
    }
    return EngineManifest(
        precision=precision,
        onnx_sha256=canonical.digest(graph.serialise(model)),
        flags={"TF32": False},  # on by default, it gives float32 networks 10 bits of mantissa
        inputs=inputs,
        outputs=outputs,
        profile=profile,
        tolerance=TOLERANCE[precision],
        trtexec=_trtexec(profile),
    )


def write_manifest(manifest: EngineManifest, folder: Path) -> None:
    (folder / MANIFEST).write_bytes(canonical.canonical(manifest.model_dump(mode="json")) + b"\n")


def read_manifest(folder: Path) -> EngineManifest:
    """Raises SprueError when it is missing, too large, not JSON, or not of this format."""
    path = folder / MANIFEST
    try:
        return EngineManifest.model_validate(canonical.read_json(path, MAX_MANIFEST_BYTES))
    except OSError as error:
        raise SprueError(
            "the artifact has no engine manifest", where=str(path), remedy="build or pull it again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "the document"
        raise SprueError(
            f"not an engine manifest that this version reads: {place}: {first['msg']}",
            where=str(path),
            remedy="build or pull the artifact again",
        ) from error
    except ValueError as error:
        raise SprueError(
            f"not an engine manifest: {error}", where=str(path), remedy="build or pull it again"
        ) from error


def golden_files(manifest: EngineManifest) -> dict[str, str]:
    """Border tensor -> its file under golden/. By position: a tensor's name need not be a file name."""
    fed = {t.name: f"{GOLDEN}/input_{i}.npy" for i, t in enumerate(manifest.inputs)}
    return fed | {t.name: f"{GOLDEN}/output_{i}.npy" for i, t in enumerate(manifest.outputs)}


def _tensor(spec: graph.TensorSpec, role: str) -> Tensor:
    if not spec.shape:
        raise SprueError(
            f"the shape of {role} '{spec.name}' is not known, or it has no batch axis",
            remedy="export the model with shapes and a batch axis 0",
        )
    if role == "input" and any(d is None for d in spec.shape[1:]):
        raise SprueError(
            f"{role} {spec} has a symbolic axis besides the batch axis",
            remedy="export the model with that axis fixed",
        )
    shape = [-1 if d is None else int(d) for d in spec.shape]
    return Tensor(name=spec.name, dtype=np.dtype(spec.dtype).name, shape=shape)


def _trtexec(profile: dict[str, ProfileShapes]) -> list[str]:
    made = ["trtexec", f"--onnx={MODEL}", "--stronglyTyped", "--noTF32"]
    for option, key in (("--minShapes", "min"), ("--optShapes", "opt"), ("--maxShapes", "max")):
        shapes = [f"{n}:{'x'.join(str(d) for d in getattr(s, key))}" for n, s in profile.items()]
        made += [f"{option}={','.join(shapes)}"] if shapes else []
    return [*made, f"--memPoolSize=workspace:{WORKSPACE_BYTES // 2**20}M", f"--saveEngine={PLAN}"]
