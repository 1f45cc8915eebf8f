"""`sprue show --resolved`: the effective recipe, and where each value came from."""

from __future__ import annotations

from pathlib import Path

import click

from sprue.cli import _options


@click.command()
@_options.recipe_argument
@click.option("--resolved", is_flag=True, help="With extends, defaults and target files merged in.")
@_options.as_json
def command(recipe: Path, resolved: bool, as_json: bool) -> None:
    """Print a recipe; with --resolved the effective one, and where each value came from."""
    from sprue.recipe import load_recipe

    loaded = load_recipe(recipe)
    if as_json:
        _options.print_json({key: {"value": v, "from": place} for key, (v, place) in loaded.origins.items()})
    elif resolved:
        lines = [(f"{key} = {_toml(value)}", place) for key, (value, place) in loaded.origins.items()]
        width = max(len(line) for line, _ in lines)
        for line, place in lines:
            click.echo(f"{line:{width}}  # {place}")
    else:
        click.echo(recipe.read_text(), nl=False)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
