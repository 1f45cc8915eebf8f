"""Which shard has which part of which recipe, and what is wrong with that: pure, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sprue.ci.matrix_file import AffectedRecipe, MatrixFile
from sprue.ci.shard_file import Part, ShardFile


@dataclass(frozen=True)
class Claim:
    """A part, and the job whose record names it."""

    job: str
    part: Part


@dataclass(frozen=True)
class Gathered:
    """A recipe's parts by target, in the recipe's order. `problems`: why they are not all there."""

    recipe: AffectedRecipe
    claims: Mapping[str, Claim]
    problems: tuple[str, ...]


def gather(matrix: MatrixFile, shards: Iterable[ShardFile], place: str) -> list[Gathered]:
    """What the records say of each recipe of the matrix. `place`: where the parts must have been pushed."""
    known = list(shards)
    return [_gathered(matrix, recipe, known, place) for recipe in matrix.recipes]


def strangers(matrix: MatrixFile, shards: Iterable[ShardFile]) -> list[str]:
    """Records of recipes that the matrix does not ask for: left over from another run."""
    asked = {r.name for r in matrix.recipes}
    return [
        f"the record of '{s.job}' names '{part.name}', which this matrix does not build"
        for s in shards
        for part in s.parts
        if part.name not in asked
    ]


def _gathered(matrix: MatrixFile, recipe: AffectedRecipe, shards: list[ShardFile], place: str) -> Gathered:
    claims: dict[str, Claim] = {}
    problems: list[str] = []
    for target in recipe.targets:
        found = [Claim(s.job, p) for s in shards for p in s.parts if _is(p, recipe, target)]
        broken = [
            f"{recipe.name} for {target}: '{s.job}' failed: {f.why}"
            for s in shards
            for f in s.failed
            if f.name == recipe.name and target in f.targets
        ]
        wrong = [
            f"{recipe.name} for {target}: '{claim.job}' is stale: {what}"
            for claim in found
            for what in _stale(matrix, recipe, claim.part)
        ]
        wrong += [
            f"{recipe.name} for {target}: '{s.job}' was pushed to {s.place}, not to {place}"
            for s in shards
            if s.place != place and any(_is(p, recipe, target) for p in s.parts)
        ]
        if len({c.part.bundle for c in found}) > 1:
            jobs = " and ".join(f"'{c.job}'" for c in found)
            wrong.append(f"{recipe.name} for {target}: {jobs} disagree, each has another bundle")
        if not found and not broken:
            names = (j.name for j in matrix.jobs if j.target == target and recipe.path in j.recipes)
            job = next(names, "the matrix has no job for it")
            wrong.append(f"{recipe.name} for {target}: missing, '{job}' left no record of it")
        problems += broken + wrong
        if found:
            claims[target] = found[0]
    return Gathered(recipe, claims, tuple(problems))


def _is(part: Part, recipe: AffectedRecipe, target: str) -> bool:
    return part.name == recipe.name and target in part.targets


def _stale(matrix: MatrixFile, recipe: AffectedRecipe, part: Part) -> Iterator[str]:
    if part.revision != matrix.revision:
        yield f"built from revision {part.revision}, this is {matrix.revision}"
    if part.recipe != recipe.digest:
        yield "built by another state of the recipe"
    if part.version != recipe.version:
        yield f"of version {part.version}, this is {recipe.version}"
