"""Einsum: one operand after the other, each pair by MatMul over the letters that vanish."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer


@dataclass(frozen=True)
class Term:
    """A value whose axes are called by the letters of `axes`."""

    value: str
    axes: str
    sizes: dict[str, int]

    def shape(self, axes: str) -> list[int]:
        return [self.sizes[a] for a in axes]


def einsum(w: Writer) -> None:
    inputs, output = _letters(w)
    terms = [_diagonal(w, i, axes) for i, axes in enumerate(inputs)]
    sizes: dict[str, int] = {}
    for term in terms:
        for axis, size in term.sizes.items():
            if sizes.setdefault(axis, size) != size:
                raise NotDefined  # broadcast
    for i, term in enumerate(terms):
        alone = "".join(a for a in term.axes if a not in output and not _elsewhere(a, terms, i))
        terms[i] = _without(w, term, alone)
    made = terms[0]
    for i, term in enumerate(terms[1:], 1):
        later = output + "".join(t.axes for t in terms[i + 1 :])
        made = _product(w, made, term, later)
    if sorted(made.axes) != sorted(output):
        raise NotDefined
    w.result(w.transpose(made.value, [made.axes.index(a) for a in output]))


def _letters(w: Writer) -> tuple[list[str], str]:
    """The equation with every axis named: `...` becomes capital letters that it does not use."""
    equation = w.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(w.node.input):
        raise NotDefined
    free = [c for c in string.ascii_uppercase if c not in equation]
    ranks = [len(w.shape(i)) - len(t.replace("...", "")) for i, t in enumerate(inputs) if "..." in t]
    most = max(ranks, default=0)
    if most > len(free):
        raise NotDefined
    named = "".join(free[:most])
    made = []
    for i, term in enumerate(inputs):
        count = len(w.shape(i)) - len(term.replace("...", ""))
        if count < 0 or (count and "..." not in term):
            raise NotDefined
        made.append(term.replace("...", named[most - count :]))
    if not arrow:
        whole = "".join(made)
        once = sorted(c for c in set(whole) if whole.count(c) == 1 and c not in named)
        return made, named + "".join(once)
    return made, right.replace("...", named)


def _diagonal(w: Writer, position: int, axes: str) -> Term:
    """A term in which every letter stands once: axes with the same letter are walked together."""
    value, shape = w.x(position), list(w.shape(position))
    for letter in sorted({a for a in axes if axes.count(a) > 1}):
        while axes.count(letter) > 1:
            first = axes.index(letter)
            second = axes.index(letter, first + 1)
            size = shape[first]
            if shape[second] != size:
                raise NotDefined
            rest = [i for i in range(len(axes)) if i not in (first, second)]
            value = w.transpose(value, [first, second, *rest])
            axes = letter + "".join(axes[i] for i in rest)
            shape = [size, *(shape[i] for i in rest)]
            value = w.gather(w.reshape(value, [size * size, *shape[1:]]), np.arange(size) * (size + 1), 0)
    return Term(value, axes, dict(zip(axes, shape, strict=True)))


def _elsewhere(axis: str, terms: list[Term], position: int) -> bool:
    return any(axis in t.axes for i, t in enumerate(terms) if i != position)


def _without(w: Writer, term: Term, gone: str) -> Term:
    if not gone:
        return term
    value = w.reduce("ReduceSum", term.value, [term.axes.index(a) for a in gone], keep=False)
    axes = "".join(a for a in term.axes if a not in gone)
    return Term(value, axes, {a: term.sizes[a] for a in axes})


def _product(w: Writer, a: Term, b: Term, later: str) -> Term:
    """[batch, rows, depth] x [batch, depth, columns]; `later`: the letters that are needed afterwards."""
    both = [x for x in a.axes if x in b.axes]
    batch = "".join(x for x in both if x in later)
    depth = "".join(x for x in both if x not in later)
    rows = "".join(x for x in a.axes if x not in both)
    columns = "".join(x for x in b.axes if x not in both)
    sizes = {**a.sizes, **b.sizes}

    def laid(term: Term, *groups: str) -> str:
        turned = w.transpose(term.value, [term.axes.index(x) for x in "".join(groups)])
        return w.reshape(turned, [math.prod(term.shape(g)) for g in groups])

    made = w.op("MatMul", laid(a, batch, rows, depth), laid(b, batch, depth, columns))
    axes = batch + rows + columns
    value = w.reshape(made, [sizes[x] for x in axes])
    return Term(value, axes, {x: sizes[x] for x in axes})


DEFINITIONS = {"Einsum": einsum}
