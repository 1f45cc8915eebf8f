"""The matrix: (recipes, changes, durations) -> what must be built, in which jobs, and why; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sprue.canonical import canonical, digest
from sprue.ci.affected import reasons
from sprue.ci.changes import Changes
from sprue.ci.durations import Durations
from sprue.ci.jobs import MOST_JOBS, Job, Unit, jobs
from sprue.ci.matrix_file import SCHEMA, AffectedRecipe, JobEntry, MatrixFile
from sprue.errors import SprueError
from sprue.evidence import effective
from sprue.recipe import Recipe

ALL = "every recipe is built"

Runners = Mapping[frozenset[str], tuple[str, ...]]
"""The labels in a target's file -> the labels of the runners that one has."""


def matrix(
    recipes: Sequence[Recipe],
    changes: Changes | None,
    durations: Durations,
    *,
    revision: str | None = None,
    since: str | None = None,
    most: int = MOST_JOBS,
    runners: Runners | None = None,
) -> MatrixFile:
    """The jobs for the recipes that `changes` affect; for all without. At most `most` of them.

    Raises SprueError when two recipes go by one name, or when there are more targets than jobs.
    """
    _refuse_same_names(recipes)
    why = {r.path: (ALL,) if changes is None else reasons(r, changes) for r in recipes}
    affected = [r for r in recipes if why[r.path]]
    units = [u for r in affected for u in _units(r, why[r.path], durations, runners or {})]
    return MatrixFile(
        schema=SCHEMA,
        revision=revision,
        since=since,
        jobs=[_entry(job) for job in jobs(units, most)] if units else [],
        recipes=[_recipe(r, why[r.path]) for r in affected],
        unaffected=[r.path.as_posix() for r in recipes if not why[r.path]],
    )


def _units(recipe: Recipe, why: tuple[str, ...], durations: Durations, runners: Runners) -> list[Unit]:
    made = []
    for target in (c.target for c in recipe.choices):
        runner = runners.get(frozenset(target.runner), target.runner)
        seconds = durations.get((recipe.name, target.id))
        made.append(Unit(recipe.path.as_posix(), target.id, runner, why, seconds))
    return made


def _entry(job: Job) -> JobEntry:
    return JobEntry(
        name=job.name,
        target=job.target,
        shard=job.shard,
        of=job.of,
        runner=list(job.runner),
        recipes=[u.recipe for u in job.units],
        reasons=list(dict.fromkeys(reason for u in job.units for reason in u.reasons)),
        seconds=job.seconds,
    )


def _recipe(recipe: Recipe, why: tuple[str, ...]) -> AffectedRecipe:
    return AffectedRecipe(
        path=recipe.path.as_posix(),
        name=recipe.name,
        version=recipe.version,
        digest=digest(canonical(effective(recipe))),
        targets=[c.target.id for c in recipe.choices],
        reasons=list(why),
    )


def _refuse_same_names(recipes: Sequence[Recipe]) -> None:
    known: dict[str, Path] = {}
    for recipe in recipes:
        if known.setdefault(recipe.name, recipe.path) != recipe.path:
            raise SprueError(
                f"'{recipe.name}' is also the name of {known[recipe.name]}",
                where=str(recipe.path),
                remedy="rename one of the two",
            )
