"""`sprue explain`: what a build would run, and which part of which key changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.engine.action import Action
    from sprue.engine.cache import Cache
    from sprue.engine.explain import Forecast

COLOURS = {"cached": "green", "run": "yellow", "depends": "cyan"}


@click.command()
@_options.recipe_argument
@_options.targets
@_options.variants
@_options.cache_option
@_options.as_json
def command(
    recipe: Path,
    only_targets: tuple[str, ...],
    only_variants: tuple[str, ...],
    cache: Path | None,
    as_json: bool,
) -> None:
    """Say what a build would run, and why, without running anything."""
    from sprue.plan import plan
    from sprue.recipe import load_recipe

    made = plan(load_recipe(recipe).only(only_targets, only_variants))
    print_forecasts(made.actions, _options.open_cache(cache), as_json)
    open_targets = [c.target.id for c in made.recipe.choices if c.space.auto or made.recipe.search]
    if open_targets and not as_json:
        click.echo(f"what is tried for {', '.join(open_targets)} is decided while building: more will run")


def print_forecasts(actions: Sequence[Action], cache: Cache, as_json: bool) -> None:
    """What would run, and why. What is timed and compared at the end is decided only by the verdicts."""
    from sprue.engine.explain import explain

    forecasts = explain(actions, cache)
    if as_json:
        _options.print_json([asdict(f) for f in forecasts])
        return
    for f in forecasts:
        seconds = (
            "" if f.seconds is None or f.state == "cached" else f"  (last time {_text.seconds(f.seconds)})"
        )
        click.echo(f"{click.style(f'{f.state:8}', fg=COLOURS[f.state])}{f.action}{seconds}")
        for reason in f.reasons:
            click.echo(f"        {'waits for ' if f.state == 'depends' else ''}{reason}")
    counts = {s: sum(f.state == s for f in forecasts) for s in ("cached", "run", "depends")}
    words = f"{counts['cached']} cached, {counts['run']} to run, {counts['depends']} that depend on those"
    click.echo(words + _time(forecasts))
    click.echo("what passes is timed and compared after that, unless it was before")


def _time(forecasts: Sequence[Forecast]) -> str:
    """How long what is left took last time; each part may be cut short when its inputs turn out the same."""
    left = [f.seconds for f in forecasts if f.state != "cached"]
    known = [s for s in left if s is not None]
    if not left:
        return ""
    if not known:
        return "; how long they take is not known yet"
    rest = f", and {len(left) - len(known)} that never ran here" if len(known) < len(left) else ""
    return f"; at most about {_text.seconds(sum(known))} by past runs{rest}"
