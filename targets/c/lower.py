"""Graph -> Program: each node to C calls, tensors to blocks of the arena.

Operators are found by file: every module of `ops/` holds `OPERATORS`, operator name -> lowering. A new one
is a new file there.
"""

from __future__ import annotations

import heapq
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np

from sprue.backend import Finding

from . import memory, ops
from .memory import Block, Plan
from .nodes import Alias, Attributes, Call, Graph, Node, Read, Scratch, Step, Unsupported, Value, Write

TILES = (4, 3, 2, 1)
"""Pixels that a convolution computes at once: more share their loads, and need more scratch memory."""
ALLOWANCE = 32
"""For larger tiles the arena may grow by this part of it: a loop costs a third less with three pixels."""
MOST_TRIALS = 32
"""Plans tried at most when not all larger tiles fit together."""

HALVES = frozenset({"Cast", "Reshape", "Identity"})
"""What reads and writes float16. Everything else computes in float32: `sprue.passes.widen` sees to it."""


@dataclass(frozen=True)
class Effort:
    """What a lowering may spend: `tile` output pixels or rows computed at once."""

    tile: int = 1


Lowering = Callable[[Node, Graph, Effort], Sequence[Step]]


@dataclass(frozen=True)
class PlacedCall:
    """A call and the node that it came from."""

    node: Node
    call: Call


@dataclass(frozen=True)
class Program:
    """What is to be emitted.

    `roots`: tensor -> the block that holds it, where that is not its own: what it is an alias of or reuses.
    """

    graph: Graph
    calls: tuple[PlacedCall, ...]
    values: Mapping[str, Value]
    roots: Mapping[str, str]
    blocks: tuple[Block, ...]
    plan: Plan

    def offset(self, tensor: str) -> int | None:
        """Bytes from the start of the arena; None for a constant."""
        return self.plan.offsets.get(self.roots.get(tensor, tensor))

    def scratch_offset(self, call: int, argument: int) -> int:
        return self.plan.offsets[scratch_name(call, argument)]


def scratch_name(call: int, argument: int) -> str:
    return f"\0scratch {call} {argument}"  # no ONNX tensor is called so: checked when the graph is read


@cache
def operators() -> Mapping[str, Lowering]:
    """Operator name -> lowering, of all modules in `ops/`."""
    found: dict[str, Lowering] = {}
    for module in sorted(pkgutil.iter_modules(ops.__path__), key=lambda m: m.name):
        found.update(importlib.import_module(f"{ops.__name__}.{module.name}").OPERATORS)
    return found


def lower(graph: Graph) -> tuple[Program | None, list[Finding]]:
    """The program, or the findings for every node that cannot be lowered."""
    findings: list[Finding] = []
    choices: list[list[tuple[Step, ...]]] = []
    for node in graph.nodes:
        try:
            choices.append(_lowered(node, graph))
        except Unsupported as error:
            findings.append(Finding("operator", node.name, node.op, error.reason, error.remedy))
        except ValueError:
            if not findings:
                raise
            # what was refused before it may have another shape than was inferred
    if findings:
        return None, findings
    if graph.lanes > 1:  # a host is not short of memory
        return _program(graph, [c[0] for c in choices]), []
    smallest = _program(graph, [c[-1] for c in choices])
    return _with_affordable_tiles(graph, choices, smallest), []


def _lowered(node: Node, graph: Graph) -> list[tuple[Step, ...]]:
    """The steps of one node for each of TILES; shorter where the tile changes nothing."""
    lowering = operators().get(node.op)
    if lowering is None:
        raise Unsupported(f"the operator {node.op} has no C kernel")
    for name in (*node.inputs, *node.outputs):
        if name and graph.value(name).dtype == np.float16 and node.op not in HALVES:
            raise Unsupported(f"{node.op} of float16 has no C kernel", "cast it to float32")
    asked = Attributes(node.attributes)
    node = replace(node, attributes=asked)
    made: list[tuple[Step, ...]] = []
    scratches: list[int] = []
    for tile in TILES:
        steps = tuple(lowering(node, graph, Effort(tile)))
        _refuse_contradictions(node, graph, steps)
        scratch = max((s.scratch for s in steps if isinstance(s, Call)), default=0)
        if scratch not in scratches:
            made.append(steps)
            scratches.append(scratch)
    if asked.unread():
        names = ", ".join(f"'{n}'" for n in asked.unread())
        raise Unsupported(f"its attribute {names} has no C kernel", "export the model without it")
    return made


def _refuse_contradictions(node: Node, graph: Graph, steps: Sequence[Step]) -> None:
    """ONNX's shape inference lets some graphs pass whose shapes cannot be; a view shows that."""
    for step in steps:
        if isinstance(step, Alias) and graph.value(step.input).bytes != graph.value(step.output).bytes:
            sizes = [list(graph.value(name).shape) for name in (step.input, step.output)]
            raise Unsupported(f"it makes {sizes[1]} of {sizes[0]}", "export the model again")


def _with_affordable_tiles(graph: Graph, choices: list[list[tuple[Step, ...]]], smallest: Program) -> Program:
    """For each node the largest tile that makes the arena hardly larger than the smallest tiles need.

    All at once where what lives beside each call leaves room for it; one by one if the plan then grows.
    """
    most = smallest.plan.bytes + smallest.plan.bytes // ALLOWANCE
    spare = _spare_bytes(smallest, most)
    wanted = [
        next((s for s in c if _most_scratch(s) - _most_scratch(c[-1]) <= spare.get(node.name, 0)), c[-1])
        for node, c in zip(graph.nodes, choices, strict=True)
    ]
    program = _program(graph, wanted)
    if program.plan.bytes <= most:
        return program
    best, chosen = smallest, [c[-1] for c in choices]
    for index in [i for i, c in enumerate(choices) if wanted[i] is not c[-1]][:MOST_TRIALS]:
        tried = [*chosen[:index], wanted[index], *chosen[index + 1 :]]
        program = _program(graph, tried)
        if program.plan.bytes <= most:
            best, chosen = program, tried
    return best


