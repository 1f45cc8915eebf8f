"""`sprue build`: build, verify, measure, select, freeze."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sprue.cli import _executor, _options, _remote, _report, _shard
from sprue.cli._progress import progress
from sprue.errors import CheckError, SprueError

if TYPE_CHECKING:
    from sprue.build import Build
    from sprue.bundle.store import Store
    from sprue.engine.cache import Cache
    from sprue.engine.pool import Executor
    from sprue.engine.run import Listener
    from sprue.engine.shared import Shared
    from sprue.history.gate import Baseline, Held
    from sprue.plan import Plan
    from sprue.settled import Look, Recalled

Summary = dict[str, Any]


@click.command()
@click.argument("recipes", nargs=-1)
@_options.targets
@_options.variants
@click.option("--jobs", "-j", type=click.IntRange(1, 256), help="Worker processes (default: one per core).")
@_executor.memory
@_executor.kind
@_executor.address
@_remote.url
@_remote.write
@click.option("--timeout", type=click.FloatRange(min=0.1), default=600.0, help="Seconds for one action.")
@click.option("--keep-going/--fail-fast", default=True, help="After a failure, build what does not need it.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and for how long; run nothing.")
@click.option(
    "--against", metavar="BUNDLE", help="Fail if something got worse than in it: name@prod, or @prod."
)
@click.option("--no-freeze", is_flag=True, help="Build and prove, but make no bundle.")
@_shard.options
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write a trace for Perfetto.")
@_options.cache_option
@_options.store_option
@_options.as_json
def command(
    recipes: tuple[str, ...],
    only_targets: tuple[str, ...],
    only_variants: tuple[str, ...],
    jobs: int | None,
    memory: int | None,
    executor: str,
    ray_address: str | None,
    remote_cache: str | None,
    remote_cache_write: bool,
    timeout: float,
    keep_going: bool,
    dry_run: bool,
    against: str | None,
    no_freeze: bool,
    shard: _shard.Shard,
    trace: Path | None,
    cache: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build recipes for their targets, prove what comes out, and freeze it into bundles.

    RECIPES are files, folders of them, or patterns such as 'recipes/*.toml'.
    """
    started = time.perf_counter()
    shard.refuse_without_bundles(no_freeze=no_freeze, dry_run=dry_run)
    shard.refuse_nowhere()
    asked = _Asked(
        only_targets,
        only_variants,
        None if no_freeze else _options.store_folder(store),
        time.time_ns(),
        time.monotonic_ns(),
        against,
    )
    files = shard.recipes(recipes, only_targets)
    opened = _options.open_cache(cache)
    if dry_run:
        from sprue.cli.explain import print_forecasts

        plans, _ = _plans(files, asked, timeout, keep_going=False, extended=set())
        print_forecasts([a for made in plans for a in made.actions], opened, as_json)
        return
    recalled = {} if shard.push or trace else asked.recall_all(files, opened)
    brief = len(files) > _report.MANY and not as_json
    summaries = {} if brief else {path: _cached(r.answer()) for path, r in recalled.items()}
    unchanged = [r.brief["actions"] for r in recalled.values()] if brief else []
    left = [path for path in files if path not in recalled]
    if left:
        if asked.store is not None:
            _options.refuse_unwritable(asked.store)
        extended = {r.brief["extends"] for r in recalled.values()}
        with opened.in_use():
            with _executor.executor(executor, ray_address, jobs, memory) as pool:
                plans, wrong = _plans(
                    left,
                    asked,
                    timeout,
                    keep_going=keep_going and (len(files) > 1 or bool(shard.push)),
                    extended=extended,
                )
                baselines = asked.baselines(plans, _options.open_store(store))
                with (
                    progress(opened, as_json=as_json, trace=trace) as listen,
                    _remote.opened(remote_cache, remote_cache_write, opened, listen) as shared,
                ):
                    built, held = _build(
                        plans, baselines, opened, pool, listen, shared, fail_fast=not keep_going
                    )
            settled = {b.recipe.path: asked.settle(b, opened, held.get(b.recipe.name)) for b in built}
            summaries |= wrong | settled
            shard.leave(built, summaries, only_targets, opened)
    told = [summaries[p] for p in files if p in summaries]
    _say(told, unchanged, time.perf_counter() - started, as_json=as_json)


