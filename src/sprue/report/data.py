"""The data of a report: what was tried for each target, what was kept, and how that was found out.

Bundles come from strangers, so `read.py` validates all of it against the types here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e18, le=1e18)]
Count = Annotated[int, Field(ge=0, le=2**60)]
Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e9)]
Share = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]


def _visible(text: str) -> str:
    """Without what does not print, or turns the direction of what follows."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


Text = Annotated[str, Field(max_length=10_000), AfterValidator(_visible)]
Name = Annotated[str, Field(max_length=200), AfterValidator(_visible)]

MOST_OPERATORS = 10
"""That are shown of an artifact."""

State = Literal["verified", "prepared", "refused", "failed"]


@dataclass(frozen=True)
class How:
    """How a variant was made."""

    backend: Name = ""
    precision: Name = ""


@dataclass(frozen=True)
class Timing:
    """Seconds of one sample. `best`: the median of the best round; `rounds`: that of each.

    `cpu`: core-seconds, of all threads.
    """

    load: Seconds
    best: Seconds
    p50: Seconds
    p95: Seconds
    cpu: Seconds
    rounds: tuple[Seconds, ...] = ()


@dataclass(frozen=True)
class Operator:
    """One step of an artifact, as its runtime calls it. `share`: of the whole inference."""

    name: Name
    op: Name
    share: Share
    seconds: Seconds | None = None
    instructions: Count | None = None


@dataclass(frozen=True)
class Bound:
    """The type of operator that takes most. `speedup`: what no faster one could exceed; None: no bound."""

    op: Name
    share: Share
    speedup: Number | None = None


@dataclass(frozen=True)
class Price:
    """Of a million inferences. `currency`: ISO 4217."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    amount: Seconds


@dataclass(frozen=True)
class Tried:
    """One variant. Sizes in bytes; None: not known, or not on this machine.

    `why`: why it was kept, failed or was refused; `offered`: why it was tried. The metric lies between
    `metric_low` and `metric_high`, and is at most `drop_at_most` worse than the float model's, with 95 %
    confidence (or the recipe's); `proven`: that is within what is accepted. `over`: how many times what is
    allowed it took. `flash`: what a board needs; `size`: of the artifact's files. `peak_memory`: of a process
    that loads and runs it. `energy`: joules of an inference, estimated; `cycles` and `estimate`, its
    seconds: estimated of an emulated processor. `noise`: why its times are noisy, "" if they are not.
    """

    target: Name
    variant: Name
    state: State
    selected: bool
    how: How = How()
    why: Text = ""
    execution: Name = ""
    artifact: Name | None = None
    offered: Text = ""
    metric: Number | None = None
    metric_low: Number | None = None
    metric_high: Number | None = None
    drop: Number | None = None
    drop_at_most: Number | None = None
    proven: bool | None = None
    over: Number | None = None
    size: Count | None = None
    flash: Count | None = None
    ram: Count | None = None
    instructions: Count | None = None
    cycles: Count | None = None
    estimate: Seconds | None = None
    timing: Timing | None = None
    noise: Text = ""
    peak_memory: Count | None = None
    bytes_moved: Count | None = None
    energy: Seconds | None = None
    price: Price | None = None
    operators: tuple[Operator, ...] = ()
    bound: Bound | None = None
    max_abs: Number | None = None
    tolerance_used: Number | None = None
    same_answer: Share | None = None
    notes: Mapping[Name, Text] = field(default_factory=dict)

    @property
    def bytes(self) -> int | None:
        """What counts as its size."""
        return self.flash if self.flash is not None else self.size

    @property
    def latency(self) -> float | None:
        return None if self.timing is None else self.timing.best

    @property
    def cpu(self) -> float | None:
        """Core-seconds of an inference."""
        return None if self.timing is None else self.timing.cpu

    @property
    def passed(self) -> bool:
        return self.state in ("verified", "prepared")

    @property
    def heaviest(self) -> tuple[Operator, ...]:
        """The operators that take most, the largest share first."""
        return tuple(sorted(self.operators, key=lambda o: -o.share)[:MOST_OPERATORS])


@dataclass(frozen=True)
class Conditions:
    """What went on while variants were timed. `others`: cores' worth of time that other processes took."""

    cores: tuple[Count, ...] = ()
    others: Number | None = None
    stolen: Number | None = None
    noise: Text = ""


@dataclass(frozen=True)
class TargetReport:
    """`prefer` and `max_drop` are the recipe's; `tried` is in the recipe's order.

    `conditions`: None if nothing was timed.
    """

    id: Name
    os: Name
    arch: Name
    tried: tuple[Tried, ...]
    prefer: Name = "latency"
    max_drop: Number | None = None
    conditions: Conditions | None = None

    @property
    def kept(self) -> Tried | None:
        return next((t for t in self.tried if t.selected), None)

    @property
    def nearest(self) -> Tried | None:
        """Of those that failed, the one that took the least beyond what is allowed."""
        judged = [t for t in self.tried if t.over is not None and not t.passed]
        return min(judged, key=lambda t: t.over or 0.0) if judged else None

    @property
    def float(self) -> Tried | None:
        """What the others are measured by: the fastest variant in float32 that passed, else in float16."""
        passed = [t for t in self.tried if t.passed]
        for precision in ("float32", "float16"):
            found = [t for t in passed if t.how.precision == precision]
            if found:
                return min(found, key=lambda t: (t.latency is None, t.latency or 0, t.instructions or 0))
        return None


@dataclass(frozen=True)
class Pair:
    """Two artifacts' answers to the same inputs. `same_answer`: the share of samples."""

    a: Name
    b: Name
    max_abs: Number
    same_answer: Share


@dataclass(frozen=True)
class Overlap:
    """Indices of evaluation samples that are calibration samples, too."""

    evaluation: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Work:
    """One inference of the float model. `macs`: multiply-adds."""

    macs: Count | None = None
    parameters: Count | None = None


@dataclass(frozen=True)
class Reference:
    """The float model, and what it was judged by.

    `evaluation`, `labels`: the sha256 of the file, and of the labels in it; "" if not known.
    """

    metric: Name
    value: Number
    samples: Count
    higher_is_better: bool = True
    output: Name = ""
    evaluation: Name = ""
    labels: Name = ""
    overlap: Overlap | None = None
    work: Work | None = None


@dataclass(frozen=True)
class Report:
    """One build, or one bundle (`id`: its id; "" for a build).

    `recipe`: the effective recipe, by dotted key. `error`: what was wrong with the model or data as a whole;
    then there is no `reference`, and there are no targets. `partial`: targets or variants were left out.
    `machine`: where the times were measured.
    """

    name: Name
    version: Name
    id: Name
    reference: Reference | None
    targets: tuple[TargetReport, ...]
    parity: tuple[Pair, ...] = ()
    recipe: Mapping[Name, Text] = field(default_factory=dict)
    toolchain: Mapping[Name, Text] = field(default_factory=dict)
    machine: Text = ""
    revision: Name = ""
    created: Name = ""
    partial: bool = False
    error: Text = ""

    @property
    def ok(self) -> bool:
        return not self.error and bool(self.targets) and all(t.kept is not None for t in self.targets)
