"""Where each tensor lies in the arena: one static block, planned at build time.

A `Block` lives from the step that first writes it to the step that last reads it. Blocks that live at the
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
class Block:
    """`bytes` of memory needed in the steps first..last, both included."""

    name: str
    bytes: int
    first: int
    last: int
    alignment: int = ALIGNMENT

    @property
    def padded(self) -> int:
        return -(-self.bytes // self.alignment) * self.alignment

    def meets(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """`offsets`: block name -> bytes from the start of the arena. `bound`: no plan needs less."""

    offsets: Mapping[str, int]
    bytes: int
    bound: int


def plan(blocks: Sequence[Block]) -> Plan:
    """The best of several first-fit orders. The same blocks give the same plan."""
    bound = lower_bound(blocks)
    best: Mapping[str, int] = {}
    reached = -1
    for offsets in _placements(blocks, bound):
        size = max((offsets[b.name] + b.padded for b in blocks), default=0)
        if reached < 0 or size < reached:
            best, reached = offsets, size
        if reached == bound:
            break
    return Plan(best, max(reached, 0), bound)


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
        worst = max(order, key=lambda b: (offsets[b.name] + b.padded, b.name))
        order.remove(worst)
        order.insert(0, worst)


def _from_both_ends(blocks: Sequence[Block], capacity: int) -> dict[str, int] | None:
    """In order of first use, in turn at the bottom and at the top of `capacity` bytes; None if that fails.

    A chain, where each tensor lives only until the next one is made, always fits like this.
    """
    placed: list[tuple[int, Block]] = []
    for number, block in enumerate(blocks):
        taken = [(o, o + p.padded) for o, p in placed if p.meets(block)]
        top = (capacity - block.bytes) // block.alignment * block.alignment
        ends = [0, *(-(-end // block.alignment) * block.alignment for _, end in taken)]
        starts = [top, *((start - block.padded) // block.alignment * block.alignment for start, _ in taken)]
        for offset in sorted(ends) if number % 2 == 0 else sorted(starts, reverse=True):
            clear = all(offset + block.padded <= start or end <= offset for start, end in taken)
            if clear and 0 <= offset <= capacity - block.padded:
                placed.append((offset, block))
                break
        else:
            return None
    return {block.name: offset for offset, block in placed}


def lower_bound(blocks: Iterable[Block]) -> int:
    """The most bytes that live in any one step."""
    live: dict[int, int] = {}
    for block in blocks:
        live[block.first] = live.get(block.first, 0) + block.padded
        live[block.last + 1] = live.get(block.last + 1, 0) - block.padded
    total = peak = 0
    for step in sorted(live):
        total += live[step]
        peak = max(peak, total)
    return peak


Order = Callable[[Block], tuple[int | str, ...]]

ORDERS: tuple[Order, ...] = (
    lambda b: (-b.padded, b.first, b.name),
    lambda b: (-(b.last - b.first), -b.padded, b.name),
    lambda b: (-b.padded * (b.last - b.first + 1), b.first, b.name),
    lambda b: (b.first, -b.padded, b.name),
    lambda b: (-b.last, -b.padded, b.name),
    lambda b: (b.first, -b.last, b.name),
)
"""By size, by lifetime, by their product, by first use, by last use, by nesting."""


def _first_fit(blocks: Sequence[Block]) -> dict[str, int]:
    """Place each block at the lowest offset where nothing that lives at the same time lies."""
    placed: list[tuple[int, Block]] = []
    for block in blocks:
        offset = 0
        for other_offset, other in sorted(
            ((o, p) for o, p in placed if p.meets(block)), key=lambda item: (item[0], item[1].name)
        ):
            if offset + block.padded <= other_offset:
                break
            end = other_offset + other.padded
            offset = max(offset, -(-end // block.alignment) * block.alignment)
        placed.append((offset, block))
    return {block.name: offset for offset, block in placed}
