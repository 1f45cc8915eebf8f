"""The smallest set of float layers, found by probing: against what trying all of them would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sprue.choosing.mixed import next_count


def probed(layers: int, needed: int) -> dict[int, bool]:
    """All probes of a search in which `needed` layers or more must be in float."""
    passed = {0: False}
    while (count := next_count(layers, passed)) is not None:
        assert count not in passed
        assert 0 < count < layers
        passed[count] = count >= needed
    return passed


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_smallest_number_that_passes_is_found(layers: int, needed: int) -> None:
    passed = probed(layers, needed)
    found = min((n for n, held in passed.items() if held), default=None)
    assert found == (needed if needed < layers else None)


@given(st.integers(2, 10**6), st.data())
def test_few_probes_are_enough(layers: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, layers - 1))
    assert len(probed(layers, needed)) <= 2 * needed.bit_length() + 2


def test_all_layers_in_float_are_no_int8_and_never_asked_for() -> None:
    assert probed(1, 1) == {0: False}
    assert probed(2, 2) == {0: False, 1: False}


@given(st.dictionaries(st.integers(1, 20), st.booleans()))
def test_a_set_that_passes_by_chance_ends_the_search_too(passed: dict[int, bool]) -> None:
    known = {0: False} | passed
    for _ in range(40):
        count = next_count(21, known)
        if count is None:
            return
        assert count not in known
        known[count] = count % 2 == 0
    raise AssertionError("it never ends")
