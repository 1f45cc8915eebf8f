"""The arena planner: what every plan must hold, for any lifetimes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from sprue.targets.c.memory import Block, Span, block, lower_bound, plan


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    made = []
    for index in range(draw(st.integers(0, 14))):
        step = draw(st.integers(-1, 12))
        spans = []
        for _ in range(draw(st.integers(1, 3))):
            last = step + draw(st.integers(0, 4))
            spans.append(Span(step, last, draw(st.integers(1, 400))))
            step = last + 1
        made.append(Block(f"b{index}", tuple(spans), draw(st.sampled_from([4, 8]))))
    return made


def overlap(a: Block, b: Block, offsets: Mapping[str, int]) -> bool:
    """Whether any byte belongs to both in any step. Written out step by step, unlike the planner."""
    for one, other in itertools.product(a.spans, b.spans):
        steps = set(range(one.first, one.last + 1)) & set(range(other.first, other.last + 1))
        start, begin = offsets[a.name], offsets[b.name]
        if steps and max(start, begin) < min(start + one.bytes, begin + other.bytes):
            return True
    return False


@given(blocks())
@settings(max_examples=60, deadline=None)
def test_blocks_that_live_at_the_same_time_do_not_overlap(tensors: list[Block]) -> None:
    made = plan(tensors)
    for a, b in itertools.combinations(tensors, 2):
        assert not overlap(a, b, made.offsets)


@given(blocks())
@settings(max_examples=60, deadline=None)
def test_a_plan_holds_every_block_aligned_and_is_no_smaller_than_the_bound(tensors: list[Block]) -> None:
    made = plan(tensors)
    assert made.bytes >= made.bound == lower_bound(tensors)
    assert set(made.offsets) == {b.name for b in tensors}
    for tensor in tensors:
        offset = made.offsets[tensor.name]
        assert offset % tensor.alignment == 0
        assert offset + tensor.bytes <= made.bytes


@given(blocks(), st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_order_in_which_blocks_are_given_does_not_matter(tensors: list[Block], random: object) -> None:
    mixed = list(tensors)
    random.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert plan(mixed) == plan(tensors)


def test_the_bound_is_the_most_that_lives_in_one_step() -> None:
    assert lower_bound([block("a", 100, 0, 1), block("b", 50, 1, 2), block("c", 60, 2, 3)]) == 152


def test_a_chain_of_two_buffers_reaches_the_bound() -> None:
    chain = [block(f"t{i}", 100 * (1 + i % 3), i, i + 1) for i in range(9)]
    made = plan(chain)
    assert made.bytes == made.bound


def test_what_a_smaller_successor_does_not_need_is_free_for_others() -> None:
    shrinks = Block("picture", (Span(0, 1, 400), Span(2, 4, 100)))
    made = plan([shrinks, block("features", 300, 2, 4)])
    assert made.bytes == made.bound == 400
