"""What the records of the shards say, held against the matrix: no file and no registry is needed for that."""

from __future__ import annotations

from typing import Any

import pytest

from sprue.ci.gather import gather, strangers
from sprue.ci.matrix_file import AffectedRecipe, JobEntry, MatrixFile
from sprue.ci.shard_file import Blob, Failed, Part, ShardFile

PLACE = "oci://host/team"
SHA = "0" * 64


@pytest.fixture
def matrix() -> MatrixFile:
    recipe = AffectedRecipe(
        path="recipes/tiny.toml", name="tiny", version="1.0.0", digest=SHA, targets=["b", "a"], reasons=["x"]
    )
    jobs = [
        JobEntry(
            name=f"{t} 1/1",
            target=t,
            shard=1,
            of=1,
            runner=[],
            recipes=["recipes/tiny.toml"],
            reasons=["x"],
            seconds=0.0,
        )
        for t in ("a", "b")
    ]
    return MatrixFile(
        schema="sprue-matrix/1", revision="now", since=None, jobs=jobs, recipes=[recipe], unaffected=[]
    )


def part(target: str, **others: Any) -> Part:
    blob = Blob(sha256=SHA, size=1)
    known: dict[str, Any] = {
        "name": "tiny",
        "version": "1.0.0",
        "recipe": SHA,
        "revision": "now",
        "targets": [target],
        "bundle": SHA,
        "index": SHA,
        "reference": blob,
        "outputs": {target: blob},
        "toolchain": {},
        "seconds": 1.0,
    }
    return Part(**known | others)


def shard(target: str, *parts: Part, failed: tuple[Failed, ...] = (), place: str = PLACE) -> ShardFile:
    return ShardFile(
        schema="sprue-shard/1",
        target=target,
        shard=1,
        of=1,
        place=place,
        parts=list(parts),
        failed=list(failed),
    )


def test_parts_that_are_all_there_are_in_the_recipe_s_order(matrix: MatrixFile) -> None:
    shards = [shard("a", part("a")), shard("b", part("b"))]
    (found,) = gather(matrix, shards, PLACE)
    assert found.problems == ()
    assert [(target, claim.job) for target, claim in found.claims.items()] == [("b", "b 1/1"), ("a", "a 1/1")]
    assert strangers(matrix, shards) == []


def test_one_part_for_both_targets_will_do(matrix: MatrixFile) -> None:
    (found,) = gather(matrix, [shard("a", part("a", targets=["a", "b"]))], PLACE)
    assert found.problems == ()
    assert set(found.claims) == {"a", "b"}


def test_a_missing_shard_is_named(matrix: MatrixFile) -> None:
    (found,) = gather(matrix, [shard("a", part("a"))], PLACE)
    assert found.problems == ("tiny for b: missing, 'b 1/1' left no record of it",)


def test_a_failed_shard_is_named_with_its_reason(matrix: MatrixFile) -> None:
    failed = Failed(name="tiny", targets=["b"], why="it does not fit")
    (found,) = gather(matrix, [shard("a", part("a")), shard("b", failed=(failed,))], PLACE)
    assert found.problems == ("tiny for b: 'b 1/1' failed: it does not fit",)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"revision": "then"}, "stale: built from revision then, this is now"),
        ({"revision": "now-dirty"}, "stale: built from revision now-dirty, this is now"),
        ({"revision": None}, "stale: built from revision None, this is now"),
        ({"recipe": "1" * 64}, "stale: built by another state of the recipe"),
        ({"version": "1.0.1"}, "stale: of version 1.0.1, this is 1.0.0"),
    ],
)
def test_a_stale_shard_is_named(matrix: MatrixFile, wrong: dict[str, Any], what: str) -> None:
    (found,) = gather(matrix, [shard("a", part("a")), shard("b", part("b", **wrong))], PLACE)
    assert found.problems == (f"tiny for b: 'b 1/1' is {what}",)


def test_two_shards_with_different_bundles_for_one_target_are_named(matrix: MatrixFile) -> None:
    other = part("b", bundle="1" * 64)
    shards = [shard("a", part("a")), shard("b", part("b")), shard("again", other)]
    (found,) = gather(matrix, shards, PLACE)
    assert found.problems == ("tiny for b: 'b 1/1' and 'again 1/1' disagree, each has another bundle",)
    (same,) = gather(matrix, [*shards[:2], shard("again", part("b"))], PLACE)
    assert same.problems == ()


def test_a_part_that_was_pushed_elsewhere_is_named(matrix: MatrixFile) -> None:
    shards = [shard("a", part("a")), shard("b", part("b"), place="oci://host/mine")]
    (found,) = gather(matrix, shards, PLACE)
    assert found.problems == (f"tiny for b: 'b 1/1' was pushed to oci://host/mine, not to {PLACE}",)


def test_a_record_of_another_run_is_named(matrix: MatrixFile) -> None:
    said = strangers(matrix, [shard("a", part("a"), part("a", name="old"))])
    assert said == ["the record of 'a 1/1' names 'old', which this matrix does not build"]
