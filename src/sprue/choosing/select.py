"""Judging and selecting: which variants keep what the recipe asks for, and which of those is kept.

A variant is `verified` (its artifact ran, natively or emulated, and passed), `prepared` (it passed as far as
that can be known here, but the artifact itself was not executed), `refused` (it passed, and is not worth it,
see worth.py), or `failed`. Of those that cannot be told
from the fastest (see timing.py) the smaller artifact wins, then the recipe's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sprue.backend import Variant
from sprue.judging.acceptance import at_most, decisive, drop_reason, judged_apart, proves
from sprue.measuring.measured import Measured
from sprue.measuring.timing import INDIFFERENT, Timing, compare
from sprue.recipe import Accept, Preference
from sprue.target import Target

State = Literal["verified", "prepared", "refused", "failed"]

WORDS: Mapping[Preference, str] = {
    "latency": "the fastest, or the smallest of those that are as fast as can be told,",
    "size": "the smallest",
    "metric": "the best metric",
    "cost": "the fewest core-seconds",
}
NOISE = 0.10
"""Of the latency, where two artifacts could not be timed side by side."""


@dataclass(frozen=True)
class Result:
    """What became of one variant. Times in seconds, sizes in bytes, None: not known.

    `reason` says why it failed or was refused. `broken`: it failed not by a judgement but by a crash, an
    error or a missing package, so that the build as a whole did not do what it was asked for. `over`: how
    many times what is allowed it took of its tightest allowance; None where it could not be judged. `stood`:
    the state that one had before it was refused, which no measurement has changed. `cycles`: estimated of an
    inference; `estimate`: the seconds that they take at the target's clock.

    `metric` lies between `metric_low` and `metric_high` with 95 % confidence, and is at most `drop_at_most`
    worse than the reference's with the recipe's (default: 95 %); `proven`: that is within what is accepted,
    on the samples that it was judged on. `choosing` and `judging` hold the drop on the samples that it was
    chosen by and judged on; `judging` is None where there are too few to be apart. See docs/metrics.md.
    """

    variant: Variant
    state: State
    reason: str = ""
    broken: bool = False
    execution: str = ""
    metric: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None
    drop: float | None = None
    drop_at_most: float | None = None
    proven: bool | None = None
    choosing: Mapping[str, Any] | None = None
    judging: Mapping[str, Any] | None = None
    size: int | None = None
    flash: int | None = None
    ram: int | None = None
    instructions: int | None = None
    cycles: int | None = None
    estimate: float | None = None
    bytes_moved: int | None = None
    energy: float | None = None
    max_abs: float | None = None
    tolerance_used: float | None = None
    same_answer: float | None = None
    deflated: int | None = None
    over: float | None = None
    stood: State | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)

    @property
    def passed(self) -> bool:
        return self.state in ("verified", "prepared")

    @property
    def timing(self) -> Timing | None:
        return self.measured.timing


def judge(
    variant: Variant,
    verdict: Mapping[str, Any],
    size: int,
    accept: Accept,
) -> Result:
    """Hold a verdict against what the recipe accepts and the target allows. `size` in bytes."""
    whole = verdict["metric"]
    halves = judged_apart(whole["halves"], accept)
    chosen_by = whole["drop"] if halves is None else halves["choosing"]
    profile = verdict["profile"]
    outputs = verdict["outputs"]
    worst = max(outputs, key=lambda name: float(outputs[name]["used"]))
    same = [o["same_answer"] for o in outputs.values() if o["same_answer"] is not None]
    reasons = [
        *_output_reason(worst, outputs[worst]),
        *drop_reason(whole["name"], chosen_by, accept, "" if halves is None else "the choosing half of "),
        *_limit_reason("ram", profile["ram"], variant.target.limit_ram),
        *_limit_reason(
            "flash", profile["flash"] if profile["flash"] is not None else size, variant.target.limit_flash
        ),
    ]
    passed: State = "prepared" if verdict["execution"] == "stand-in" else "verified"
    return Result(
        variant=variant,
        state="failed" if reasons else passed,
        reason="; ".join(reasons),
        execution=verdict["execution"],
        metric=whole["value"],
        metric_low=whole["low"],
        metric_high=whole["high"],
        drop=whole["drop"]["value"],
        drop_at_most=at_most(whole["drop"], accept),
        proven=proves(whole["drop"] if halves is None else halves["judging"], accept),
        choosing=chosen_by,
        judging=None if halves is None else halves["judging"],
        size=size,
        flash=profile["flash"],
        ram=profile["ram"],
        instructions=profile["instructions"],
        cycles=profile["cycles"],
        estimate=variant.target.seconds(profile["cycles"]),
        max_abs=max(float(o["max_abs"]) for o in outputs.values()),
        tolerance_used=float(outputs[worst]["used"]),
        same_answer=min(same) if same else None,
        deflated=verdict["deflated"],
        over=_over(verdict, decisive(chosen_by, accept), accept.max_drop, variant.target, size),
        notes=profile["notes"],
    )


def _over(verdict: Mapping[str, Any], drop: float, allowed: float, target: Target, size: int) -> float:
    """The largest share of what is allowed that was taken, 1 being all of it."""
    profile = verdict["profile"]
    flash = profile["flash"] if profile["flash"] is not None else size
    needs = [(profile["ram"], target.limit_ram), (flash, target.limit_flash)]
    shares = [float(o["used"]) for o in verdict["outputs"].values()]
    shares.append(_share(drop, allowed))
    shares += [need / limit for need, limit in needs if need is not None and limit]
    return float(f"{max(0.0, *shares):.4g}")


def _share(drop: float, allowed: float) -> float:
    return drop / allowed if allowed > 0 else 1 + drop if drop > 0 else 0.0


def nearest(results: Sequence[Result]) -> Result | None:
    """Of those that failed, the one that would need the least more; None if none could be judged."""
    judged = [r for r in results if r.state == "failed" and r.over is not None]
    return min(judged, key=lambda r: (r.over or 0.0, stored_bytes(r))) if judged else None


def select(results: Sequence[Result], prefer: Preference) -> Result | None:
    """The one to keep of those that passed; None if none did."""
    passed = [r for r in results if r.passed]
    if not passed:
        return None
    # What was executed is worth more than what was not, whatever its figures.
    passed = [r for r in passed if r.state == "verified"] or passed
    return min(_best(passed, prefer), key=stored_bytes)


def choose(
    results: Sequence[Result], prefer: Preference, accept: Accept
) -> tuple[list[Result], Result | None]:
    """Select, and judge what was selected on the samples that it was not chosen by: if it fails there, it is
    failed, and the next is selected. The results, some of them failed since, and the one to keep.
    """
    settled = list(results)
    while (kept := select(settled, prefer)) is not None and kept.judging is not None:
        reasons = drop_reason("the metric", kept.judging, accept, "the judging half of ")
        if not reasons:
            break
        share = _share(decisive(kept.judging, accept), accept.max_drop)
        failed = replace(kept, state="failed", reason=reasons[0], over=max(kept.over or 0.0, share))
        settled[settled.index(kept)] = failed
    return settled, kept


def why(winner: Result, results: Sequence[Result], prefer: Preference) -> str:
    """The reason for a selection, in words that no time has a part in: a bundle's id covers them."""
    passed = [r for r in results if r.passed or r.state == "refused"]
    if len(passed) == 1:
        return "the only candidate" if len(results) == 1 else "the only candidate that passed"
    return f"{WORDS[prefer]} of {len(passed)} that passed"


