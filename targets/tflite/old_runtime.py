"""What tflite-runtime 2.14 cannot run of what LiteRT runs, said before anything is built.

Some of it that runtime refuses when it loads a file; of some its process ends (an assertion of rank 4). Found
by running each kernel with each type and rank in both runtimes, and all of ONNX's node tests; the operation
versions that we write are the first, which it has, but for int8 weights (see `tflite_runtime.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sprue.backend import Finding

from .emit import Operation
from .flatbuffer import reachable

if TYPE_CHECKING:
    from .lower import Lowered

REMEDY = "cast or reshape it before, or build for a target without tflite-runtime"
COMPARISONS = frozenset({"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"})
BROADCASTS_OVER_4 = COMPARISONS | {
    *("BITWISE_XOR", "FLOOR_DIV", "FLOOR_MOD", "LOGICAL_AND", "LOGICAL_OR", "POW", "RIGHT_SHIFT")
}
INTEGERS_OVER_4 = frozenset({"MUL", "SQUARED_DIFFERENCE"})
INTEGERS_OVER_5 = frozenset({"SUB", "DIV", "MAXIMUM", "MINIMUM"})
"""Of float32 XNNPACK computes all of these, over 6 axes."""
SLICED = 5
"""Axes of a SLICE."""
MOVES_FLOAT16 = frozenset({"CAST", "RESHAPE", "BROADCAST_TO", "DEQUANTIZE"})
LACKS = {
    "bool": frozenset({"GATHER_ND", "PAD", "PADV2", "MIRROR_PAD"}),
    "int8": frozenset({"NEG"}),
    "int16": frozenset({"NEG", "TILE"}),
    "uint16": frozenset({"TRANSPOSE", "TILE", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "SELECT_V2"}),
    "uint32": frozenset({"TRANSPOSE", "TILE", "MIRROR_PAD"}),
    "float64": frozenset({"TRANSPOSE"}),
}
"""Type -> operations that have no kernel for it."""
NEVER_FED = frozenset({"uint16"})
"""Types of inputs that its Python interface does not take."""
UNKNOWN = frozenset({"bfloat16"})


def findings(lowered: Lowered) -> list[Finding]:
    """One for each operation that it has no kernel for, and for each input that it does not take."""
    found = [
        Finding("operator", "", "", f"tflite-runtime 2.14 takes no {t.dtype.name}: input '{t.name}'", REMEDY)
        for t in lowered.inputs
        if t.dtype.name in NEVER_FED | UNKNOWN
    ]
    for operation in reachable(lowered.outputs):
        found += [
            Finding("operator", operation.node, operation.code, f"tflite-runtime 2.14 has no {lack}", REMEDY)
            for lack in _lacking(operation)
        ]
    return list(dict.fromkeys(found))


def _lacking(operation: Operation) -> Iterator[str]:
    code, tensors = operation.code, [t for t in (*operation.inputs, *operation.outputs) if t is not None]
    names = {t.dtype.name for t in tensors}
    for name in sorted(names):
        halved = name == "float16" and code not in MOVES_FLOAT16
        if halved or name in UNKNOWN or code in LACKS.get(name, ()):
            yield f"{code} of {name}"
    rank = max(t.rank for t in tensors)
    if code == "SLICE" and rank > SLICED:
        yield f"{code} of {rank} axes"
    shapes = {t.shape for t in operation.inputs if t is not None}
    if len(shapes) > 1 and rank > _most_axes(code, integers="float32" not in names):
        yield f"{code} that broadcasts over {rank} axes"


def _most_axes(code: str, *, integers: bool) -> int:
    """Axes over which the kernel broadcasts."""
    if code in BROADCASTS_OVER_4 or (integers and code in INTEGERS_OVER_4):
        return 4
    over_5 = code == "SELECT_V2" or (integers and code in INTEGERS_OVER_5)
    return 5 if over_5 else 8
