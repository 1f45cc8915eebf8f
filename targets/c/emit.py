"""Program -> C text: `model.c` and `model.h`.

Each call's function is rendered with its shapes and scales baked in; calls whose functions come out the same
share one. The same holds for constants with the same bytes. Only the runtime functions that are mentioned go
in, so nothing is unused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from sprue.border import Border, Edge

from .literals import c_array, c_float, c_type, comment, identifier
from .lower import Program
from .nodes import Array, Flash, Read, Scratch, Value, Write

HERE = Path(__file__).parent
KERNEL = "KERNEL"
"""Stands in a kernel template for the function's name, which is known only when all are rendered."""


@dataclass(frozen=True)
class Constant:
    """An array in flash."""

    symbol: str
    data: Array
    comment: str

    @property
    def declaration(self) -> str:
        return f"{c_type(self.data.dtype)} {self.symbol}[{max(self.data.size, 1)}]"

    @property
    def text(self) -> str:
        return c_array(self.data) if self.data.size else "    0"


@dataclass(frozen=True)
class Port:
    """An input or output of the model as C shows it. `place`: the C expression of its address. `edge`: what
    it is where it became int8.
    """

    name: str
    symbol: str
    value: Value
    place: str
    edge: Edge | None = None

    @property
    def type(self) -> str:
        return c_type(self.value.dtype)


@dataclass(frozen=True)
class Source:
    """The C text, and what is known of it. `constants_bytes`: flash for weights and tables."""

    files: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: int
    constants_bytes: int
    kernels: int
    border: Border | None = None


def emit(program: Program, prefix: str = "model", border: Border | None = None) -> Source:
    """Deterministic: the same program gives the same text. `prefix` begins every public name."""
    taken: set[str] = set()
    functions, names = _functions(program)
    constants, place = _constants(program, prefix, taken)
    calls = []
    for index, placed in enumerate(program.calls):
        arguments = ", ".join(place[index, i] for i in range(len(placed.call.arguments)))
        label = comment(f"{placed.node.name}: {placed.node.op}")
        calls.append({"text": f"{names[index]}({arguments});", "label": label})
    sides = border or Border()
    inputs = _ports(program, program.graph.inputs, prefix, place, sides.inputs)
    outputs = _ports(program, program.graph.outputs, prefix, place, sides.outputs)
    body = "\n".join(functions)
    runtime = runtime_functions(body)
    shared = {
        "prefix": prefix, "guard": prefix.upper(), "inputs": inputs, "outputs": outputs, "plan": program.plan,
        "constants_bytes": sum(c.data.nbytes for c in constants), "arena": max(program.plan.bytes, 8),
        "graph": comment(program.graph.name), "operators": len(program.calls),
    }  # fmt: skip
    files = {
        f"{prefix}.h": render("model.h.j2", shared),
        f"{prefix}.c": render(
            "model.c.j2",
            {**shared, "runtime": runtime, "constants": constants, "functions": functions, "calls": calls},
        ),
    }
    total = int(sum(c.data.nbytes for c in constants))
    whole = border if border is not None and border.int8 else None
    return Source(files, inputs, outputs, max(program.plan.bytes, 8), total, len(functions), whole)


def render(template: str, params: Mapping[str, object]) -> str:
    return environment().get_template(template).render(params)


@cache
def environment() -> jinja2.Environment:
    """C is not HTML, so nothing is escaped; what comes from a model passes `comment` or `c_string`."""
    loader = jinja2.FileSystemLoader([HERE / "templates", HERE / "ops"])
    made = jinja2.Environment(  # noqa: S701  # the text is C
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {"c_float": c_float, "c_string": c_string, "comment": comment}
    return made


def c_string(text: str) -> str:
    """A C string literal of the UTF-8 bytes of `text`."""
    safe = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())
    return '"' + "".join(safe) + '"'


def runtime_functions(text: str) -> list[str]:
    """The files of `runtime/` that `text` mentions, and those that they mention, each after what it needs."""
    found: dict[str, str] = {}

    def visit(mentioning: str) -> None:
        for name in dict.fromkeys(re.findall(r"\bsprue_(\w+)", mentioning)):
            if name in found:
                continue
            body = (HERE / "runtime" / f"{name}.c").read_text(encoding="utf-8")
            found[name] = ""  # keeps a function that mentions itself from being visited again
            visit(body)
            del found[name]
            found[name] = body

    visit(text)
    return list(found.values())


def _functions(program: Program) -> tuple[list[str], list[str]]:
    """The distinct kernel functions, and for each call the name of its own."""
    known: dict[str, str] = {}
    counts: dict[str, int] = {}
    functions, names = [], []
    for placed in program.calls:
        text = _tidy(environment().get_template(placed.call.template).render(placed.call.params))
        if text not in known:
            stem = placed.call.template.split(".")[0]
            counts[stem] = counts.get(stem, 0) + 1
            known[text] = f"{stem}_{counts[stem]}"
            functions.append(text.replace(KERNEL, known[text]))
        names.append(known[text])
    return functions, names


def _tidy(text: str) -> str:
    """Without blank lines at the ends and without trailing blanks, which the templates' branches leave."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line) + "\n"


def _constants(
    program: Program, prefix: str, taken: set[str]
) -> tuple[list[Constant], dict[tuple[int, int], str]]:
    """What lies in flash, and the C expression of every argument: (call, position) -> text."""
    made: list[Constant] = []
    by_bytes: dict[tuple[str, bytes], str] = {}

    def symbol(data: Array, hint: str) -> str:
        key = (data.dtype.name, data.tobytes())
        if key not in by_bytes:
            by_bytes[key] = identifier(hint, taken)
            made.append(Constant(by_bytes[key], data, comment(hint)))
        return by_bytes[key]

    place: dict[tuple[int, int], str] = {}
    for index, placed in enumerate(program.calls):
        for position, argument in enumerate(placed.call.arguments):
            if isinstance(argument, Flash):
                place[index, position] = symbol(argument.data, argument.hint)
            elif isinstance(argument, Scratch):
                place[index, position] = _scratch(program, index, position, argument, prefix)
            else:
                place[index, position] = _tensor(program, argument, prefix, symbol)
    for position, name in enumerate(program.graph.outputs):
        place[-1, position] = _tensor(program, Read(name), prefix, symbol)
    return made, place


def _scratch(program: Program, call: int, position: int, argument: Scratch, prefix: str) -> str:
    offset = program.scratch_offset(call, position) if argument.bytes else 0
    return f"{prefix.upper()}_AT({offset})"


def _tensor(
    program: Program, argument: Read | Write, prefix: str, symbol: Callable[[Array, str], str]
) -> str:
    offset = program.offset(argument.name)
    if offset is not None:
        return f"{prefix.upper()}_AT({offset})"
    root = program.roots.get(argument.name, argument.name)
    return symbol(program.graph.constants[root], f"constant_{root}")


def _ports(
    program: Program, names: tuple[str, ...], prefix: str, place: Mapping[tuple[int, int], str],
    edges: Mapping[str, Edge],
) -> tuple[Port, ...]:  # fmt: skip
    taken: set[str] = set()
    ports = []
    for position, name in enumerate(names):
        offset = program.offset(name)
        where = place[-1, position] if offset is None else f"{prefix.upper()}_AT({offset})"
        edge = edges.get(name)
        edge = None if edge is None or edge.scale is None else edge
        ports.append(Port(name, identifier(name, taken), program.graph.values[name], where, edge))
    return tuple(ports)
