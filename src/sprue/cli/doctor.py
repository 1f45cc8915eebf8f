"""`sprue doctor`: what works here, and how to get the rest."""

from __future__ import annotations

from pathlib import Path

import click

from sprue.cli import _options, _text


@click.command()
@_options.as_json
def command(as_json: bool) -> None:
    """Say which backends and toolchains work here, and how to get the rest."""
    from sprue.backend import find, names
    from sprue.machine import fingerprint
    from sprue.target import load_target, target_files

    backends = {name: (find(name), find(name).available()) for name in names()}
    targets = {name: load_target(name, Path.cwd()) for name in target_files(Path.cwd())}
    if as_json:
        said = {
            name: {
                "compiles": a.compiles,
                "executes": a.executes,
                "missing": a.missing,
                "install": a.install,
                "precisions": list(b.precisions),
                "tools": b.tools() if a.compiles else {},
            }
            for name, (b, a) in backends.items()
        }
        served = {name: list(t.backends) for name, t in targets.items()}
        _options.print_json({"machine": fingerprint(), "backends": said, "targets": served})
        return
    click.echo(f"machine: {fingerprint()}\n")
    rows = [("backend", "compiles", "executes", "tools")]
    for name, (backend, a) in backends.items():
        tools = ", ".join(f"{k} {v}" for k, v in backend.tools().items()) if a.compiles else ""
        rows.append((name, _yes(a.compiles), _yes(a.executes), tools))
    click.echo(_text.table(rows))
    for name, (_, a) in backends.items():
        if a.missing:
            click.echo(f"\n{name}: {a.missing}\n  {a.install}")
    served_by = [("target", "served by", "description")]
    served_by += [(t.id, ", ".join(t.backends), t.description) for t in targets.values()]
    click.echo("\n" + _text.table(served_by))


def _yes(there: bool) -> str:
    return click.style("yes", fg="green") if there else click.style("no", fg="yellow")
