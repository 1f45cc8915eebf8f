"""Why a variant was not kept, in words and numbers."""

from __future__ import annotations

from sprue.report.data import TargetReport, Tried
from sprue.report.figures import INSTRUCTIONS, LATENCY, SIZE, Figure
from sprue.select import NOISE


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
    elif target.prefer == "latency":
        for figure in (LATENCY, INSTRUCTIONS):
            times = figure.get(tried), figure.get(kept)
            if times[0] is not None and times[1]:
                return _slower(figure, times[0], times[1], tried, kept)
    return _larger(tried, kept) or "no better, and later in the recipe"


def _slower(figure: Figure, mine: float, best: float, tried: Tried, kept: Tried) -> str:
    if mine > best * (1 + NOISE):
        word = "slower" if figure is LATENCY else "more instructions"
        return f"{mine / best:.2f}x {word}: {figure.text(mine)} against {figure.text(best)}"
    how = "faster" if mine < best else "as fast"
    return f"{how} only within noise ({NOISE:.0%}); {_larger(tried, kept) or 'later in the recipe'}"


def _larger(tried: Tried, kept: Tried) -> str:
    mine, best = SIZE.get(tried), SIZE.get(kept)
    if mine is None or best is None or mine <= best:
        return ""
    return f"{SIZE.change(best, mine)} larger: {SIZE.text(mine)} against {SIZE.text(best)}".replace(
        "+", "", 1
    )
