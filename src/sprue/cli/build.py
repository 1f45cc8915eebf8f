"""`sprue build`: build, verify, measure, select, freeze."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sprue.cli import _options, _text
from sprue.cli._progress import progress

if TYPE_CHECKING:
    from sprue.build import Build, TargetBuild, Tried
    from sprue.bundle.manifest import Manifest


@click.command()
@_options.recipe_argument
@_options.targets
@_options.variants
@click.option("--jobs", "-j", type=click.IntRange(1, 256), help="Worker processes (default: one per core).")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=600.0, help="Seconds for one action.")
@click.option("--no-freeze", is_flag=True, help="Build and prove, but make no bundle.")
@_options.cache_option
@_options.store_option
@_options.as_json
def command(
    recipe: Path,
    only_targets: tuple[str, ...],
    only_variants: tuple[str, ...],
    jobs: int | None,
    timeout: float,
    no_freeze: bool,
    cache: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build a recipe for its targets, prove what comes out, and freeze it into a bundle."""
    from sprue.build import build
    from sprue.machine import cores
    from sprue.recipe import load_recipe

    started = time.perf_counter()
    wanted = load_recipe(recipe).only(only_targets, only_variants)
    opened = _options.open_cache(cache)
    workers = jobs or cores()
    with progress(quiet=as_json) as listen:
        threads = max(1, cores() // workers)
        made = build(wanted, opened, jobs=workers, threads=threads, timeout=timeout, listen=listen)
    frozen: tuple[Manifest, Path] | None = None
    if made.ok and not no_freeze:
        from sprue.snapshot import snapshot

        frozen = snapshot(made, opened, _options.open_store(store))
    seconds = time.perf_counter() - started
    if as_json:
        _options.print_json(_as_json(made, frozen, seconds))
    else:
        _print(made, frozen, seconds)
    if not made.ok:
        raise click.exceptions.Exit(1)


def _print(made: Build, frozen: tuple[Manifest, Path] | None, seconds: float) -> None:
    metric = made.reference["metric"]
    heading = ("target", "variant", "state", metric, "size", "latency p50", "instructions", "RAM", "")
    rows: list[tuple[str, ...]] = [heading]
    for target in made.targets:
        rows += [_row(target, tried) for tried in target.tried]
    click.echo(_text.table(rows, right=(3, 4, 5, 6, 7)))
    click.echo()
    for target in made.targets:
        for tried in target.tried:
            if tried.result.state == "failed":
                _print_failure(target, tried)
    _print_parity(made)
    states = [o.state for o in made.outcomes.values()]
    words = ", ".join(
        f"{states.count(s)} {s}" for s in ("done", "cached", "failed", "skipped") if s in states
    )
    click.echo(f"{len(states)} actions ({words}) in {seconds:.1f} s")
    if frozen is not None:
        manifest, folder = frozen
        click.echo(f"bundle {manifest.name}@{manifest.version}  {manifest.id()}\n  {_relative(folder)}")
    elif not made.ok:
        lost = [t.choice.target.id for t in made.targets if t.kept is None]
        why = f"no variant passed for {', '.join(lost)}" if lost else "a variant broke"
        click.echo(f"{click.style('no bundle:', fg='red', bold=True)} {why}")


def _row(target: TargetBuild, tried: Tried) -> tuple[str, ...]:
    result = tried.result
    kept = tried is target.kept
    return (
        target.choice.target.id,
        result.variant.id,
        _text.state(result.state),
        "" if result.metric is None else f"{result.metric:.4f}",
        _text.size(result.flash if result.flash is not None else result.size),
        _text.seconds(result.latency_p50),
        _text.count(result.instructions),
        _text.size(result.ram),
        click.style("<- kept", bold=True) if kept else "",
    )


def _print_failure(target: TargetBuild, tried: Tried) -> None:
    result = tried.result
    click.echo(f"{target.choice.target.id} {result.variant.id}: {result.reason}")
    if tried.failure is not None:
        for line in (tried.failure.remedy, f"log: {tried.failure.log}" if tried.failure.log else ""):
            if line:
                click.echo(f"  {line}")
    click.echo()


def _print_parity(made: Build) -> None:
    if made.parity is None:
        return
    rows = [("same inputs", "against", "largest difference", "same answers")]
    rows += [
        (p["b"], p["a"], f"{p['max_abs']:.3g}", f"{100 * p['same_answer']:.2f} %")
        for p in made.parity["pairs"]
        if p["a"] == "reference"
    ]
    others = [p for p in made.parity["pairs"] if p["a"] != "reference"]
    if others:
        worst = min(others, key=lambda p: (p["same_answer"], -p["max_abs"]))
        rows.append(
            (worst["b"], worst["a"], f"{worst['max_abs']:.3g}", f"{100 * worst['same_answer']:.2f} %")
        )
    click.echo(_text.table(rows, right=(2, 3)))
    click.echo()


def _relative(folder: Path) -> Path:
    here = Path.cwd()
    return folder.resolve().relative_to(here) if folder.resolve().is_relative_to(here) else folder


def _as_json(made: Build, frozen: tuple[Manifest, Path] | None, seconds: float) -> dict[str, Any]:
    from sprue.snapshot import result_json

    return {
        "ok": made.ok,
        "recipe": made.recipe.name,
        "seconds": round(seconds, 3),
        "reference": dict(made.reference),
        "parity": made.parity,
        "targets": [
            {
                "target": t.choice.target.id,
                "kept": t.kept.planned.variant.id if t.kept else None,
                "variants": [result_json(tried.result) for tried in t.tried],
            }
            for t in made.targets
        ],
        "actions": {name: outcome.state for name, outcome in made.outcomes.items()},
        "bundle": None if frozen is None else {"id": frozen[0].id(), "folder": str(frozen[1])},
    }
