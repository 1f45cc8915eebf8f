"""`sprue check`: can it work at all? Every unsupported operator and every limit, without compiling."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from sprue.cli import _options, _text


@click.command()
@_options.recipe_argument
@_options.targets
@_options.variants
@_options.as_json
def command(
    recipe: Path, only_targets: tuple[str, ...], only_variants: tuple[str, ...], as_json: bool
) -> None:
    """Say in under a second what cannot work, without compiling anything."""
    from sprue.check import check
    from sprue.recipe import load_recipe

    checked = check(load_recipe(recipe).only(only_targets, only_variants))
    if as_json:
        found = [
            {
                "target": c.variant.target.id,
                "variant": c.variant.id,
                "missing": str(c.missing) if c.missing else None,
                "findings": [asdict(f) for f in c.findings],
            }
            for c in checked
        ]
        _options.print_json({"ok": all(c.ok for c in checked), "variants": found})
    else:
        rows = [("target", "variant", "can it work?")]
        rows += [(c.variant.target.id, c.variant.id, _answer(c.ok)) for c in checked]
        click.echo(_text.table(rows))
        for c in checked:
            for finding in c.findings:
                click.echo(f"\n{c.variant.target.id} {c.variant.id}: {finding}\n  {finding.remedy}")
            if c.missing:
                click.echo(f"\n{c.variant.target.id} {c.variant.id}: {c.missing}")
    if not all(c.ok for c in checked):
        raise click.exceptions.Exit(1)


def _answer(ok: bool) -> str:
    return click.style("yes", fg="green") if ok else click.style("no", fg="red")
