"""Which of NVIDIA's packages and devices are here. Cheap where they are not; asked once a process."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .child import PROBE_SECONDS, PROGRAM, ChildError, ask


@dataclass(frozen=True)
class Device:
    """What an engine depends on: it runs only with this TensorRT on this compute capability."""

    tensorrt: str
    compute_capability: str
    driver: str
    """The newest CUDA version that the driver serves."""
    device: str


@dataclass(frozen=True)
class Absent:
    """Why no engine can be built here."""

    missing: str


@cache
def device() -> Device | Absent:
    """The GPU that engines would be built for, or what is missing. No child unless `tensorrt` is there."""
    if not installed("tensorrt"):
        return Absent("the tensorrt package is not installed")
    if not installed("cuda.bindings"):
        return Absent("the cuda-bindings package is not installed")
    return probed(PROGRAM, PROBE_SECONDS)


def probed(program: Path, seconds: float) -> Device | Absent:
    """What `program probe` answers. A crash, a hang or nonsense is an absence, with the reason."""
    try:
        answer = ask("probe", program=program, seconds=seconds)
    except ChildError as error:
        return Absent(f"TensorRT does not work here: {error.what}")
    names = {f.name for f in fields(Device)}
    if set(answer) != names or not all(isinstance(v, str) for v in answer.values()):
        return Absent("TensorRT does not work here: its probe answered nonsense")
    return Device(**answer)


@cache
def rtx() -> str | None:
    """The version of tensorrt-rtx, or None when it is not installed. Does not import it."""
    if not installed("tensorrt_rtx"):
        return None
    try:
        return version("tensorrt_rtx")
    except PackageNotFoundError:
        return None


def installed(module: str) -> bool:
    """Whether `module` can be imported. A bare folder of that name (a namespace package) does not count."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
