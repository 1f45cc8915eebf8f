"""Which function lowers which ONNX operator. The files in `ops/` register themselves and are found there."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from sprue.graph import Attributed

from . import ops
from .emit import Tensor, Unsupported
from .layout import Graph, Laid, Value


@dataclass(frozen=True)
class Node(Attributed):
    """An ONNX node with its inputs resolved. An absent optional input is None; `outputs` are not yet made."""

    op: str
    name: str
    opset: int
    inputs: list[Value | None]
    attributes: Mapping[str, object]
    outputs: list[Value]

    refusal: ClassVar[type[Exception]] = Unsupported

    def input(self, index: int) -> Value:
        """A required input."""
        value = self.optional(index)
        if value is None:
            raise Unsupported(f"input {index} is missing", "the model is not valid ONNX")
        return value

    def optional(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def present(self) -> list[Value]:
        return [v for v in self.inputs if v is not None]

    def constant(self, index: int, what: str) -> np.ndarray:
        """A required input whose value must be known now."""
        value = self.input(index).const
        if value is None:
            raise Unsupported(f"{what} is computed while the model runs", f"make {what} a constant")
        return value

    def optional_constant(self, index: int, what: str) -> np.ndarray | None:
        return None if self.optional(index) is None else self.constant(index, what)

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute `axis`, made non-negative."""
        rank = self.input(0).rank if rank is None else rank
        axis = self.integer("axis", default)
        if not -rank <= axis < max(rank, 1):
            raise Unsupported(f"axis {axis} is outside a tensor of rank {rank}", "correct the model")
        return axis % rank if rank else 0


Made = Tensor | Laid | list[Tensor] | list[Laid] | list[Tensor | Laid]
Lowering = Callable[[Graph, Node], Made]

_LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Register the decorated function for these ONNX operators of the default domain."""

    def register(function: Lowering) -> Lowering:
        for name in names:
            if name in _LOWERINGS:
                raise ValueError(f"{name} is lowered twice")
            _LOWERINGS[name] = function
        return function

    return register


@cache
def lowerings() -> dict[str, Lowering]:
    """All of them, by ONNX operator."""
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _LOWERINGS


def computable(dtype: np.dtype[np.generic], native: frozenset[str]) -> np.dtype[np.generic]:
    """The dtype to compute in: `dtype` itself if the kernel has it, else a wider one that loses nothing."""
    if dtype.name in native:
        return dtype
    wider = {
        "float16": ("float32",),
        "bfloat16": ("float32",),
        "int8": ("int16", "int32", "int64", "float32"),
        "uint8": ("int16", "int32", "int64", "float32"),
        "int16": ("int32", "int64", "float32"),
        "uint16": ("int32", "int64", "float32"),
        "uint32": ("int64",),
        "int32": ("int64",),
        "bool": ("int8", "uint8", "int32", "int64", "float32"),
    }
    for name in wider.get(dtype.name, ()):
        if name in native:
            return np.dtype(name)
    raise Unsupported(
        f"TFLite has no kernel for {dtype.name}", f"cast to {', '.join(sorted(native))} before it"
    )
