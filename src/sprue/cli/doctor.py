"""`sprue doctor`: what works here, and how to get the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.backend import Availability


@click.command()
@_options.as_json
def command(as_json: bool) -> None:
    """Say which backends and toolchains work here, and how to get the rest."""
    from sprue.backend import names
    from sprue.machine import fingerprint
    from sprue.target import load_target, target_files

    backends = {name: _examined(name) for name in names()}
    targets = {name: load_target(name, Path.cwd()) for name in target_files(Path.cwd())}
    if as_json:
        said = {
            name: {
                "compiles": a.compiles,
                "executes": a.executes,
                "missing": a.missing,
                "install": a.install,
                "precisions": list(precisions),
                "tools": tools,
            }
            for name, (a, precisions, tools) in backends.items()
        }
        served = {name: list(t.backends) for name, t in targets.items()}
        _options.print_json({"machine": fingerprint(), "backends": said, "targets": served})
        return
    click.echo(f"machine: {fingerprint()}\n")
    rows = [("backend", "compiles", "executes", "tools")]
    for name, (a, _, tools) in backends.items():
        rows.append(
            (name, _yes(a.compiles), _yes(a.executes), ", ".join(f"{k} {v}" for k, v in tools.items()))
        )
    click.echo(_text.table(rows))
    for name, (a, _, _) in backends.items():
        if a.missing:
            click.echo(f"\n{name}: {a.missing}\n  {a.install}")
    served_by = [("target", "served by", "description")]
    served_by += [(t.id, ", ".join(t.backends), t.description) for t in targets.values()]
    click.echo("\n" + _text.table(served_by))


def _examined(name: str) -> tuple[Availability, tuple[str, ...], dict[str, str]]:
    """Availability, precisions and tools of a backend; one that fails is an answer too, not the end."""
    from sprue.backend import Availability, find

    try:
        backend = find(name)
        available = backend.available()
        return available, backend.precisions, backend.tools() if available.compiles else {}
    except Exception as error:  # a user's own backend may fail in any way
        return (
            Availability(False, False, str(error), "mend it, or take its folder out of SPRUE_TARGETS"),
            (),
            {},
        )


def _yes(there: bool) -> str:
    return click.style("yes", fg="green") if there else click.style("no", fg="yellow")