def _most_scratch(steps: Sequence[Step]) -> int:
    return max((s.scratch for s in steps if isinstance(s, Call)), default=0)


def _spare_bytes(program: Program, arena: int) -> dict[str, int]:
    """Node name -> bytes of an arena of so many that no block uses while its calls run."""
    live = [0] * len(program.calls)
    for block in program.blocks:
        for span in block.spans:
            for step in range(max(span.first, 0), min(span.last + 1, len(live))):
                live[step] += span.bytes + memory.ALIGNMENT - 1
    spare: dict[str, int] = {}
    for placed, used in zip(program.calls, live, strict=True):
        left = arena - used
        spare[placed.node.name] = min(spare.get(placed.node.name, left), left)
    return spare


def _program(graph: Graph, steps: Sequence[tuple[Step, ...]]) -> Program:
    calls: list[PlacedCall] = []
    aliases: dict[str, str] = {}
    values = dict(graph.values)
    for node, lowered in zip(graph.nodes, steps, strict=True):
        for step in lowered:
            if isinstance(step, Alias):
                aliases[step.output] = aliases.get(step.input, step.input)
                continue
            calls.append(PlacedCall(node, step))
            values |= {
                a.name: a.value for a in step.arguments if isinstance(a, Write) and a.value is not None
            }
    roots = _share(graph, calls, values, aliases)
    blocks = tuple(_blocks(graph, calls, values, roots, aliases))
    return Program(graph, tuple(calls), values, roots, blocks, memory.plan(blocks))


def _share(
    graph: Graph, calls: Sequence[PlacedCall], values: Mapping[str, Value], aliases: Mapping[str, str]
) -> dict[str, str]:
    """Tensor -> root: aliases first, then results that take the place of an input that dies."""
    roots = dict(aliases)
    named: dict[str, list[str]] = {}  # root -> the tensors that have it
    for alias, root in aliases.items():
        named.setdefault(root, []).append(alias)
    last = {
        roots.get(a.name, a.name): i
        for i, c in enumerate(calls)
        for a in c.call.arguments
        if isinstance(a, Read)
    }
    last |= {roots.get(o, o): len(calls) for o in graph.outputs}
    written: set[str] = set()  # by earlier calls: such a tensor (a part of a Concat) is already somewhere
    for index, placed in enumerate(calls):
        for output, source in placed.call.reuse:
            root = roots.get(source, source)
            free = last.get(root) == index and root not in graph.constants and output not in roots
            fits = (
                values[output].bytes <= values[root].bytes
                and values[output].dtype.itemsize <= values[root].dtype.itemsize
            )
            if free and fits and output not in written:
                moved = [output, *named.pop(output, ())]
                roots |= dict.fromkeys(moved, root)
                named.setdefault(root, []).extend(moved)
                last[root] = max(index, last.get(output, index))
                break
        written.update(a.name for a in placed.call.arguments if isinstance(a, Write))
    return roots


def _blocks(
    graph: Graph,
    calls: Sequence[PlacedCall],
    values: Mapping[str, Value],
    roots: Mapping[str, str],
    aliases: Mapping[str, str],
) -> list[Block]:
    """One block for each root tensor and each scratch. Inputs live from the start, outputs to the end.

    An alias lives in the tensor that it is another name of, from when that is written.
    """
    spans: dict[str, tuple[int, int]] = {}

    def use(name: str, step: int) -> None:
        name = aliases.get(name, name)
        if name not in graph.constants:
            first, last = spans.get(name, (step, step))
            spans[name] = (min(first, step), max(last, step))

    for name in graph.inputs:
        use(name, -1)
    blocks: list[Block] = []
    for index, placed in enumerate(calls):
        for position, argument in enumerate(placed.call.arguments):
            if isinstance(argument, Read | Write):
                use(argument.name, index)
            elif isinstance(argument, Scratch) and argument.bytes:
                blocks.append(memory.block(scratch_name(index, position), argument.bytes, index, index))
    for name in graph.outputs:
        use(name, len(calls))
    tenants: dict[str, list[str]] = {}
    for name in spans:
        tenants.setdefault(roots.get(name, name), []).append(name)
    for root, names in tenants.items():
        lives = [memory.Span(*spans[n], max(values[n].bytes, 1)) for n in names]
        alignment = max(memory.ALIGNMENT, *(values[n].dtype.itemsize for n in names))
        blocks.append(Block(root, _timeline(lives), alignment))
    return blocks


def _timeline(lives: Sequence[memory.Span]) -> tuple[memory.Span, ...]:
    """Spans one after another, each as large as the largest tensor that lives in it."""
    edges = sorted({s.first for s in lives} | {s.last + 1 for s in lives})
    made: list[memory.Span] = []
    waiting = sorted(lives, key=lambda s: s.first, reverse=True)
    alive: list[tuple[int, int]] = []  # a heap of (-bytes, last)
    for first, after in pairwise(edges):
        while waiting and waiting[-1].first <= first:
            born = waiting.pop()
            heapq.heappush(alive, (-born.bytes, born.last))
        while alive and alive[0][1] < first:
            heapq.heappop(alive)
        size = -alive[0][0] if alive else 0
        if made and made[-1].bytes == size:
            made[-1] = memory.Span(made[-1].first, after - 1, size)
        elif size:
            made.append(memory.Span(first, after - 1, size))
    return tuple(made)
