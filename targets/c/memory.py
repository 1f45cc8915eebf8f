"""Where each tensor lies in the arena: one static block, planned at build time.

A `Block` lives from the step that first writes it to the step that last reads it; blocks that live at the
same time must not overlap. The sum of what lives in one step is a lower bound for any plan. Several orders of
first-fit placement are tried, then placement from both ends, then orders repaired by placing first what stuck
out; the best is kept, which in practice reaches the bound or nearly so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 4
"""Bytes; what the widest load of a 32-bit core needs. Blocks of 8-byte elements ask for 8."""
MOST_REPAIRED = 200
REPAIRS = 24
"""Beyond so many blocks no repairs; below, so many for each order: both keep `check` under a second."""


@dataclass(frozen=True)
class Span:
    """`bytes` of memory needed in the steps first..last, both included."""

    first: int
    last: int
    bytes: int


@dataclass(frozen=True)
class Block:
    """Memory at one address over one or more spans of time, in order; its size may change between them.

    A tensor that takes the place of a larger one is the later span of the same block: what it does not need
    is free for others from then on.
    """

    name: str
    spans: tuple[Span, ...]
    alignment: int = ALIGNMENT

    @property
    def bytes(self) -> int:
        return max(s.bytes for s in self.spans)

    @property
    def first(self) -> int:
        return self.spans[0].first

    @property
    def last(self) -> int:
        return self.spans[-1].last

    def meetings(self, other: Block) -> Iterator[tuple[int, int]]:
        """The bytes of both, for each two spans that share a step."""
        for mine in self.spans:
            for theirs in other.spans:
                if mine.first <= theirs.last and theirs.first <= mine.last:
                    yield mine.bytes, theirs.bytes


def block(name: str, size: int, first: int, last: int, alignment: int = ALIGNMENT) -> Block:
    """A block of one size."""
    return Block(name, (Span(first, last, size),), alignment)


@dataclass(frozen=True)
class Plan:
    """`offsets`: block name -> bytes from the start of the arena. `bound`: no plan needs less."""

    offsets: Mapping[str, int]
    bytes: int
    bound: int


def plan(blocks: Sequence[Block]) -> Plan:
    """The best of several placements. The same blocks give the same plan."""
    bound = lower_bound(blocks)
    best: Mapping[str, int] = {}
    reached = -1
    for offsets in _placements(blocks, bound):
        size = max((_padded(offsets[b.name] + b.bytes) for b in blocks), default=0)
        if reached < 0 or size < reached:
            best, reached = offsets, size
        if reached == bound:
            break
    return Plan(best, max(reached, 0), bound)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _placements(blocks: Sequence[Block], bound: int) -> Iterator[Mapping[str, int]]:
    for key in ORDERS:
        yield _first_fit(sorted(blocks, key=key))
    both = _from_both_ends(sorted(blocks, key=ORDERS[3]), bound)
    if both is not None:
        yield both
    if len(blocks) <= MOST_REPAIRED:
        for key in ORDERS[:4]:
            yield from _repaired(sorted(blocks, key=key))


def _repaired(order: list[Block]) -> Iterator[Mapping[str, int]]:
    """First fit again and again, each time with the block that ends highest moved to the front."""
    for _ in range(REPAIRS):
        offsets = _first_fit(order)
        yield offsets
        worst = max(order, key=lambda b: (offsets[b.name] + b.bytes, b.name))
        order.remove(worst)
        order.insert(0, worst)


def _from_both_ends(blocks: Sequence[Block], capacity: int) -> dict[str, int] | None:
    """In order of first use, in turn at the bottom and at the top of `capacity` bytes; None if that fails.

    A chain, where each tensor lives only until the next one is made, always fits like this.
    """
    placed: list[tuple[int, Block]] = []
    for number, block in enumerate(blocks):
        taken = _taken(block, placed)
        top = (capacity - block.bytes) // block.alignment * block.alignment
        lows = sorted({0, *(_aligned(end, block) for _, end in taken)})
        highs = sorted(
            {top, *(start // block.alignment * block.alignment for start, _ in taken)}, reverse=True
        )
        for offset in lows if number % 2 == 0 else highs:
            if 0 <= offset <= capacity - block.bytes and _clear(offset, taken):
                placed.append((offset, block))
                break
        else:
            return None
    return {block.name: offset for offset, block in placed}


def lower_bound(blocks: Iterable[Block]) -> int:
    """The most bytes that live in any one step."""
    live: dict[int, int] = {}
    for block in blocks:
        for span in block.spans:
            live[span.first] = live.get(span.first, 0) + _padded(span.bytes)
            live[span.last + 1] = live.get(span.last + 1, 0) - _padded(span.bytes)
    total = peak = 0
    for step in sorted(live):
        total += live[step]
        peak = max(peak, total)
    return peak


Order = Callable[[Block], tuple[int | str, ...]]

ORDERS: tuple[Order, ...] = (
    lambda b: (-b.bytes, b.first, b.name),
    lambda b: (-(b.last - b.first), -b.bytes, b.name),
    lambda b: (-b.bytes * (b.last - b.first + 1), b.first, b.name),
    lambda b: (b.first, -b.bytes, b.name),
    lambda b: (-b.last, -b.bytes, b.name),
    lambda b: (b.first, -b.last, b.name),
)
"""By size, by lifetime, by their product, by first use, by last use, by nesting."""


def _first_fit(blocks: Sequence[Block]) -> dict[str, int]:
    """Place each block at the lowest offset where nothing that lives at the same time lies."""
    placed: list[tuple[int, Block]] = []
    for block in blocks:
        taken = _taken(block, placed)
        offsets = sorted({0, *(_aligned(end, block) for _, end in taken)})
        placed.append((next(o for o in offsets if _clear(o, taken)), block))
    return {block.name: offset for offset, block in placed}


def _taken(block: Block, placed: Sequence[tuple[int, Block]]) -> list[tuple[int, int]]:
    """(start, end): offsets strictly between them are closed to `block` by what is placed already.

    A span of `mine` bytes at offset o misses one of `theirs` bytes at p if o + mine <= p or p + theirs <= o.
    """
    return [
        (offset - mine, offset + theirs) for offset, other in placed for mine, theirs in block.meetings(other)
    ]


def _clear(offset: int, taken: Sequence[tuple[int, int]]) -> bool:
    return all(offset <= start or end <= offset for start, end in taken)


def _aligned(offset: int, block: Block) -> int:
    return -(-offset // block.alignment) * block.alignment
