"""A Pareto plot: two figures of a target's variants against each other, what is kept, and what is best.

What stands here is geometry in pixels; templates/plot.svg.j2 draws it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sprue.report.axis import Axis, axis
from sprue.report.data import TargetReport, Tried
from sprue.report.figures import Figure, known, speed

WIDTH, HEIGHT = 400, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 388, 14, 232
LETTER = 6.1
"""Width of an average letter of a label, in pixels."""

Kind = Literal["kept", "front", "passed", "failed"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """`shown`: there was room for it; otherwise it shows when the mark is pointed at or has the focus."""

    x: float
    y: float
    anchor: Literal["start", "middle", "end"]
    shown: bool


@dataclass(frozen=True)
class Mark:
    """`second`: of a second model. `error`: the ends of its metric's interval, in pixels."""

    tried: Tried
    kind: Kind
    x: float
    y: float
    label: Label
    title: str
    second: bool = False
    error: tuple[float, float] | None = None

    @property
    def words(self) -> str:
        return "kept" if self.kind == "kept" else self.tried.state


@dataclass(frozen=True)
class Rule:
    """A horizontal line that means something."""

    y: float
    text: str


@dataclass(frozen=True)
class Plot:
    """`front`: the line of those that no other beats in both figures, as points of an SVG polyline."""

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    front: str
    rules: tuple[Rule, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def plots(target: TargetReport, figures: Sequence[Figure], second: Collection[str] = ()) -> tuple[Plot, ...]:
    """Each pair of figures that has something to show: at least two variants that differ in both.

    `second`: the variants of a second model, which get a shape of their own.
    """
    tried = target.tried
    costs = [f for f in (speed(tried), *known([f for f in figures if f.key == "size"], tried)) if f]
    paid = {f.key: f for f in known(figures, tried)}
    costs += [paid[key] for key in ("price", "cpu", "energy") if key in paid][:1]
    metrics = [f for f in figures if f.word == "metric"]
    pairs = [(costs[1], costs[0])] if len(costs) > 1 else []
    pairs += [(cost, m) for m in metrics for cost in costs]
    return tuple(p for x, y in pairs if (p := plot(target, x, y, second)) is not None)


def plot(target: TargetReport, x: Figure, y: Figure, second: Collection[str] = ()) -> Plot | None:
    """One plot; None when there is nothing to compare."""
    there = [(t, a, b) for t in target.tried if (a := x.get(t)) is not None and (b := y.get(t)) is not None]
    if len({a for _, a, _ in there}) < 2 or len({b for _, _, b in there}) < 2:
        return None
    across = axis(x, [a for _, a, _ in there], LEFT, RIGHT)
    lines = _limits(target, y)
    spans = [s for t, _, _ in there for s in (_span(t, y) or ())]
    up = axis(y, [*(b for _, _, b in there), *(v for v, _ in lines), *spans], BOTTOM, TOP)
    best = _front([(t, a, b) for t, a, b in there if t.passed], x, y)
    marks = [
        (
            t,
            _kind(t, best),
            across.at(a),
            up.at(b),
            f"{t.variant}: {x.label} {x.text(a)}, {y.label} {y.text(b)}",
        )
        for t, a, b in there
    ]
    return Plot(
        f"{y.label} against {x.label}",
        across,
        up,
        tuple(_told(mark, y, up, second) for mark in _labelled(marks)),
        " ".join(f"{across.at(a)},{up.at(b)}" for a, b in _stairs(best)),
        tuple(Rule(up.at(v), text) for v, text in lines),
    )


def _span(tried: Tried, y: Figure) -> tuple[float, float] | None:
    """The interval of a metric; None where it is not known."""
    if y.word != "metric" or tried.metric_low is None or tried.metric_high is None:
        return None
    return tried.metric_low, tried.metric_high


def _told(mark: Mark, y: Figure, up: Axis, second: Collection[str]) -> Mark:
    """A mark with its error bar, and the model that it is of."""
    span = _span(mark.tried, y)
    error = None if span is None else (up.at(span[0]), up.at(span[1]))
    return replace(mark, second=mark.tried.variant in second, error=error)


def _limits(target: TargetReport, y: Figure) -> list[tuple[float, str]]:
    """The lowest metric that the recipe accepts; it is known from any variant's metric and drop."""
    known_drop = next((t for t in target.tried if t.metric is not None and t.drop is not None), None)
    if y.word != "metric" or known_drop is None or target.max_drop is None:
        return []
    assert known_drop.metric is not None
    assert known_drop.drop is not None
    sign = 1 if y.higher_is_better else -1
    return [(known_drop.metric + sign * (known_drop.drop - target.max_drop), "least that is accepted")]


Point = tuple[Tried, float, float]


def _front(points: Sequence[Point], x: Figure, y: Figure) -> list[Point]:
    """Those that no other is as good as in both figures and better in one, by the first figure."""

    def beats(one: Point, other: Point) -> bool:
        worse = [f.worse(o, m) for f, o, m in ((x, other[1], one[1]), (y, other[2], one[2]))]
        return max(worse) <= 0 and min(worse) < 0

    return sorted((p for p in points if not any(beats(o, p) for o in points)), key=lambda p: p[1:])


def _stairs(best: Sequence[Point]) -> list[tuple[float, float]]:
    """From one to the next along the axes: what lies beyond the line is beaten by one on it."""
    made: list[tuple[float, float]] = []
    for _, a, b in best:
        if made:
            made.append((a, made[-1][1]))
        made.append((a, b))
    return made


def _kind(tried: Tried, best: Sequence[Point]) -> Kind:
    if tried.selected:
        return "kept"
    if tried.state == "failed":
        return "failed"
    return "front" if any(t is tried for t, _, _ in best) else "passed"


def _labelled(marks: Sequence[tuple[Tried, Kind, float, float, str]]) -> tuple[Mark, ...]:
    """Give each mark a label where it covers nothing, the important ones first."""
    order: dict[Kind, int] = {"kept": 0, "front": 1, "passed": 2, "failed": 3}
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for _, _, x, y, _ in marks]
    made = []
    for tried, kind, x, y, title in sorted(marks, key=lambda m: order[m[1]]):
        label = _free(x, y, len(tried.variant) * LETTER, taken)
        made.append(Mark(tried, kind, x, y, label, title))
    return tuple(made)


def _free(x: float, y: float, width: float, taken: list[Box]) -> Label:
    places: list[Label] = []
    for dy in (4.0, -9.0, 17.0, -21.0, 29.0):
        side = 9.0 if dy == 4.0 else 4.0
        places += [Label(x + side, y + dy, "start", True), Label(x - side, y + dy, "end", True)]
        places += [Label(x, y + dy, "middle", True)] if dy != 4.0 else []
    for label in places:
        left = x + {"start": 0, "middle": -width / 2, "end": -width}[label.anchor] + (label.x - x)
        box = (left, label.y - 10, left + width, label.y + 3)
        inside = min(box[0] - LEFT, WIDTH - box[2], box[1] - TOP + 8, BOTTOM - box[3]) > 0
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return Label(round(label.x, 1), round(label.y, 1), label.anchor, True)
    anchor: Literal["start", "end"] = "start" if x < (LEFT + RIGHT) / 2 else "end"
    return Label(round(x + (9 if anchor == "start" else -9), 1), round(y - 9, 1), anchor, False)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
