"""`sprue build` as a CI job: which recipes are this shard's, and what it leaves behind for `sprue seal`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sprue.cli import _registry
from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.build import Build
    from sprue.engine.cache import Cache

Result = TypeVar("Result")


@dataclass(frozen=True)
class Shard:
    """`number` of `of`; 1 of 1 for all. `push`: where to; "" for nowhere."""

    number: int
    of: int
    matrix: Path | None
    push: str
    folder: Path

    def refuse_without_bundles(self, *, no_freeze: bool, dry_run: bool) -> None:
        """Raises SprueError when there would be nothing to push."""
        if self.push and (no_freeze or dry_run):
            option = "--no-freeze" if no_freeze else "--dry-run"
            raise SprueError(f"--push needs bundles, and {option} makes none", remedy="leave one of them out")

    def refuse_nowhere(self) -> None:
        """Raises CheckError when `push` is a folder that is not there: said before anything is built."""
        if self.push and "://" not in self.push:
            with _registry.opened(f"{self.push}/any", bar=False) as registry:
                registry.resolve("any")

    def recipes(self, places: tuple[str, ...], targets: tuple[str, ...]) -> list[Path]:
        """The recipes of this shard: those that the matrix gives it, or its part of those that were named."""
        from sprue.recipe_files import is_base, recipe_files

        if self.matrix is not None:
            from sprue.ci.matrix_file import read_matrix

            if places or len(targets) != 1:
                raise SprueError(
                    "with --matrix the job is named by one --target and --only-shard",
                    remedy="sprue build --matrix matrix.json --target T --only-shard i/n",
                )
            return [Path(p) for p in read_matrix(self.matrix).job(targets[0], self.number, self.of).recipes]
        if not places:
            raise click.UsageError("Missing argument 'RECIPES...'.")
        files = recipe_files(places)
        return files if self.of == 1 else [f for f in files if not is_base(f)][self.number - 1 :: self.of]

    def leave(
        self,
        built: Sequence[Build],
        summaries: Mapping[Path, dict[str, Any]],
        targets: tuple[str, ...],
        cache: Cache,
    ) -> None:
        """Push what was built, and write the record, of failures too. Raises CheckError."""
        if not self.push:
            return
        from sprue.ci.shard import Job, push_shard
        from sprue.ci.shard_file import write_shard

        job = Job(targets, self.number, self.of)
        connect = functools.partial(_registry.opened, bar=False)
        record = push_shard(job, built, summaries, cache, self.push, connect)
        path = write_shard(self.folder, record)
        click.echo(
            f"{len(record.parts)} of {len(summaries)} parts pushed to {self.push}; record: {path}", err=True
        )


def options(run: Callable[..., Result]) -> Callable[..., Result]:
    """Adds the options of a CI job to a command, which gets them as one `shard`."""

    @click.option("--only-shard", metavar="i/n", default="1/1", help="Build only this part of the recipes.")
    @click.option(
        "--matrix",
        type=click.Path(path_type=Path, dir_okay=False),
        help="What `sprue matrix --out` wrote: which recipes each shard of a target has.",
    )
    @click.option(
        "--push", metavar="URL", default="", help="Push by digest what was built, for `sprue seal`."
    )
    @click.option(
        "--shards",
        type=click.Path(path_type=Path, file_okay=False),
        default="shards",
        show_default=True,
        help="Where the record of what was pushed goes.",
    )
    @functools.wraps(run)
    def with_shard(
        *args: Any, only_shard: str, matrix: Path | None, push: str, shards: Path, **options: Any
    ) -> Result:
        number, of = _parse(only_shard)
        return run(*args, shard=Shard(number, of, matrix, push.rstrip("/"), shards), **options)

    return with_shard


def _parse(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise SprueError(
        f"--only-shard {text}: no part of a whole", remedy="write, for example, --only-shard 2/5"
    )