@dataclass(frozen=True)
class _Asked:
    """What is wanted of each recipe. `store`: the folder where its bundle goes; None: nowhere.

    `against`: the bundle that it is held against, if any. `since`: when it was asked, in nanoseconds of the
    epoch; nothing was read before. `began`: the same, by the clock that nobody sets.
    """

    targets: tuple[str, ...]
    variants: tuple[str, ...]
    store: Path | None
    since: int
    began: int
    against: str | None

    def recall_all(self, recipes: list[Path], cache: Cache) -> dict[Path, Recalled]:
        """The answers of earlier builds that still hold."""
        from sprue import settled

        look = settled.looking()
        return {path: r for path in recipes if (r := self.recall(path, cache, look)) is not None}

    def recall(self, recipe: Path, cache: Cache, look: Look) -> Recalled | None:
        """The answer of an earlier build, if nothing has changed since."""
        from sprue import settled
        from sprue.history import last_build

        if self.against is not None or not last_build.is_kept(cache.folder, recipe, self._part):
            return None
        return settled.recall(cache.folder, self._question(recipe), look)

    def baselines(self, plans: list[Plan], store: Store) -> dict[str, Baseline]:
        """What each recipe is held against, looked up before anything is built."""
        if self.against is None:
            return {}
        from sprue.history.gate import baseline

        return {p.recipe.name: baseline(self.against, p.recipe.name, store) for p in plans}

    def settle(self, made: Build, cache: Cache, held: Held | None) -> Summary:
        """Freeze what is good, and remember the answer."""
        from sprue import settled
        from sprue.choosing.aside import keep_aside
        from sprue.evidence import findings
        from sprue.history import last_build
        from sprue.summary import dependencies, summarise

        bundle = None
        if not made.ok or (held is not None and not held.ok):
            last_build.keep(cache.folder, made.recipe.path, self._part, findings(made))
            return summarise(made, None, held, keep_aside(made, cache))
        if self.store is not None:
            from sprue.bundle.store import Store
            from sprue.snapshot import snapshot

            manifest, folder = snapshot(made, cache, Store(self.store))
            bundle = manifest.id(), folder
        last_build.keep(cache.folder, made.recipe.path, self._part, findings(made))
        summary = summarise(made, bundle)
        files = dependencies(made, None if bundle is None else bundle[1])
        if files is not None:
            brief = {"extends": summary["extends"], "actions": len(summary["actions"])}
            question = self._question(made.recipe.path)
            # If the clock was set back meanwhile, the build began as long before now by the clock of now.
            since = min(self.since, time.time_ns() - (time.monotonic_ns() - self.began))
            settled.remember(cache.folder, question, brief, summary, files, since=since)
        return summary if held is None else summarise(made, bundle, held)

    @property
    def _part(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.targets, self.variants

    def _question(self, recipe: Path) -> dict[str, Any]:
        from sprue import settled

        store = None if self.store is None else os.path.abspath(self.store)  # noqa: PTH100  # keeps links
        return settled.question(recipe, targets=list(self.targets), variants=list(self.variants), store=store)


def _cached(summary: Summary) -> Summary:
    return {**summary, "actions": dict.fromkeys(summary["actions"], "cached")}


def _plans(
    files: list[Path], asked: _Asked, timeout: float, *, keep_going: bool, extended: set[str | None]
) -> tuple[list[Plan], dict[Path, Summary]]:
    """The plan of each recipe, and the summaries of those that have none for what is wrong with them.

    `extended`: the recipes that others are known to extend; they need no model of their own.
    """
    from sprue.plan import plan
    from sprue.recipe import load_recipe
    from sprue.recipe_files import is_base
    from sprue.summary import refused

    plans: list[Plan] = []
    wrong: dict[Path, Summary] = {}
    bases: list[Path] = []
    for path in files:
        try:
            if is_base(path):
                bases.append(path)
                continue
            recipe = load_recipe(path)
            extended.add(str(recipe.base))
            plans.append(plan(recipe.only(asked.targets, asked.variants), timeout=timeout))
        except SprueError as error:
            if not keep_going:
                raise
            wrong[path] = refused(path, error)
    for path in bases:
        if str(path) not in extended:
            try:
                load_recipe(path)  # which says what is missing, or which key is misspelt
            except SprueError as error:
                if not keep_going:
                    raise
                wrong[path] = refused(path, error)
    return plans, wrong


def _build(
    plans: list[Plan],
    baselines: dict[str, Baseline],
    cache: Cache,
    pool: Executor,
    listen: Listener,
    shared: Shared | None,
    *,
    fail_fast: bool,
) -> tuple[list[Build], dict[str, Held]]:
    """Build, and hold what there is a baseline for against it."""
    from sprue.build import build

    built = build(plans, cache, pool, listen=listen, fail_fast=fail_fast, shared=shared)
    if not baselines:
        return built, {}
    from sprue.history.gate import hold

    return built, hold(built, baselines, cache, pool, listen=listen, shared=shared)


def _say(summaries: list[Summary], unchanged: list[int], seconds: float, *, as_json: bool) -> None:
    """Print, and leave with the exit code that says whether all holds.

    `unchanged`: the numbers of actions of recipes that hold as before and are not told one by one.
    """
    many = len(summaries) + len(unchanged) != 1
    if not many and (error := summaries[0]["error"]) is not None:
        kind = SprueError if error["exit_code"] == 2 else CheckError
        raise kind(error["what"], where=error["where"], remedy=error["remedy"])
    if as_json:
        said = {"seconds": round(seconds, 3), "ok": all(s["ok"] for s in summaries)}
        _options.print_json({**said, "recipes": summaries} if many else {**summaries[0], **said})
    elif many:
        _report.print_many(summaries, unchanged, seconds)
    else:
        _report.print_one(summaries[0], seconds)
    wrong = [s for s in summaries if not s["ok"]]
    if wrong:
        asked_wrongly = all(s["error"] is not None and s["error"]["exit_code"] == 2 for s in wrong)
        raise click.exceptions.Exit(2 if asked_wrongly else 1)
