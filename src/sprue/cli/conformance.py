"""`sprue conformance`: ONNX's node tests against any backend."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sprue.cli import _executor, _options, _text
from sprue.cli._progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sprue.conformance.actions import Listed, Ran
    from sprue.conformance.expected import Surprise
    from sprue.engine.run import Event, Listener

Folder = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option(
    "--backend", "-b", "backends", multiple=True, help="Default: all that compile and execute here."
)
@click.option("--operator", "operators", multiple=True, help="Only the tests of this operator.")
@click.option("--every", type=click.IntRange(min=1), default=1, help="Only each N-th case.", metavar="N")
@click.option("--first", type=click.IntRange(min=0), default=0, help="Leave out K cases before.", metavar="K")
@click.option("--expected", type=Folder, help="Hold what comes out against <backend>.txt in this folder.")
@click.option("--update", is_flag=True, help="Write what comes out into the folder of --expected.")
@click.option("--table", type=click.Path(path_type=Path, dir_okay=False), help="Write operator x backend.")
@click.option("--jobs", "-j", type=click.IntRange(1, 256), help="Worker processes (default: one per core).")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=120.0, help="Seconds for one case.")
@_options.cache_option
@_options.as_json
def command(
    backends: tuple[str, ...],
    operators: tuple[str, ...],
    every: int,
    first: int,
    expected: Path | None,
    update: bool,
    table: Path | None,
    jobs: int | None,
    timeout: float,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Run ONNX's node tests against backends: what `sprue check` accepts must be right.

    Exit code 1 for a wrong answer, or with --expected for any case that came out otherwise than committed.
    """
    from sprue.conformance.actions import listed, ran

    if (update or table) and expected is None:
        raise click.UsageError("--update and --table need --expected FOLDER")
    names = _executing(backends)
    opened = _options.open_cache(cache)
    with (
        opened.in_use(),
        progress(opened, as_json=as_json, trace=None) as everything,
        _executor.executor("local", None, jobs, None) as pool,
    ):
        listen = everything if as_json or sys.stderr.isatty() else _only_failures(everything)
        cases = listed(opened, pool, listen)
        chosen = _chosen(cases, operators)[first::every]
        found = {name: ran(chosen, name, opened, pool, listen, timeout) for name in names}
    if update and expected is not None:
        _update(expected, found, whole=len(chosen) == len(cases))
    unexpected = {name: _unexpected(name, result, expected) for name, result in found.items()}
    if table is not None and expected is not None:
        _write_table(table, cases, expected)
    _say(found, unexpected, as_json=as_json)
    if any(unexpected.values()):
        raise click.exceptions.Exit(1)


def _only_failures(listen: Listener) -> Listener:
    """A line for each of thousands of cases is nothing that anybody reads in a pipe."""

    def say(event: Event) -> None:
        if event.state in ("failed", "note"):
            listen(event)

    return say


def _executing(asked: tuple[str, ...]) -> list[str]:
    """The backends asked for. Raises SprueError for one that cannot compile and execute here."""
    from sprue.backend import find, names
    from sprue.errors import SprueError

    states = {name: find(name).available() for name in asked or names()}
    if not asked:
        return [name for name, state in states.items() if state.compiles and state.executes]
    for name, state in states.items():
        if not (state.compiles and state.executes):
            raise SprueError(
                f"the backend '{name}' does not execute here: {state.missing}", remedy=state.install
            )
    return list(states)


def _chosen(cases: list[Listed], operators: tuple[str, ...]) -> list[Listed]:
    from sprue.errors import SprueError, did_you_mean

    known = {case.operator for case in cases}
    for name in operators:
        if name not in known:
            raise SprueError(
                f"there is no node test of an operator '{name}'", remedy=did_you_mean(name, known)
            )
    return [case for case in cases if not operators or case.operator in operators]


def _versions(backend: str) -> dict[str, str]:
    from sprue.conformance.judge import target_of
    from sprue.tools import backend_tools, packages

    tools = {
        k: v for k, v in backend_tools(backend, target_of(backend)).items() if k not in ("code", "backend")
    }
    return {**tools, **packages("onnx")}


def _update(folder: Path, found: Mapping[str, Mapping[str, Ran]], *, whole: bool) -> None:
    """If not all were run, the others stay as they are. Raises SprueError where that would be untrue."""
    from sprue.conformance.expected import expected_file, expected_text, merged, read_expected
    from sprue.errors import SprueError

    folder.mkdir(parents=True, exist_ok=True)
    for name, result in found.items():
        path, versions = expected_file(folder, name), _versions(name)
        if not whole and path.is_file():
            known = read_expected(path)
            if dict(known.versions) != versions:
                raise SprueError(
                    "it was made with other versions of the tools",
                    where=str(path),
                    remedy="update it as a whole, without --operator, --every and --first",
                )
            result = merged(known, result)
        path.write_text(expected_text(name, result, versions), encoding="utf-8")


def _unexpected(name: str, found: Mapping[str, Ran], folder: Path | None) -> list[Surprise]:
    from sprue.conformance.expected import Expected, expected_file, read_expected, surprises

    versions = _versions(name)
    if folder is not None:
        return surprises(read_expected(expected_file(folder, name)), found, versions)
    return [s for s in surprises(Expected(), found, versions) if s.found.kind == "wrong"]


def _write_table(path: Path, cases: Sequence[Listed], folder: Path) -> None:
    from sprue.conformance.expected import read_expected
    from sprue.conformance.table import table

    known = {file.stem: read_expected(file) for file in sorted(folder.glob("*.txt"))}
    path.write_text(table(cases, known), encoding="utf-8")


def _say(
    found: Mapping[str, Mapping[str, Ran]], unexpected: Mapping[str, list[Surprise]], *, as_json: bool
) -> None:
    from sprue.conformance.expected import counts

    totals = {name: counts(r.kind for r in result.values()) for name, result in found.items()}
    if as_json:
        said: dict[str, Any] = {
            name: {
                **totals[name],
                "unexpected": [
                    {"case": s.case, "expected": s.expected, "found": s.found.kind, "why": s.found.why}
                    for s in unexpected[name]
                ],
            }
            for name in found
        }
        _options.print_json({"ok": not any(unexpected.values()), "backends": said})
        return
    rows: list[tuple[str, ...]] = [("backend", "cases", "matched", "refused", "wrong", "unexpected")]
    rows += [
        (name, *(_text.count(n) for n in (len(found[name]), *totals[name].values(), len(unexpected[name]))))
        for name in found
    ]
    click.echo(_text.table(rows, right=(1, 2, 3, 4, 5)))
    for name, several in unexpected.items():
        for surprise in several:
            click.echo(f"{name}: {surprise}")
