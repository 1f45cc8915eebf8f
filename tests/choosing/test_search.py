"""What a search tries: never twice, the same for the same seed, and better than chance."""

from __future__ import annotations

from itertools import product

import pytest

from sprue.choosing.candidates import Space
from sprue.choosing.search import ATTEMPTS, BATCH, Axes, Trial, propose
from sprue.target import load_target
from sprue.variant import Variant

pytest.importorskip("optuna", reason="needs the extra search")

TARGET = load_target("server-cpu")
BUILDS = (("onnxruntime", "float32"), ("onnxruntime", "int8-dynamic"), ("onnxruntime", "int8-static"))
SPACE = Space(
    ("onnxruntime",),
    ("auto",),
    prune=(0.0, 0.1, 0.2, 0.3),
    cluster=(0, 16, 64),
    threads=(1, 2, 4),
    spinning=(False, True),
    optimization=("all", "basic", "off"),
)
AXES = Axes(TARGET, BUILDS, SPACE)  # type: ignore[arg-type]  # the precisions are right
SIZE = 3 * 4 * 3 * 3 * 2 * 3


def cost(variant: Variant) -> float:
    """The best is int8-static with 0.2 pruned and 4 threads: 1."""
    compression, settings = variant.compression, variant.settings
    return (
        1
        + 4 * (variant.precision != "int8-static")
        + 20 * abs(compression.prune - 0.2)
        + 2 * (4 - settings.threads)
        + (compression.cluster != 0)
        + settings.spinning
        + (settings.optimization != "all")
    )


def searched(trials: int, seed: int, axes: Axes = AXES) -> list[Trial]:
    made: list[Trial] = []
    while len(made) < trials and (following := propose(axes, made, seed)):
        made += [Trial(v, cost(v), 0.5, passed=True) for v in following]
    return made


def test_a_search_never_tries_a_variant_twice_and_begins_with_every_build() -> None:
    trials = searched(40, seed=1)
    assert len({t.variant.id for t in trials}) == len(trials) >= 40
    assert [t.variant.id for t in trials[:3]] == [f"{b}-{p}" for b, p in BUILDS]


def test_the_same_history_and_seed_give_the_same_proposals() -> None:
    history = searched(19, seed=1)
    assert propose(AXES, history, seed=1) == propose(AXES, history, seed=1)
    assert len(propose(AXES, history, seed=1)) == BATCH
    assert propose(AXES, history, seed=1) != propose(AXES, history, seed=2)


@pytest.mark.slow
def test_a_search_finds_better_variants_than_as_many_at_random() -> None:
    """The median best cost of five searches, against the exact expectation of as many random draws."""
    tried = 60
    found = sorted(min(t.value for t in searched(tried, seed)) for seed in range(5))[2]
    points = product(BUILDS, *(getattr(SPACE, n) for n in Space.LISTS))
    names = ("build", *Space.LISTS)
    costs = sorted(
        cost(AXES.variant({**dict(zip(names, p, strict=True)), "build": "/".join(p[0])})) for p in points
    )
    assert len(costs) == SIZE
    share = [((SIZE - i) / SIZE) ** tried - ((SIZE - i - 1) / SIZE) ** tried for i in range(SIZE)]
    assert found < sum(c * s for c, s in zip(costs, share, strict=True))


def test_a_small_space_is_searched_whole_and_then_it_ends() -> None:
    axes = Axes(TARGET, BUILDS[:2], Space(("onnxruntime",), ("auto",), threads=(1, 2)))  # type: ignore[arg-type]
    trials = searched(ATTEMPTS, seed=0, axes=axes)
    assert {t.variant.id for t in trials} == {
        f"onnxruntime-{p}{t}" for p in ("float32", "int8-dynamic") for t in ("", "-2threads")
    }


def test_what_breaks_what_is_accepted_is_worse_than_anything_that_holds() -> None:
    variant = AXES.variant({"build": "onnxruntime/float32"})
    held = Trial(variant, 1e12, 0.9, passed=True)
    near, far, broken = (Trial(variant, 1.0, over, passed=False) for over in (1.01, 30.0, None))
    assert held.value < near.value < far.value < broken.value


def test_a_variant_outside_the_lists_teaches_nothing() -> None:
    inside = AXES.variant({"build": "onnxruntime/int8-static", "prune": 0.1})
    assert AXES.point(inside) is not None
    assert AXES.variant(AXES.point(inside) or {}) == inside
    mixed = Variant(TARGET, "onnxruntime", "int8-static", float_layers=("a",))
    assert AXES.point(mixed) is None
