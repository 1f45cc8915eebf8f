"""`sprue debug`: where an artifact leaves the reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _executor, _options
from sprue.cli._progress import progress

if TYPE_CHECKING:
    from sprue.debug.session import Answer

METHODS = {
    "exposed": "every tensor made an output of the artifact",
    "bisection": "pieces of the network, built one by one",
}


@click.command()
@_options.recipe_argument
@click.option("--target", "-t", required=True, help="The target whose artifact to look into.")
@click.option("--variant", help="Default: the first one that leaves the reference, else the first one.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the smallest piece that shows the fault into this folder, as a project of its own.",
)
@click.option("--jobs", "-j", type=click.IntRange(1, 256), help="Worker processes (default: one per core).")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=600.0, help="Seconds for one action.")
@_options.cache_option
@_options.as_json
def command(
    recipe: Path,
    target: str,
    variant: str | None,
    out: Path | None,
    jobs: int | None,
    timeout: float,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Name the first tensor of the graph where an artifact leaves the reference, and how little shows it.

    Exit code 1 if there is one.
    """
    from sprue.debug.reproduce import refuse_folder
    from sprue.debug.session import debug, to_json
    from sprue.plan import plan
    from sprue.recipe import load_recipe

    if out is not None:
        refuse_folder(out)
    made = plan(load_recipe(recipe).only((target,), (variant,) if variant else ()), timeout=timeout)
    opened = _options.open_cache(cache)
    with (
        opened.in_use(),
        progress(opened, as_json=as_json, trace=None) as listen,
        _executor.executor("local", None, jobs, None) as pool,
    ):
        answer = debug(made, opened, pool, listen, out)
    if as_json:
        _options.print_json(to_json(answer))
    else:
        _say(answer)
    if answer.found.first is not None:
        raise click.exceptions.Exit(1)


def _say(answer: Answer) -> None:
    found, variant = answer.found, answer.planned.variant
    label = f"{variant.target.id} {variant.id}"
    if found.hidden:
        click.echo(f"its tensors cannot all be looked at at once: {found.hidden}")
    if found.first is None or found.seen is None:
        click.echo(f"{label}: no tensor leaves its tolerance")
        if found.closest:
            click.echo(f"  closest: '{found.closest}', {found.used:.3g} of what is allowed")
        return
    click.echo(f"{label}: '{found.first.tensor}' is the first tensor that leaves the reference")
    for name, text in _facts(answer):
        click.echo(f"  {name:10} {text}")
    if found.piece is None:
        click.echo("  the network up to there is right by itself: it is what comes after that changes it")
    if answer.recipe is not None:
        click.echo(f"\nto see it again: sprue build {answer.recipe} --no-freeze")


def _facts(answer: Answer) -> list[tuple[str, str]]:
    found = answer.found
    assert found.first is not None
    assert found.seen is not None
    reference = found.reference[found.first.tensor]
    facts = [("node", found.node), ("method", METHODS[found.first.method])]
    if found.first.before:
        facts.append(("right", f"'{found.first.before}', the one before it"))
    facts.append(("reference", f"{reference.min():.6g} to {reference.max():.6g}"))
    if (agreement := found.seen.agreement) is not None:
        facts.append(("artifact", f"{found.seen.low:.6g} to {found.seen.high:.6g}"))
        worst = f"{agreement.actual:.6g} instead of {agreement.reference:.6g}"
        facts.append(("off by", f"{agreement.used:.3g} times what is allowed: {worst}"))
    else:
        facts.append(("failure", found.seen.failure))
    if found.piece is not None:
        facts.append(("shown by", f"{len(found.piece.nodes)} nodes: {', '.join(found.piece.nodes[:8])}"))
    return facts
