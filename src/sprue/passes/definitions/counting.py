"""TfIdfVectorizer: every pattern held against every place where it may stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sprue.passes.definitions.writer import NotDefined, Writer

MOST = 1 << 20
"""Comparisons; more are refused."""


def tf_idf(w: Writer) -> None:
    """Counts of n-grams in each row, whose numbers may stand some places apart; weighed."""
    shape = w.shape()
    length, rows = shape[-1], math.prod(shape[:-1])
    indexes = w.integers("ngram_indexes", ())
    pool = w.integers("pool_int64s", ())
    if not pool or len(shape) > 2 or w.dtype().name not in ("int32", "int64"):
        raise NotDefined
    mode = w.text("mode", "TF")
    columns = max(indexes) + 1
    given = w.attributes.get("weights") or [1.0] * len(indexes)
    assert isinstance(given, list | tuple)
    weights = np.asarray(given, np.float32)
    x = w.reshape(w.x(), [rows, length])
    total = w.constant(np.zeros((rows, columns)), np.float32)
    seen = 0
    for n, patterns in _patterns(w, pool):
        places, weighs = (v[seen : seen + len(patterns)] for v in (indexes, weights))
        seen += len(patterns)
        if not w.integer("min_gram_length", 1) <= n <= w.integer("max_gram_length", 1) or not len(patterns):
            continue
        chosen = np.zeros((len(patterns), columns), np.float32)
        chosen[range(len(patterns)), places] = weighs if mode == "TFIDF" else 1.0
        for apart in range(1, 2 + (w.integer("max_skip_count", 0) if n > 1 else 0)):
            starts = length - apart * (n - 1)
            if starts > 0:
                found = _found(w, x, patterns, starts, apart, rows)
                total = w.op("Add", total, w.op("MatMul", found, w.constant(chosen)))
    if mode == "IDF":
        there = w.cast(w.op("Greater", total, w.constant(0, np.float32)), np.float32)
        by_column = np.zeros(columns, np.float32)
        by_column[indexes] = weights
        total = w.op("Mul", there, w.constant(by_column))
    w.result(w.reshape(total, [*shape[:-1], columns]))


def _patterns(w: Writer, pool: Sequence[int]) -> list[tuple[int, NDArray[np.int64]]]:
    """How many numbers long, and the patterns of that length, [count, length]."""
    starts = [*w.integers("ngram_counts", ()), len(pool)]
    made = []
    for n, (start, end) in enumerate(pairwise(starts), 1):
        patterns = np.array(pool[start:end], np.int64).reshape(-1, n)
        if len({tuple(p) for p in patterns.tolist()}) < len(patterns):
            raise NotDefined
        made.append((n, patterns))
    return made


def _found(w: Writer, x: str, patterns: NDArray[np.int64], starts: int, apart: int, rows: int) -> str:
    """[rows, patterns]: how often each stands in each row."""
    count, n = patterns.shape
    if rows * starts * count * n > MOST:
        raise NotDefined
    where = np.arange(starts)[:, None] + np.arange(n) * apart
    read = w.reshape(w.gather(x, where, 1), [rows, starts, 1, n])
    equal = w.cast(w.op("Equal", read, w.like(patterns)), np.float32)
    return w.reduce("ReduceSum", w.reduce("ReduceMin", equal, [3], keep=False), [1], keep=False)


DEFINITIONS = {"TfIdfVectorizer": tf_idf}
