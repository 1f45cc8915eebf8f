"""Summaries of builds as text for people: one recipe in full, many in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sprue.cli import _text
from sprue.cli._gate import print_gate

Summary = Mapping[str, Any]

MANY = 50
"""Recipes; of more than these, those that did not change are only counted."""


def print_one(summary: Summary, seconds: float) -> None:
    """Every variant of one recipe, why variants failed, and how the kept ones compare."""
    metric = summary["reference"]["metric"]
    heading = ("target", *_columns(metric), "")
    rows: list[tuple[str, ...]] = [heading]
    rows += [_row(t, v, t["target"]) for t in summary["targets"] for v in t["variants"]]
    _print_table(rows, left=3)
    for warning in summary["warnings"]:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}\n")
    _print_margins(summary)
    _print_memory(summary)
    _print_noise(summary)
    click.echo()
    _print_failures(summary)
    _print_parity(summary)
    print_gate(summary)
    _print_counts([summary], seconds)
    _print_end(summary)


def print_many(summaries: Sequence[Summary], unchanged: Sequence[int], seconds: float) -> None:
    """What was kept for each recipe and target, and what failed.

    `unchanged`: the numbers of actions of further recipes, which hold as before and are only counted.
    """
    heading = ("recipe", "target", *_columns("metric"))
    rows: list[tuple[str, ...]] = [heading]
    for s in summaries:
        for t in s["targets"]:
            rows += [
                (s["recipe"], *_row(t, v, t["target"])[:-1])
                for v in t["variants"]
                if v["variant"] == t["kept"]
            ]
    if len(rows) > 1:
        _print_table(rows, left=4)
    for s in summaries:
        if not s["ok"]:
            _print_refusal(s)
    _print_counts(summaries, seconds, sum(unchanged))
    held = sum(s["ok"] for s in summaries) + len(unchanged)
    same = f", {len(unchanged)} of them unchanged" if unchanged else ""
    click.echo(f"{held} of {len(summaries) + len(unchanged)} recipes hold{same}")


def _print_refusal(summary: Summary) -> None:
    error = summary["error"]
    if error is None:
        click.echo(click.style(summary["recipe"], bold=True))
        _print_failures(summary)
        print_gate(summary)
        _print_end(summary)
        return
    place = f"{error['where']}: " if error["where"] else ""
    click.echo(f"{click.style(summary['recipe'], bold=True)}: {place}{error['what']}")
    click.echo(f"  {error['remedy']}\n" if error["remedy"] else "")


def _print_counts(summaries: Sequence[Summary], seconds: float, cached: int = 0) -> None:
    """How the actions ended; one that recipes share counts once. `cached`: further actions."""
    counts = Counter({name: state for s in summaries for name, state in s["actions"].items()}.values())
    counts["cached"] += cached
    words = ", ".join(f"{counts[s]} {s}" for s in ("done", "cached", "failed", "skipped") if counts[s])
    click.echo(f"{sum(counts.values())} actions ({words}) in {seconds:.1f} s")


def _columns(metric: str) -> tuple[str, ...]:
    """The headings of `_row`, but for the first and the last."""
    return (
        "variant",
        "state",
        metric,
        "worse by",
        "size",
        "latency p50",
        "per million",
        "instructions",
        "estimated",
        "RAM",
    )


def _print_table(rows: Sequence[tuple[str, ...]], left: int) -> None:
    """Without the columns that say nothing of any row. `left`: how many are words, and not figures."""
    said = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    right = [n for n, i in enumerate(said) if left <= i < left + len(_columns("")) - 2]
    click.echo(_text.table([[row[i] for i in said] for row in rows], right=right) + "\n")


def _row(target: Summary, variant: Summary, *first: str) -> tuple[str, ...]:
    size = variant["flash"] if variant["flash"] is not None else variant["size"]
    return (
        *first,
        variant["variant"],
        _text.state(variant["state"]),
        "" if variant["metric"] is None else f"{variant['metric']:.4f}",
        _worse(variant),
        _text.size(size),
        _latency(variant["measured"]),
        _price(variant["price"]),
        _text.count(variant["instructions"]),
        _text.estimate(variant["cycles"], variant["estimate"]),
        _text.size(variant["ram"]),
        click.style("<- kept", bold=True) if variant["variant"] == target["kept"] else "",
    )


def _worse(variant: Summary) -> str:
    """What the drop is not above, with 95 % or the recipe's confidence; a star where that is not within
    max_drop.
    """
    bound = variant["drop_at_most"]
    if variant["drop"] is None or bound is None:
        return ""
    return f"<={max(bound, 0.0):.4f}" + (" *" if _unproven(variant) else "")


def _unproven(variant: Summary) -> bool:
    """Whether it passed as measured, but might be worse than accepted. What failed has its reason instead."""
    return variant["proven"] is False and variant["state"] == "verified"


def _price(price: Summary | None) -> str:
    return "" if price is None else f"{price['amount']:.3g} {price['currency']}"


def _print_margins(summary: Summary) -> None:
    """On how many samples what was kept was chosen and judged, and whether something is not proven."""
    shared: set[int | None] = set()
    for target in summary["targets"]:
        kept = next((v for v in target["variants"] if v["variant"] == target["kept"]), None)
        if kept is not None and kept["judging"] is not None:
            half = kept["judging"]
            click.echo(
                f"{target['target']}: chosen on {kept['choosing']['samples']} samples, judged on the other "
                f"{half['samples']}: worse by {half['value']:.4f}"
            )
        elif any(v["choosing"] for v in target["variants"]):
            shared.add(target["half_needed"])
    if shared:
        takes = " or ".join(str(n) for n in sorted(n for n in shared if n is not None))
        apart = f" (halves of {takes} each would keep the two apart)" if takes else ""
        click.echo(f"chosen and judged on the same {summary['reference']['samples']} samples{apart}")
    if any(_unproven(v) for t in summary["targets"] for v in t["variants"]):
        click.echo("* within what is accepted as measured, but not proven to be: it takes more samples")


def _print_memory(summary: Summary) -> None:
    """What the RAM of kept firmware is made of."""
    for target in summary["targets"]:
        for v in target["variants"]:
            if v["variant"] == target["kept"] and (memory := _text.memory(v["notes"])):
                click.echo(f"{target['target']}: {memory}")


def _latency(measured: Summary) -> str:
    """The median; with a question mark where the machine was busy, see `_print_noise`."""
    timing = measured["timing"]
    return "" if timing is None else _text.seconds(timing["p50"]) + (" ?" if measured["noise"] else "")


def _print_noise(summary: Summary) -> None:
    noises = {t["target"]: t["conditions"]["noise"] for t in summary["targets"] if t["conditions"]}
    for noise in sorted(set(noises.values()) - {""}):
        targets = ", ".join(name for name, said in noises.items() if said == noise)
        click.echo(f"? times for {targets} are noisy: {noise} meanwhile")


def _print_failures(summary: Summary) -> None:
    for target in summary["targets"]:
        for variant in target["variants"]:
            if variant["state"] in ("failed", "refused"):
                click.echo(f"{target['target']} {variant['variant']}: {variant['reason']}")
                for line in (variant["remedy"], f"log: {variant['log']}" if variant["log"] else ""):
                    if line:
                        click.echo(f"  {line}")
                click.echo()


def _print_parity(summary: Summary) -> None:
    if summary["parity"] is None:
        return
    pairs = summary["parity"]["pairs"]
    shown = [p for p in pairs if p["a"] == "reference"]
    others = [p for p in pairs if p["a"] != "reference"]
    if others:
        shown.append(min(others, key=lambda p: (p["same_answer"], -p["max_abs"])))
    rows = [("same inputs", "against", "largest difference", "same answers")]
    rows += [(p["b"], p["a"], f"{p['max_abs']:.3g}", f"{100 * p['same_answer']:.2f} %") for p in shown]
    click.echo(_text.table(rows, right=(2, 3)) + "\n")


def _print_end(summary: Summary) -> None:
    bundle = summary["bundle"]
    if bundle is not None:
        part = " (of a part of the recipe)" if summary["partial"] else ""
        click.echo(f"bundle {summary['recipe']}@{summary['version']}{part}  {bundle['id']}")
        click.echo(f"  {_relative(Path(bundle['folder']))}")
    elif not summary["ok"]:
        lost = [t["target"] for t in summary["targets"] if t["kept"] is None]
        why = f"no variant passed for {', '.join(lost)}" if lost else "a variant broke"
        if (gate := summary["gate"]) is not None and not gate["ok"]:
            why = f"worse than {gate['against']}: {'; '.join(gate['reasons'])}"
        click.echo(f"{click.style('no bundle:', fg='red', bold=True)} {why}")
        for target in summary["targets"]:
            if (nearest := target["nearest"]) is not None:
                place = f"; it is kept aside in {nearest['folder']}" if nearest["folder"] else ""
                near = f"{nearest['variant']} came nearest, at {nearest['over']:.3g} times what is allowed"
                trials = "" if target["trials"] is None else f"of {target['trials']} trials, "
                click.echo(f"  {target['target']}: {trials}{near}{place}")


def _relative(folder: Path) -> Path:
    here = Path.cwd()
    return folder.resolve().relative_to(here) if folder.resolve().is_relative_to(here) else folder
