"""Does a program fit its board? What it needs of RAM and flash, and where most of that goes.

The arena and the weights are known from the program alone; `need` adds what only a compiled firmware shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sprue.backend import Finding
from sprue.target import Target

from .lower import PlacedCall, Program
from .memory import Block, lower_bound
from .nodes import Array, Flash, Read

LARGEST = 3
"""Tensors or layers that a finding names."""


@dataclass(frozen=True)
class Need:
    """Bytes. `least`: it may turn out to be more; `blocks`: of the arena."""

    ram: int
    flash: int
    blocks: Sequence[Block]
    least: bool = False
    int8: bool = False


def least_need(program: Program, *, int8: bool) -> Need:
    """Arena and weights. With `int8`, one byte for each element of what is float32 now: a lower bound."""
    if not int8:
        return Need(program.plan.bytes, weight_bytes(program), program.blocks)
    blocks = [
        replace(b, spans=tuple(replace(s, bytes=max(s.bytes // 4, 1)) for s in b.spans))
        for b in program.blocks
        if b.name in program.values
    ]
    arena = max(lower_bound(blocks), _border(program))
    return Need(arena, weight_bytes(program, int8=True), blocks, least=True, int8=True)


def findings(program: Program, need: Need, target: Target, *, quantized: bool) -> list[Finding]:
    """One for each limit of the target that is exceeded. `quantized`: int8 is no remedy any more."""
    least = "at least " if need.least else ""
    better = "" if quantized else "int8-static, "
    found = []
    if target.limit_ram is not None and need.ram > target.limit_ram:
        call, largest = fullest(program, need.blocks)
        node = call.node if call is not None else None
        reason = (
            f"it needs {least}{need.ram} bytes of RAM, the limit is {target.limit_ram}; "
            f"most while this runs: {_listed(largest)}"
        )
        remedy = f"{better}a smaller input or fewer channels there, or a larger limit.ram"
        found.append(Finding("limit", node.name if node else "", node.op if node else "", reason, remedy))
    if target.limit_flash is not None and need.flash > target.limit_flash:
        largest = heaviest(program, int8=need.int8)
        reason = (
            f"it needs {least}{need.flash} bytes of flash, the limit is {target.limit_flash}; "
            f"most weights: {_listed(largest)}"
        )
        remedy = f"{better}fewer channels there, or a larger limit.flash"
        found.append(Finding("limit", "", "", reason, remedy))
    return found


def _listed(largest: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"'{name}' {size}" for name, size in largest) or "nothing"


def fullest(program: Program, blocks: Sequence[Block]) -> tuple[PlacedCall | None, list[tuple[str, int]]]:
    """The call during which most of the arena is in use, and the largest tensors then, with their bytes."""
    live: list[list[tuple[int, str]]] = [[] for _ in program.calls]
    for block in blocks:
        for span in block.spans:
            for step in range(max(span.first, 0), min(span.last + 1, len(live))):
                live[step].append((span.bytes, _label(block.name)))
    if not live:
        return None, []
    step = max(range(len(live)), key=lambda s: sum(size for size, _ in live[s]))
    return program.calls[step], [(name, size) for size, name in sorted(live[step], reverse=True)[:LARGEST]]


def _label(block: str) -> str:
    return "scratch memory" if block.startswith("\0") else block


def heaviest(program: Program, *, int8: bool = False) -> list[tuple[str, int]]:
    """The layers with the most bytes of constants."""
    total: dict[str, int] = {}
    for placed, data in _constants(program):
        total[placed.node.name] = total.get(placed.node.name, 0) + _stored(data, int8=int8)
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:LARGEST]


def weight_bytes(program: Program, *, int8: bool = False) -> int:
    """Bytes of constants in flash; with `int8`, one byte per element of what is float32 now."""
    return sum(_stored(data, int8=int8) for _, data in _constants(program))


def _constants(program: Program) -> Iterator[tuple[PlacedCall, Array]]:
    """Each constant once, with the first call that reads it."""
    seen: set[tuple[str, bytes]] = set()
    for placed in program.calls:
        for argument in placed.call.arguments:
            root = program.roots.get(argument.name, argument.name) if isinstance(argument, Read) else ""
            if isinstance(argument, Flash):
                data = argument.data
            elif root in program.graph.constants:
                data = program.graph.constants[root]
            else:
                continue
            key = (data.dtype.name, data.tobytes())
            if key not in seen:
                seen.add(key)
                yield placed, data


def _stored(data: Array, *, int8: bool) -> int:
    return int(data.size if int8 and data.dtype == np.float32 else data.nbytes)


def _border(program: Program) -> int:
    """Inputs and outputs keep their dtype."""
    values = program.graph.values
    return max(sum(values[n].bytes for n in names) for names in (program.graph.inputs, program.graph.outputs))
