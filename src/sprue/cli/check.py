"""`sprue check`: can it work at all, and does it fit? Every unsupported operator and every limit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sprue.border import NOTE
from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.backend import Prediction
    from sprue.check import Checked

HEADING = ("target", "variant", "can it work?", "flash", "RAM", "instructions", "estimated")


@click.command()
@_options.recipe_argument
@_options.targets
@_options.variants
@_options.as_json
def command(
    recipe: Path, only_targets: tuple[str, ...], only_variants: tuple[str, ...], as_json: bool
) -> None:
    """Say in about a second what cannot work, and what a microcontroller will need, without building."""
    from sprue.check import check
    from sprue.recipe import load_recipe

    answer = check(load_recipe(recipe).only(only_targets, only_variants))
    checked = answer.variants
    if as_json:
        found = [
            {
                "target": c.variant.target.id,
                "variant": c.variant.id,
                "missing": str(c.missing) if c.missing else None,
                "findings": [asdict(f) for f in c.findings],
                "limits": {"flash": c.variant.target.limit_flash, "ram": c.variant.target.limit_ram},
                "predicted": None if c.predicted is None else _needs(c.predicted, c.estimate),
            }
            for c in checked
        ]
        said = {"ok": all(c.ok for c in checked), "warnings": list(answer.warnings)}
        _options.print_json({**said, "variants": found})
    else:
        click.echo(_text.words_and_figures([HEADING, *map(_row, checked)], words=3))
        if parts := [text for c in checked if (text := _memory(c))]:
            click.echo("\n" + "\n".join(parts))
        for c in checked:
            for finding in c.findings:
                click.echo(f"\n{c.variant.target.id} {c.variant.id}: {finding}\n  {finding.remedy}")
            if c.missing:
                click.echo(f"\n{c.variant.target.id} {c.variant.id}: {c.missing}")
        for warning in answer.warnings:
            click.echo(f"\n{click.style('warning:', fg='yellow')} {warning}")
    if not all(c.ok for c in checked):
        raise click.exceptions.Exit(1)


def _row(checked: Checked) -> tuple[str, ...]:
    variant, predicted = checked.variant, checked.predicted
    first = (variant.target.id, variant.id, _answer(checked.ok))
    if predicted is None:
        return (*first, "", "", "", "")
    needs, least = predicted.profile, predicted.least
    return (
        *first,
        _share(needs.flash, variant.target.limit_flash, least=least),
        _share(needs.ram, variant.target.limit_ram, least=least),
        _text.count(needs.instructions),
        _text.estimate(needs.cycles, checked.estimate),
    )


def _memory(checked: Checked) -> str:
    """What the RAM is made of, and what is int8 at the border; "" where that is not known."""
    notes = checked.predicted.profile.notes if checked.predicted is not None else {}
    parts = "; ".join(part for part in (_text.memory(notes), notes.get(NOTE, "")) if part)
    return f"{checked.variant.target.id} {checked.variant.id}: {parts}" if parts else ""


def _share(need: int | None, limit: int | None, *, least: bool) -> str:
    if need is None:
        return ""
    return (">= " if least else "") + _text.size(need) + ("" if limit is None else f" of {_text.size(limit)}")


def _needs(predicted: Prediction, estimate: float | None) -> dict[str, Any]:
    profile = predicted.profile
    told = {**asdict(profile), "notes": dict(profile.notes)}
    return {**told, "estimate": estimate, "least": predicted.least}


def _answer(ok: bool) -> str:
    return click.style("yes", fg="green") if ok else click.style("no", fg="red")
