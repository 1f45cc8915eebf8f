"""Two models of one task side by side, target by target: what quality costs.

They must have been asked the same questions: the same metric, on the same evaluation file or at least on the
same labels in the same order (inputs may be encoded otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sprue.errors import SprueError
from sprue.report.data import Report, TargetReport
from sprue.report.figures import figures
from sprue.report.plot import Plot, plots
from sprue.report.versus import Row, TargetVersus, not_asked_the_same, versus

SAME = 0.005
"""Of a cost: what a ratio with two decimals does not show."""


@dataclass(frozen=True)
class Margin:
    """By how much the second's metric lies above the first's: with `confidence` between `low` and `high`."""

    low: float
    high: float
    confidence: float = 0.95

    @property
    def text(self) -> str:
        return f"{100 * self.confidence:g} %: {self.low:+.4f} to {self.high:+.4f}"


@dataclass(frozen=True)
class Task:
    """One target of both. `margin`: of the metric's difference; None where it is not known."""

    versus: TargetVersus
    plots: tuple[Plot, ...]
    margin: Margin | None = None

    @property
    def verdict(self) -> str:
        """What the second costs and brings, in a sentence."""
        said = [word for row in self.versus.rows if (word := _word(row, self.margin))]
        return "; ".join(said) or "nothing that can be compared differs"

    def json(self, row: Row) -> dict[str, object]:
        known = self.margin if row.figure.word == "metric" else None
        return {**row.json(), "margin": None if known is None else [known.low, known.high]}


@dataclass(frozen=True)
class Compared:
    """`names`: what the two are called here. `same_file`: both were judged on one file."""

    one: Report
    other: Report
    names: tuple[str, str]
    same_file: bool
    tasks: tuple[Task, ...]

    def json(self) -> dict[str, object]:
        """What `--json` prints."""
        sides = {
            key: {"name": r.name, "version": r.version, "id": r.id}
            for key, r in (("one", self.one), ("other", self.other))
        }
        rows = [task.json(row) for task in self.tasks for row in task.versus.rows]
        return {**sides, "same_file": self.same_file, "rows": rows}


def compare(one: Report, other: Report, margins: Mapping[str, Margin] | None = None) -> Compared:
    """Raises SprueError when the two were not asked the same, or have no target in common."""
    if reason := not_asked_the_same(one, other):
        raise SprueError(
            f"{one.name} and {other.name} cannot be compared: {reason}",
            remedy="let both models name the same metric and the same evaluation data",
        )
    found = [t for t in versus(one, other).targets if t.before is not None and t.after is not None]
    if not found:
        raise SprueError(
            f"{one.name} and {other.name} have no target in common for which something was kept",
            remedy="build both for one target",
        )
    assert one.reference is not None
    assert other.reference is not None
    same_file = bool(one.reference.evaluation) and one.reference.evaluation == other.reference.evaluation
    names = _names(one, other)
    tasks = tuple(Task(t, _plots(t.id, one, other, names), (margins or {}).get(t.id)) for t in found)
    return Compared(one, other, names, same_file, tasks)


def _names(one: Report, other: Report) -> tuple[str, str]:
    """Short ones that differ."""
    if one.name != other.name:
        return one.name, other.name
    if one.version != other.version:
        return f"{one.name} {one.version}", f"{other.name} {other.version}"
    return f"{one.name} (first)", f"{other.name} (second)"


def _plots(name: str, one: Report, other: Report, names: tuple[str, str]) -> tuple[Plot, ...]:
    """All variants of both in one plot; those of the second are drawn as squares."""
    targets = [next(t for t in r.targets if t.id == name) for r in (one, other)]
    tried = tuple(
        replace(t, variant=f"{label}: {t.variant}")
        for label, target in zip(names, targets, strict=True)
        for t in target.tried
    )
    second = frozenset(t.variant for t in tried[len(targets[0].tried) :])
    both: TargetReport = replace(targets[0], tried=tried, max_drop=None)
    return plots(both, figures(one), second)


def _word(row: Row, margin: Margin | None) -> str:
    if row.worse is None or row.before is None or row.after is None or not row.worse:
        return ""
    if row.figure.word == "metric":
        word = "worse" if row.worse > 0 else "better"
        by = f"{abs(row.after - row.before):.4f} {word} in {row.figure.label}"
        if margin is None:
            return by
        doubt = ", which may be chance" if margin.low <= 0 <= margin.high else ""
        return f"{by} ({margin.text}{doubt})"
    if not row.before or abs(row.after / row.before - 1) < SAME:
        return ""
    return f"{row.after / row.before:.2f}x the {row.figure.label}"
