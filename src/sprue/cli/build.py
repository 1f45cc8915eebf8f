"""`sprue build`: build, verify, measure, select, freeze."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sprue.cli import _options, _report
from sprue.cli._progress import progress
from sprue.errors import CheckError, SprueError

if TYPE_CHECKING:
    from sprue.build import Build
    from sprue.engine.cache import Cache
    from sprue.plan import Plan


@click.command()
@_options.recipes_argument
@_options.targets
@_options.variants
@click.option("--jobs", "-j", type=click.IntRange(1, 256), help="Worker processes (default: one per core).")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=600.0, help="Seconds for one action.")
@click.option("--keep-going/--fail-fast", default=True, help="After a failure, build what does not need it.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and for how long; run nothing.")
@click.option("--no-freeze", is_flag=True, help="Build and prove, but make no bundle.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write a trace for Perfetto.")
@_options.cache_option
@_options.store_option
@_options.as_json
def command(
    recipes: tuple[str, ...],
    only_targets: tuple[str, ...],
    only_variants: tuple[str, ...],
    jobs: int | None,
    timeout: float,
    keep_going: bool,
    dry_run: bool,
    no_freeze: bool,
    trace: Path | None,
    cache: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build recipes for their targets, prove what comes out, and freeze it into bundles.

    RECIPES are files, folders of them, or patterns such as 'recipes/*.toml'.
    """
    from sprue.build import build
    from sprue.engine.pool import Pool
    from sprue.machine import cores
    from sprue.recipe import recipe_files
    from sprue.summary import counts

    started = time.perf_counter()
    plans, summaries = _plans(recipe_files(recipes), only_targets, only_variants, timeout, keep_going)
    opened = _options.open_cache(cache)
    if dry_run:
        from sprue.cli.explain import print_forecasts

        print_forecasts([a for made in plans for a in made.actions], opened, as_json)
        return
    workers = jobs or cores()
    with (
        progress(opened, as_json=as_json, trace=trace) as listen,
        Pool(workers, max(1, cores() // workers)) as pool,
    ):
        built = build(plans, opened, pool, listen=listen, fail_fast=not keep_going)
    summaries += [_frozen(b, opened, store, freeze=not no_freeze) for b in built]
    seconds = time.perf_counter() - started
    _say(summaries, counts(summaries), seconds, many=len(summaries) > 1, as_json=as_json)


def _plans(
    files: list[Path],
    only_targets: tuple[str, ...],
    only_variants: tuple[str, ...],
    timeout: float,
    keep_going: bool,
) -> tuple[list[Plan], list[dict[str, Any]]]:
    """The plan of each recipe, and the summaries of those that have none for what is wrong with them."""
    from sprue.plan import plan
    from sprue.recipe import is_base, load_recipe
    from sprue.summary import refused

    plans, wrong, bases, extended = [], [], [], set()
    for path in files:
        try:
            if len(files) > 1 and is_base(path):
                bases.append(path)
                continue
            recipe = load_recipe(path)
            extended.add(recipe.base)
            plans.append(plan(recipe.only(only_targets, only_variants), timeout=timeout))
        except SprueError as error:
            if len(files) == 1 or not keep_going:
                raise
            wrong.append(refused(path, error))
    unused = [path for path in bases if path not in extended]
    wrong += [refused(p, SprueError("the key 'model' is missing", where=str(p))) for p in unused]
    return plans, wrong


def _frozen(made: Build, cache: Cache, store: Path | None, *, freeze: bool) -> dict[str, Any]:
    from sprue.summary import summarise

    if not (made.ok and freeze):
        return summarise(made, None)
    from sprue.snapshot import snapshot

    manifest, folder = snapshot(made, cache, _options.open_store(store))
    return summarise(made, (manifest.id(), folder))


def _say(
    summaries: list[dict[str, Any]], counts: dict[str, int], seconds: float, *, many: bool, as_json: bool
) -> None:
    """Print, and leave with the exit code that says whether all holds."""
    if not many and (error := summaries[0]["error"]) is not None:
        kind = SprueError if error["exit_code"] == 2 else CheckError
        raise kind(error["what"], where=error["where"], remedy=error["remedy"])
    if as_json:
        said = {"seconds": round(seconds, 3), "ok": all(s["ok"] for s in summaries)}
        _options.print_json({**said, "recipes": summaries} if many else {**summaries[0], **said})
    elif many:
        _report.print_many(list(summaries))
        held = sum(s["ok"] for s in summaries)
        click.echo(f"{held} of {len(summaries)} recipes hold")
        _report.print_counts(counts, seconds)
    else:
        _report.print_one(summaries[0])
        _report.print_counts(counts, seconds)
    wrong = [s for s in summaries if not s["ok"]]
    if wrong:
        asked_wrongly = all(s["error"] is not None and s["error"]["exit_code"] == 2 for s in wrong)
        raise click.exceptions.Exit(2 if asked_wrongly else 1)
