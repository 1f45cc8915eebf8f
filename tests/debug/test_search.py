"""The search by itself, on answers that are known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sprue.debug.search import First, bisect, first_exposed, smallest

NAMES = [f"t{i}" for i in range(40)]


@given(first=st.integers(0, 39))
def test_bisection_finds_the_first_of_faults_that_stay_and_asks_seven_times_at_most(first: int) -> None:
    asked: list[str] = []

    def bad(name: str) -> bool:
        asked.append(name)
        return NAMES.index(name) >= first

    before = NAMES[first - 1] if first else ""
    assert bisect(NAMES, bad) == First(NAMES[first], before, "bisection")
    assert len(asked) <= 7


@given(wrong=st.sets(st.integers(0, 39)))
def test_bisection_always_ends_at_a_bad_tensor_behind_a_good_one(wrong: set[int]) -> None:
    found = bisect(NAMES, lambda name: NAMES.index(name) in wrong)
    assert (found is None) == (39 not in wrong)
    if found is not None:
        index = NAMES.index(found.tensor)
        assert index in wrong
        assert index - 1 not in wrong


def test_looking_at_all_finds_the_first_in_the_order_of_the_graph() -> None:
    assert first_exposed(NAMES, lambda name: name in ("t9", "t30")) == First("t9", "t8", "exposed")
    assert first_exposed(NAMES, lambda _: False) is None


def test_the_smallest_bad_piece_is_the_first_that_is_bad_going_back() -> None:
    edges = {1: ("c",), 2: ("b",), 4: ("a",)}
    assert smallest(lambda n: edges.get(n, ("x",)), lambda takes: takes == ("b",)) == ("b",)


def test_without_a_bad_piece_all_of_the_network_up_to_there_is_the_answer() -> None:
    assert smallest(lambda n: ("x",) if n > 2 else ("b",), lambda _: False) == ("x",)
