"""`sprue cache stats | verify | gc`: what earlier builds have left for later ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.engine.audit import Audit

Value = TypeVar("Value")


@click.group("cache")
def command() -> None:
    """Look at the cache, check every byte of it, or make it smaller."""


@command.command("stats")
@_options.cache_option
@_options.as_json
def stats(cache: Path | None, as_json: bool) -> None:
    """Count what lies in the cache."""
    from sprue.engine.contents import stats

    opened = _options.open_cache(cache)
    found = stats(opened)
    if as_json:
        _options.print_json({"folder": str(opened.root), "others": opened.others(), **asdict(found)})
        return
    click.echo(f"{opened.root}: {_text.size(found.size)}\n")
    rows = [("made by", "entries", "size")]
    by_size = sorted(found.kinds.items(), key=lambda k: -k[1].size)
    rows += [(name, _text.count(kind.entries), _text.size(kind.size)) for name, kind in by_size]
    click.echo(_text.table(rows, right=(1, 2)) + "\n")
    click.echo(
        f"{found.entries:,} entries, {found.blobs:,} blobs; blobs that entries share are counted twice above"
    )
    if found.unreadable:
        click.echo(f"{found.unreadable:,} entries are damaged: see `sprue cache verify`")
    if found.oldest_use is not None and found.newest_use is not None:
        click.echo(f"last used {_ago(found.newest_use)} ago, the oldest entry {_ago(found.oldest_use)} ago")
    for name, kind in found.hints.items():
        click.echo(f"{name}: {kind.entries:,} files, {_text.size(kind.size)}")
    click.echo(f"{found.live_builds} builds running, {found.work_folders} work folders")
    if others := opened.others():
        click.echo(f"not counted and left alone: {', '.join(others)}, of another version of sprue")


@command.command("verify")
@click.option("--repair", is_flag=True, help="Remove what is damaged: the next build makes it again.")
@click.option("--threads", type=click.IntRange(1, 256), help="Default: one per core.")
@_options.cache_option
@_options.as_json
def verify(repair: bool, threads: int | None, cache: Path | None, as_json: bool) -> None:
    """Hash every blob and read every entry; exit 1 if something is wrong and not repaired."""
    from sprue.engine.audit import audit
    from sprue.machine import cores

    started = time.perf_counter()
    found = audit(_options.open_cache(cache), threads or cores(), repair=repair)
    if as_json:
        paths = {name: [str(p) for p in getattr(found, name)] for name in ("damaged", "damaged_entries")}
        _options.print_json({**asdict(found), **paths, "ok": found.ok})
    else:
        _say_audit(found, time.perf_counter() - started)
    if not found.ok:
        raise click.exceptions.Exit(1)


def _say_audit(found: Audit, seconds: float) -> None:
    for path in found.damaged:
        click.echo(f"damaged blob: {path}")
    for path in found.damaged_entries:
        click.echo(f"damaged entry: {path}")
    for name, shas in found.missing.items():
        click.echo(f"{name} lacks: {', '.join(sha[:12] for sha in shas)}")
    wrong = len(found.damaged) + len(found.damaged_entries) + len(found.missing)
    if wrong and found.repaired:
        verdict = click.style(f"{wrong} removed", fg="yellow")
    elif wrong:
        verdict = click.style(f"{wrong} wrong", fg="red") + "; --repair removes them"
    else:
        verdict = click.style("all good", fg="green")
    read = f"{found.entries:,} entries, {found.blobs:,} blobs, {_text.size(found.size)}"
    spare = f", {found.unreferenced:,} blobs of no entry" if found.unreferenced else ""
    click.echo(f"{read}{spare} in {seconds:.1f} s: {verdict}")


@command.command("gc")
@click.option("--keep", required=True, metavar="SIZE", help='What may stay, such as "20 GB".')
@click.option("--older-than", metavar="TIME", default="0s", help='Only what was not used for so long: "30d".')
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@_options.cache_option
@_options.as_json
def gc(keep: str, older_than: str, dry_run: bool, cache: Path | None, as_json: bool) -> None:
    """Remove what was used longest ago, until SIZE is left. Nothing that a running build uses."""
    from sprue.engine.collect import collect
    from sprue.quantity import parse_duration, parse_size

    size = _value("--keep", keep, parse_size)
    age = _value("--older-than", older_than, parse_duration)
    done = collect(_options.open_cache(cache), size, older_than=age, dry_run=dry_run)
    if as_json:
        _options.print_json({**asdict(done), "dry_run": dry_run})
        return
    would = "would remove" if dry_run else "removed"
    click.echo(f"{would} {done.entries:,} entries, {done.blobs:,} blobs, {done.hints:,} notes and logs")
    if done.leftovers:
        click.echo(f"{would} {done.leftovers:,} leftovers of builds that were killed")
    stays = "would stay" if dry_run else "stays"
    click.echo(f"{_text.size(done.freed)} freed, {_text.size(done.size)} {stays}")
    if done.size > size:
        kept = f"{done.protected:,} entries" if done.protected else "nothing"
        click.echo(f"more than asked: {kept} in use by running builds or used just now, the rest too young")


def _value(option: str, text: str, parse: Callable[[str], Value]) -> Value:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _ago(changed: int) -> str:
    seconds = max(0.0, time.time() - changed / 1e9)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
