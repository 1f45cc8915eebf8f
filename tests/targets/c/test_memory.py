"""The arena planner: what every plan must hold, for any lifetimes."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from sprue.targets.c.memory import Block, lower_bound, plan


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    made = []
    for index in range(draw(st.integers(0, 14))):
        first = draw(st.integers(-1, 12))
        alignment = draw(st.sampled_from([4, 8]))
        size = draw(st.integers(1, 400))
        made.append(Block(f"b{index}", size, first, first + draw(st.integers(0, 6)), alignment))
    return made


@given(blocks())
@settings(max_examples=200, deadline=None)
def test_blocks_that_live_at_the_same_time_do_not_overlap(tensors: list[Block]) -> None:
    made = plan(tensors)
    for a, b in itertools.combinations(tensors, 2):
        if a.meets(b):
            one, other = made.offsets[a.name], made.offsets[b.name]
            assert one + a.bytes <= other or other + b.bytes <= one


@given(blocks())
@settings(max_examples=200, deadline=None)
def test_a_plan_holds_every_block_aligned_and_is_no_smaller_than_the_bound(tensors: list[Block]) -> None:
    made = plan(tensors)
    assert made.bytes >= made.bound == lower_bound(tensors)
    assert set(made.offsets) == {b.name for b in tensors}
    for block in tensors:
        offset = made.offsets[block.name]
        assert offset % block.alignment == 0
        assert offset + block.bytes <= made.bytes


@given(blocks(), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_in_which_blocks_are_given_does_not_matter(tensors: list[Block], random: object) -> None:
    mixed = list(tensors)
    random.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert plan(mixed) == plan(tensors)


def test_the_bound_is_the_most_that_lives_in_one_step() -> None:
    assert lower_bound([Block("a", 100, 0, 1), Block("b", 50, 1, 2), Block("c", 60, 2, 3)]) == 152


def test_a_chain_of_two_buffers_reaches_the_bound() -> None:
    chain = [Block(f"t{i}", 100 * (1 + i % 3), i, i + 1) for i in range(9)]
    made = plan(chain)
    assert made.bytes == made.bound
