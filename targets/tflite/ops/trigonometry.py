"""Trigonometric and hyperbolic functions, by the few that TFLite has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..emit import Tensor
from ..layout import Graph, Laid
from ..registry import Node, lowers
from .elementwise import operands


def _one(g: Graph) -> Tensor:
    return g.constant(1.0, np.float32)


def _cathetus(g: Graph, x: Tensor) -> Tensor:
    """sqrt((1 - x) (1 + x)), which keeps its digits near |x| = 1."""
    return g.unary("SQRT", g.mul(g.sub(_one(g), x), g.add(x, 1.0)))


def _atan2(g: Graph, y: Tensor, x: Tensor) -> Tensor:
    return g.binary("ATAN2", y, g.broadcast(x, y.shape))


def _exponentials(g: Graph, x: Tensor) -> tuple[Tensor, Tensor]:
    return g.mul(g.unary("EXP", x), 0.5), g.mul(g.unary("EXP", g.unary("NEG", x)), 0.5)


def _asinh(g: Graph, x: Tensor) -> Tensor:
    size = g.unary("ABS", x)
    grown = g.add(size, g.unary("SQRT", g.add(g.mul(size, size), 1.0)))
    return g.mul(g.unary("SIGN", x), g.unary("LOG", grown))


def _acosh(g: Graph, x: Tensor) -> Tensor:
    root = g.unary("SQRT", g.mul(g.sub(x, 1.0), g.add(x, 1.0)))
    return g.unary("LOG", g.add(x, root))


def _atanh(g: Graph, x: Tensor) -> Tensor:
    return g.mul(g.unary("LOG", g.div(g.add(x, 1.0), g.sub(_one(g), x))), 0.5)


FUNCTIONS: dict[str, Callable[[Graph, Tensor], Tensor]] = {
    "Tan": lambda g, x: g.div(g.unary("SIN", x), g.unary("COS", x)),
    "Atan": lambda g, x: _atan2(g, x, _one(g)),
    "Asin": lambda g, x: _atan2(g, x, _cathetus(g, x)),
    "Acos": lambda g, x: _atan2(g, _cathetus(g, x), x),
    "Sinh": lambda g, x: g.sub(*_exponentials(g, x)),
    "Cosh": lambda g, x: g.add(*_exponentials(g, x)),
    "Asinh": _asinh,
    "Acosh": _acosh,
    "Atanh": _atanh,
}


@lowers(*FUNCTIONS)
def function(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], frozenset({"float32"}))
    return g.cast(FUNCTIONS[node.op](g, x), node.input(0).dtype), perm
