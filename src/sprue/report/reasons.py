"""Why a variant was not kept, in words and numbers."""

from __future__ import annotations

from sprue.measuring.timing import INDIFFERENT, compare
from sprue.report.data import TargetReport, Tried
from sprue.report.figures import CPU, INSTRUCTIONS, LATENCY, SIZE


def reason(tried: Tried, target: TargetReport) -> str:
    """The build's own reason, or how it compares with the one that was kept."""
    kept = target.kept
    if tried.why or kept is None or tried is kept:
        return tried.why
    if tried.state != kept.state:
        return f"{tried.state} only: it was not executed, {kept.variant} was"
    if target.prefer == "metric" and tried.drop is not None and kept.drop is not None:
        if tried.drop > kept.drop:
            return f"its metric is {tried.drop - kept.drop:.4f} worse"
    elif target.prefer == "cost" and tried.cpu is not None and kept.cpu:
        if tried.cpu > kept.cpu * (1 + INDIFFERENT):
            both = f"{CPU.text(tried.cpu)} against {CPU.text(kept.cpu)}"
            return f"{tried.cpu / kept.cpu:.2f}x the core-seconds: {both}"
    elif target.prefer == "latency" and (said := _slower(tried, kept)):
        return said
    return _larger(tried, kept) or "no better, and later in the recipe"


def _slower(tried: Tried, kept: Tried) -> str:
    """As the build judges it: round by round where both were timed in the same ones."""
    if tried.timing is not None and kept.timing is not None:
        times = f"{LATENCY.text(tried.latency)} against {LATENCY.text(kept.latency)}"
        rounds = kept.timing.rounds, tried.timing.rounds
        if rounds[0] and len(rounds[0]) == len(rounds[1]) and min(map(min, rounds)) > 0:
            compared = compare(*rounds)
            ratio, slower = compared.ratio, compared.slower
        else:
            ratio = tried.timing.best / kept.timing.best if kept.timing.best else 1.0
            slower = ratio > 1 + INDIFFERENT
        if slower:
            return f"{ratio:.2f}x slower: {times}"
        return f"as fast, as far as can be told; {_larger(tried, kept) or 'later in the recipe'}"
    mine, best = INSTRUCTIONS.get(tried), INSTRUCTIONS.get(kept)
    if mine is None or not best or mine <= best:
        return ""
    return f"{mine / best:.2f}x the instructions: {INSTRUCTIONS.text(mine)} against {INSTRUCTIONS.text(best)}"


def _larger(tried: Tried, kept: Tried) -> str:
    mine, best = SIZE.get(tried), SIZE.get(kept)
    if mine is None or best is None or mine <= best:
        return ""
    return f"{SIZE.change(best, mine)} larger: {SIZE.text(mine)} against {SIZE.text(best)}".replace(
        "+", "", 1
    )
