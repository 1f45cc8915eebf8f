"""Operators that exporters write out although TFLite has them: GELU as x / sqrt 2, erf, + 1, * x, * 0.5.

Only the last node of such a group is replaced. Its predecessors stay, and are not written because nothing
needs their results any more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from onnx import NodeProto, helper

from .emit import Array

TOLERANCE = 1e-4
"""Of the constants, which exporters round to float32 or float16."""


def fuse_gelu(nodes: Sequence[NodeProto], constants: Mapping[str, Array]) -> list[NodeProto]:
    """Div(x, sqrt 2) -> Erf -> Add(1) -> Mul(x) -> Mul(0.5), the last two in any order; after: Gelu."""
    source = {o: n for n in nodes for o in n.output}
    readers = Counter(i for n in nodes for i in n.input)
    constants = {**constants, **_scalars(nodes)}
    replaced: dict[int, NodeProto] = {}
    for node in nodes:
        if node.op_type != "Mul" or len(node.input) != 2:
            continue
        x = _gelu_of(_factors(node, source, readers, constants), source, constants)
        if x is not None:
            replaced[id(node)] = helper.make_node("Gelu", [x], list(node.output), node.name)
    return [replaced.get(id(n), n) for n in nodes]


def _scalars(nodes: Sequence[NodeProto]) -> dict[str, Array]:
    """The values of Constant nodes of one element."""
    from onnx import numpy_helper

    found = {}
    for node in nodes:
        for a in node.attribute if node.op_type == "Constant" else ():
            if a.name == "value" and math.prod(a.t.dims) == 1:
                found[node.output[0]] = numpy_helper.to_array(a.t)
    return found


def _factors(
    node: NodeProto, source: Mapping[str, NodeProto], readers: Counter[str], constants: Mapping[str, Array]
) -> list[str]:
    """The three factors of a product of two products; empty when it is none."""
    for first, second in (tuple(node.input), tuple(node.input)[::-1]):
        inner = source.get(first)
        if inner is not None and inner.op_type == "Mul" and readers[first] == 1 and len(inner.input) == 2:
            factors = [*inner.input, second]
            if any(_is(constants, f, 0.5) for f in factors):
                return factors
    return []


def _gelu_of(
    factors: list[str], source: Mapping[str, NodeProto], constants: Mapping[str, Array]
) -> str | None:
    """x, when the factors are 0.5, x and 1 + erf(x / sqrt 2)."""
    others = [f for f in factors if not _is(constants, f, 0.5)]
    if len(factors) != 3 or len(others) != 2:
        return None
    for x, grown in (others, others[::-1]):
        add = source.get(grown)
        if add is None or add.op_type != "Add" or not any(_is(constants, i, 1.0) for i in add.input):
            continue
        erf = next((source[i] for i in add.input if i in source and source[i].op_type == "Erf"), None)
        scaled = source.get(erf.input[0]) if erf is not None else None
        if scaled is not None and _scales(scaled, x, constants):
            return x
    return None


def _scales(node: NodeProto, x: str, constants: Mapping[str, Array]) -> bool:
    """Whether the node is x / sqrt 2."""
    if node.op_type == "Div":
        return node.input[0] == x and _is(constants, node.input[1], math.sqrt(2))
    if node.op_type == "Mul" and x in node.input:
        other = node.input[0] if node.input[1] == x else node.input[1]
        return _is(constants, other, math.sqrt(0.5))
    return False


def _is(constants: Mapping[str, Array], name: str, value: float) -> bool:
    held = constants.get(name)
    return (
        held is not None
        and held.size == 1
        and math.isclose(float(held.reshape(())), value, rel_tol=TOLERANCE)
    )