def _best(rivals: Sequence[Result], prefer: Preference) -> list[Result]:
    """Those that are as good as the best, in the recipe's order."""
    if prefer == "latency" and all(r.timing is not None for r in rivals):
        fastest = rivals[0]
        for rival in rivals[1:]:
            if times_as_long(fastest, rival)[0] < 1:
                fastest = rival
        return [r for r in rivals if not times_as_long(fastest, r)[1]]
    costs = [_cost(r, prefer) for r in rivals]
    least = min(costs)
    if prefer == "metric":
        return [r for r, cost in zip(rivals, costs, strict=True) if cost == least or _might_lose(r, least)]
    near = least * (1 + INDIFFERENT) if prefer == "cost" else least
    return [r for r, cost in zip(rivals, costs, strict=True) if cost <= near]


def _might_lose(result: Result, drop: float) -> bool:
    """Whether the metric may in truth be worse than the reference's by no more than `drop`."""
    bound = None if result.choosing is None else result.choosing["at_least"]["0.95"]
    return bound is not None and bound <= drop


def times_as_long(first: Result, second: Result) -> tuple[float, bool]:
    """How many times as long the second takes, and whether it is slower beyond doubt."""
    assert first.timing is not None
    assert second.timing is not None
    if len(first.timing.rounds) == len(second.timing.rounds):
        compared = compare(first.timing.rounds, second.timing.rounds)
        return compared.ratio, compared.slower
    ratio = second.timing.best / first.timing.best
    return ratio, ratio > 1 + NOISE


def _cost(result: Result, prefer: Preference) -> float:
    """What is to be small. Latency is counted in instructions where only an emulator ran the artifact."""
    if prefer == "size":
        return float(stored_bytes(result))
    if prefer == "metric":
        return float(result.choosing["value"]) if result.choosing is not None else 0.0
    if result.timing is not None:
        return result.timing.cpu if prefer == "cost" else result.timing.best
    return float(result.instructions if result.instructions is not None else stored_bytes(result))


def stored_bytes(result: Result) -> int:
    """The flash that an artifact takes, or the size of its files."""
    return result.flash if result.flash is not None else result.size or 0


def _output_reason(name: str, agreement: Mapping[str, Any]) -> list[str]:
    if agreement["used"] <= 1:
        return []
    return [
        f"output '{name}' leaves its tolerance by a factor of {agreement['used']:.3g}: "
        f"{agreement['actual']:.6g} instead of {agreement['reference']:.6g} in sample {agreement['sample']}"
    ]


def _limit_reason(name: str, need: int | None, limit: int | None) -> list[str]:
    if limit is None:
        return []
    if need is None:
        return [f"limit.{name} is {limit} bytes, and this backend cannot tell what it needs"]
    return [f"it needs {need} bytes of {name}, limit.{name} is {limit}"] if need > limit else []
