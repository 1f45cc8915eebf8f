"""`sprue matrix`: the CI jobs that a change needs, and the workflow files that run them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text
from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.ci.durations import Durations
    from sprue.ci.formats import System
    from sprue.ci.matrix import Runners
    from sprue.ci.matrix_file import MatrixFile
    from sprue.recipe import Recipe

DEFAULT_PUSH = {
    "github": "oci://ghcr.io/${{ github.repository }}",
    "gitlab": "oci://$CI_REGISTRY_IMAGE",
}


@click.command()
@click.argument("recipes", nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "github", "gitlab", "json"]),
    default="table",
    help="For people, or as a CI system reads it.",
)
@click.option("--since", metavar="REV", help="Only what changed between this git revision and now affects.")
@click.option(
    "--max-jobs", type=click.IntRange(1), default=256, help="Group into so many (GitHub's limit: 256)."
)
@click.option(
    "--past",
    type=click.Path(path_type=Path, file_okay=False),
    help="Shard records of an earlier run: balance by their times, too.",
)
@click.option(
    "--runner",
    "runners",
    multiple=True,
    metavar="LABELS=LABELS",
    help="Runners for targets whose file says LABELS, such as linux,x64=ubuntu-24.04; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the JSON to a file.")
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also append a Markdown table to a file.",
)
@click.option(
    "--template", type=click.Choice(["github", "gitlab"]), help="Print a workflow file to start from."
)
@click.option("--push", metavar="URL", help="Of the template: where bundles are published.")
@_options.cache_option
@_options.as_json
def command(
    recipes: tuple[str, ...],
    form: str,
    since: str | None,
    max_jobs: int,
    past: Path | None,
    runners: tuple[str, ...],
    out: Path | None,
    summary: Path | None,
    template: System | None,
    push: str | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Print the CI jobs that build RECIPES: at most 256, balanced by how long recipes took before.

    RECIPES are files, folders of them, or patterns such as 'recipes/*.toml'.
    """
    from sprue.ci import formats
    from sprue.ci.changes import changes_since, head
    from sprue.ci.matrix import matrix
    from sprue.ci.matrix_file import write_matrix

    if template is not None:
        setting = formats.Setting(recipes or ("recipes/",), push or DEFAULT_PUSH[template], runners)
        click.echo(formats.workflow(template, setting), nl=False)
        return
    if not recipes:
        raise click.UsageError("Missing argument 'RECIPES...'.")
    mapping = _runners(runners)
    read = _read(recipes)
    place = read[0].project if read else Path.cwd()
    made = matrix(
        read,
        None if since is None else changes_since(place, since),
        _durations(read, cache, past),
        revision=head(place),
        since=since,
        most=max_jobs,
        runners=mapping,
    )
    if out is not None:
        write_matrix(out, made)
    if summary is not None:
        with summary.open("a", encoding="utf-8") as stream:
            stream.write(formats.summary(made))
    if as_json or form == "json":
        _options.print_json(made.model_dump(mode="json", by_alias=True))
    elif form == "table":
        _print(made)
    else:
        click.echo(formats.github(made) if form == "github" else formats.gitlab(made), nl=False)


def _read(places: tuple[str, ...]) -> list[Recipe]:
    """All recipes but those that are only there to be extended."""
    from sprue.recipe import load_recipe
    from sprue.recipe_files import is_base, recipe_files

    return [load_recipe(path) for path in recipe_files(places) if not is_base(path)]


def _durations(recipes: list[Recipe], cache: Path | None, past: Path | None) -> Durations:
    from sprue.ci.durations import recorded, remembered
    from sprue.ci.shard_file import read_shards

    known = remembered(recipes, _options.open_cache(cache))
    return {**known, **(recorded(read_shards(past).values()) if past is not None else {})}


def _runners(given: tuple[str, ...]) -> Runners:
    found = {}
    for text in given:
        labels, separator, instead = text.partition("=")
        if not separator:
            raise SprueError(
                f"--runner {text}: there is no '='",
                remedy="write, for example, --runner linux,x64=ubuntu-24.04",
            )
        found[frozenset(_labels(labels))] = _labels(instead)
    return found


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.split(",") if label.strip())


def _print(made: MatrixFile) -> None:
    rows = [("job", "runner", "recipes", "expected", "why")]
    for job in made.jobs:
        more = f" (and {len(job.reasons) - 1} more)" if len(job.reasons) > 1 else ""
        expected = _text.seconds(job.seconds or None)
        rows.append((job.name, ",".join(job.runner), str(len(job.recipes)), expected, job.reasons[0] + more))
    if made.jobs:
        click.echo(_text.table(rows, right=(2, 3)) + "\n")
    count, left = len(made.recipes), len(made.unaffected)
    click.echo(
        f"{len(made.jobs)} job{'' if len(made.jobs) == 1 else 's'} for {count} of {count + left} recipes"
        + (", since " + made.since if made.since else "")
    )
