"""Two reports side by side: what became of each figure of what was kept for each target.

Times are compared only where both were measured on one machine, and even then in different runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from sprue.report.data import Report, TargetReport, Tried
from sprue.report.figures import Figure, figures


@dataclass(frozen=True)
class Row:
    """One figure of one target; None: not known. `note` says why it is not `comparable`.

    `ratio`: of times that were measured round by round; `sure`: that they differ is beyond doubt.
    """

    target: str
    figure: Figure
    before: float | None
    after: float | None
    comparable: bool = True
    note: str = ""
    ratio: float | None = None
    sure: bool = True

    @property
    def worse(self) -> float | None:
        """By how much it is worse, see `Figure.worse`; None where that cannot be said."""
        if not self.comparable or self.before is None or self.after is None:
            return None
        return self.figure.worse(self.before, self.after) if self.ratio is None else self.ratio - 1

    @property
    def change(self) -> str:
        if self.before is None or self.after is None or not self.comparable:
            return ""
        if self.ratio is not None:
            return f"{self.ratio - 1:+.1%}".replace("%", " %")
        return self.figure.change(self.before, self.after)

    def json(self) -> dict[str, object]:
        values = {"before": self.before, "after": self.after, "worse": self.worse, "note": self.note}
        return {"target": self.target, "figure": self.figure.key, **values}


@dataclass(frozen=True)
class TargetVersus:
    """`before`, `after`: what was kept; None: nothing, or there was no such target."""

    id: str
    before: Tried | None
    after: Tried | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Versus:
    before: Report
    after: Report
    targets: tuple[TargetVersus, ...]

    def json(self) -> dict[str, object]:
        """What `--json` prints."""
        sides = {"before": self.before, "after": self.after}
        rows = [row.json() for target in self.targets for row in target.rows]
        return {
            **{k: {"name": r.name, "version": r.version, "id": r.id} for k, r in sides.items()},
            "rows": rows,
        }


def versus(before: Report, after: Report) -> Versus:
    """Compare what was kept, target by target, in the order of `after`; targets that are gone come last."""
    old, new = ({t.id: t for t in r.targets} for r in (before, after))
    names = [*new, *(name for name in old if name not in new)]
    return Versus(before, after, tuple(_target(n, old.get(n), new.get(n), before, after) for n in names))


def _target(
    name: str, old: TargetReport | None, new: TargetReport | None, before: Report, after: Report
) -> TargetVersus:
    one, two = (t.kept if t is not None else None for t in (old, new))
    rows = []
    for figure in figures(after):
        values = [None if t is None else figure.get(t) for t in (one, two)]
        if values != [None, None]:
            rows.append(_row(name, figure, values[0], values[1], before, after))
    return TargetVersus(name, one, two, tuple(rows))


def _row(
    name: str, figure: Figure, old: float | None, new: float | None, before: Report, after: Report
) -> Row:
    note = ""
    if figure.word == "metric":
        note = not_asked_the_same(before, after)
    elif not figure.exact and before.machine != after.machine:
        note = "measured on another machine"
    return Row(name, figure, old, new, not note, note)


def not_asked_the_same(one: Report, other: Report) -> str:
    """Why the metrics of two reports cannot be compared; "" if they can."""
    a, b = one.reference, other.reference
    if a is None or b is None:
        return "there is no metric"
    if a.metric != b.metric:
        return f"the metrics are {a.metric} and {b.metric}"
    same = (a.evaluation and a.evaluation == b.evaluation) or (a.labels and a.labels == b.labels)
    return "" if same else "the evaluation data differ"
