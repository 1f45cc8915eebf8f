"""Jobs: every unit once, never more than allowed, the load spread, the same answer for the same question."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.ci.jobs import Unit, jobs, split
from sprue.errors import SprueError

SECONDS = st.one_of(st.none(), st.floats(0, 1000))
UNITS = st.dictionaries(
    st.tuples(st.integers(0, 30), st.sampled_from(["a", "b", "c"])), SECONDS, max_size=30
).map(lambda found: [Unit(f"recipes/{n}.toml", target, (target,), (), s) for (n, target), s in found.items()])


@given(UNITS, st.integers(3, 40))
def test_each_unit_is_in_one_job_of_its_target(units: list[Unit], most: int) -> None:
    made = jobs(units, most)
    assert len(made) == min(most, len(units))
    assert sorted((u.target, u.recipe) for j in made for u in j.units) == sorted(
        (u.target, u.recipe) for u in units
    )
    assert all(j.units and {u.target for u in j.units} == {j.target} for j in made)
    for target, mine in groupby(made, key=lambda j: j.target):
        numbers = [(j.shard, j.of) for j in mine]
        assert numbers == [(i + 1, len(numbers)) for i in range(len(numbers))], target


@given(UNITS, st.integers(3, 40), st.integers(0, 60))
def test_the_order_of_the_question_does_not_matter(units: list[Unit], most: int, turn: int) -> None:
    assert jobs(units, most) == jobs([*reversed(units[turn:]), *units[:turn]], most)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40), st.integers(1, 10))
def test_no_part_takes_much_longer_than_it_must(seconds: list[float], count: int) -> None:
    """Graham's bound: no more than a fair share and what is left of the longest unit."""
    units = [Unit(f"{n}.toml", "t", seconds=s) for n, s in enumerate(seconds)]
    loads = [sum(u.seconds or 0.0 for u in part) for part in split(units, count)]
    assert max(loads) <= sum(seconds) / count + max(seconds) * (1 - 1 / count) + 1e-9
    assert sum(loads) == pytest.approx(sum(seconds))


def test_a_thousand_recipes_for_four_targets_are_256_jobs_of_about_one_length() -> None:
    units = [
        Unit(f"recipes/{n:04}.toml", target, seconds=float(factor * (n % 7 + 1)))
        for n in range(1000)
        for target, factor in (("cortex-m4", 1), ("gpu", 5), ("mobile", 2), ("server-cpu", 4))
    ]
    made = jobs(units)
    assert len(made) == 256
    fair = sum(u.seconds or 0.0 for u in units) / 256
    assert max(j.seconds for j in made) < 1.2 * fair
    assert min(j.seconds for j in made) > 0.8 * fair


def test_what_never_ran_counts_as_the_median_of_what_did() -> None:
    units = [Unit(f"{n}.toml", "t", seconds=s) for n, s in enumerate([2.0, 4.0, 100.0, None])]
    assert sorted(j.seconds for j in jobs(units)) == [2.0, 4.0, 4.0, 100.0]
    assert [j.seconds for j in jobs([Unit("a.toml", "t"), Unit("b.toml", "t")])] == [0.0, 0.0]


def test_units_that_cost_nothing_are_spread_too() -> None:
    units = [Unit(f"{n}.toml", "t", seconds=0.0) for n in range(6)]
    assert [len(part) for part in split(units, 3)] == [2, 2, 2]


def test_more_targets_than_jobs_are_refused() -> None:
    with pytest.raises(SprueError, match="3 targets need as many jobs, and at most 2"):
        jobs([Unit("a.toml", target) for target in "xyz"], 2)
