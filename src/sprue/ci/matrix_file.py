"""matrix.json: the jobs, and what must be there in the end. `sprue schema matrix` is its JSON Schema.

It travels from the job that made it to all others: they build what it says, and `sprue seal` holds what they
left behind against it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from sprue.bundle.manifest import Name, Sha256, Strict
from sprue.ci.json_file import read_json, write_json
from sprue.errors import SprueError, did_you_mean

SCHEMA: Final = "sprue-matrix/1"


class AffectedRecipe(Strict):
    """`digest`: the sha256 of the effective recipe. `reasons`: why it must be built."""

    path: str
    name: Name
    version: str
    digest: Sha256
    targets: list[Name] = Field(min_length=1)
    reasons: list[str]


class JobEntry(Strict):
    """`recipes`: the paths of those that it builds for `target`. `seconds`: expected; 0: not known."""

    name: str
    target: Name
    shard: int = Field(ge=1)
    of: int = Field(ge=1)
    runner: list[str]
    recipes: list[str] = Field(min_length=1)
    reasons: list[str]
    seconds: float = Field(ge=0, allow_inf_nan=False)


class MatrixFile(Strict):
    """`revision`: the commit that is built; null outside of a checkout. `unaffected`: recipes left out."""

    schema_: Literal["sprue-matrix/1"] = Field(alias="schema")
    revision: str | None
    since: str | None
    jobs: list[JobEntry]
    recipes: list[AffectedRecipe]
    unaffected: list[str]

    def job(self, target: str, shard: int, of: int) -> JobEntry:
        """Raises SprueError when there is no such job."""
        wanted = f"{target} {shard}/{of}"
        for job in self.jobs:
            if job.name == wanted:
                return job
        raise SprueError(
            f"the matrix has no job '{wanted}'", remedy=did_you_mean(wanted, [j.name for j in self.jobs])
        )


def write_matrix(path: Path, matrix: MatrixFile) -> None:
    write_json(path, matrix)


def read_matrix(path: Path) -> MatrixFile:
    """Raises SprueError for what `sprue matrix` did not write."""
    try:
        return read_json(MatrixFile, path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SprueError(
            f"no matrix: {why}", where=str(path), remedy="sprue matrix recipes/ --out matrix.json"
        ) from error
