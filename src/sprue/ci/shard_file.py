"""The record that a job leaves behind: what it built and pushed, by digest, and what it could not build.

It names bytes and holds none, so whoever changes a record can at most make sealing fail: everything that it
names is hashed when it is fetched, and held against the recipe, the revision and the other parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from sprue.bundle.manifest import Name, Sha256, Strict
from sprue.ci.json_file import read_json, write_json
from sprue.errors import CheckError, SprueError

SCHEMA: Final = "sprue-shard/1"
MAX_OUTPUTS = 4 * 2**30
"""Bytes of one artifact's outputs, as `data.read_arrays` takes."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Blob(Strict):
    """A file that was pushed by its digest. `size` in bytes."""

    sha256: Sha256
    size: int = Field(ge=0, le=MAX_OUTPUTS)


class Part(Strict):
    """A recipe built for some of its targets: a bundle of its own, and the outputs that parity compares.

    `bundle`: its id. `index`: the sha256 of the OCI index that it was pushed as. `recipe`: of the effective
    recipe. `reference`, `outputs`: the .npz files that the float model and each target's kept artifact
    answered with. `seconds`: what all its actions took, cached ones when they last ran.
    """

    name: Name
    version: str
    recipe: Sha256
    revision: str | None
    targets: list[Name] = Field(min_length=1)
    bundle: Sha256
    index: Sha256
    reference: Blob
    outputs: dict[Name, Blob]
    toolchain: dict[str, str]
    seconds: Seconds


class Failed(Strict):
    """A recipe that could not be built for these targets, and why."""

    name: Name
    targets: list[str]
    why: str


class ShardFile(Strict):
    """`target`, `shard`, `of`: which job it was; `place`: where its files were pushed."""

    schema_: Literal["sprue-shard/1"] = Field(alias="schema")
    target: str
    shard: int = Field(ge=1)
    of: int = Field(ge=1)
    place: str
    parts: list[Part]
    failed: list[Failed]

    @property
    def job(self) -> str:
        return f"{self.target} {self.shard}/{self.of}"

    @property
    def file_name(self) -> str:
        return f"{self.target or 'all'}-{self.shard}-of-{self.of}.json"


def write_shard(folder: Path, shard: ShardFile) -> Path:
    path = folder / shard.file_name
    write_json(path, shard)
    return path


def read_shards(folder: Path) -> dict[Path, ShardFile]:
    """All records in `folder` and the folders in it, by path. Raises CheckError for what is none."""
    if not folder.is_dir():
        remedy = "it holds the records that `sprue build --push` writes, one for each job of the matrix"
        raise SprueError("there is no such folder", where=str(folder), remedy=remedy)
    return {path: _read(path) for path in sorted(folder.rglob("*.json"))}


def _read(path: Path) -> ShardFile:
    try:
        return read_json(ShardFile, path)
    except (OSError, ValueError) as error:
        raise CheckError(
            f"no record of a shard: {error}", where=str(path), remedy="run that job again, with this sprue"
        ) from error
