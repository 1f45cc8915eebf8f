"""One random valid graph: from a seed, or from hypothesis, which then also finds the smallest that fails."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from onnx import ModelProto

from . import cells, control, layers, movement, patterns, quantized, sampling, steps
from .growing import MOST_ELEMENTS, NARROW, Arrays, Choose, Growing, Skip, outputs

FAMILIES = (steps, movement, layers, cells, quantized, patterns, sampling, control)
STEPS = tuple(step for family in FAMILIES for step in family.STEPS)
SHAPES = ((1, 3, 6, 5), (1, 4, 4, 4), (1, 2, 7, 3), (1, 1, 5, 5), (1, 7), (1, 12), (1, 5, 6), (1, 4, 3))
OTHERS = ((1, 3), (1, 1), (1,), (1, 1, 4), (1, 2, 3, 3), (1, 1, 2), (1, 3, 2, 2, 2))
OLDEST, COMMON, NEWEST = 7, 13, 28
"""Operator sets: what both lowerings take, and from where on most graphs are."""
MOST_NODES = 24


@dataclass(frozen=True)
class Case:
    """A valid graph, samples for it, and what onnxruntime makes of them without optimisations."""

    model: ModelProto
    feeds: Arrays
    wanted: Arrays

    def batched(self) -> Case | None:
        """The graph with a symbolic batch, and three samples; None where it mixes samples.

        Three at once must be what each gives alone, as everywhere in sprue.
        """
        model = ModelProto()
        model.CopyFrom(self.model)
        for value in model.graph.input:
            if value.type.tensor_type.shape.dim:
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
        each = [self.feeds, {n: np.flip(a) for n, a in self.feeds.items()}, self.feeds]
        if any(a.ndim == 0 for a in self.feeds.values()):
            return None
        feeds = {n: np.concatenate([e[n] for e in each]) for n in self.feeds}
        try:
            made, alone = outputs(model, feeds), [outputs(self.model, e) for e in each]
        except Exception:  # onnxruntime's errors share no base class but Exception
            return None
        if not all(a.shape[:1] == (1,) for a in self.wanted.values()):
            return None
        wanted = {n: np.concatenate([a[n] for a in alone]) for n in self.wanted}
        same = all(
            made[n].shape == a.shape and np.allclose(made[n], a, 1e-5, 1e-6) for n, a in wanted.items()
        )
        finite = all(np.isfinite(a).all() for a in wanted.values())
        return Case(model, feeds, wanted) if same and finite else None


def make(choose: Choose, known: Collection[str] | None = None) -> Case:
    """Raises Skip when nothing came together. `known`: the operators to take, None: all."""
    g = Growing(choose, _opset(choose), known)
    g.input("float32", g.one_of(SHAPES if choose(0, 3) else OTHERS))
    for _ in range(choose(0, 2)):
        shape = g.values["x0"].shape if g.maybe() else g.one_of(OTHERS)
        g.input(g.one_of(("float32", "int64", "int32", "bool") if g.choose(0, 4) else NARROW), shape)
    for _ in range(choose(1, 14)):
        try:
            g.one_of(STEPS)(g)
        except Skip:
            continue
        if len(g.nodes) >= MOST_NODES or max(v.size for v in g.values.values()) > MOST_ELEMENTS:
            break
    if not g.nodes:
        raise Skip
    model = g.model()
    feeds = {v.name: g.values[v.name] for v in model.graph.input}
    try:
        return Case(model, feeds, {n: np.array(v) for n, v in outputs(model, feeds).items()})
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise Skip from error


def _opset(choose: Choose) -> int:
    kind = choose(0, 7)
    return NEWEST if kind == 1 else choose(COMMON, NEWEST) if kind else choose(OLDEST, COMMON - 1)


def from_seed(seed: int, known: Collection[str]) -> Case:
    """The graph of a seed; where none comes together, of numbers that follow.

    One graph in ten has operators that are not known, too: they are to be refused.
    """
    numbers = random.Random(seed)
    while True:
        try:
            return make(numbers.randint, known if seed % 10 else None)
        except Skip:
            continue


@st.composite
def cases(draw: st.DrawFn, known: Collection[str]) -> Case:
    def choose(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    try:
        return make(choose, known)
    except Skip:
        assume(False)
        raise
