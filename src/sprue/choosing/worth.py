"""Whether a variant is worth having beside float: what is neither faster nor smaller is refused with figures.

Quantization that gains nothing still costs exactness, and someone's time when it goes wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sprue.choosing.select import Result, select, stored_bytes, times_as_long
from sprue.measuring.timing import INDIFFERENT
from sprue.recipe import Preference
from sprue.variant import Compression


def weighed(results: Sequence[Result], prefer: Preference) -> list[Result]:
    """The results of one target, those refused that gain nothing against the best float32 that passed."""
    floats = [r for r in results if r.passed and _is_float(r)]
    against = select(floats, prefer)
    if against is None:
        return list(results)
    return [_weighed(r, against, prefer) if r.passed and not _is_float(r) else r for r in results]


def _is_float(result: Result) -> bool:
    return result.variant.precision == "float32" and result.variant.compression == Compression()


def _weighed(result: Result, against: Result, prefer: Preference) -> Result:
    smaller = stored_bytes(result) < stored_bytes(against) or (result.ram or 0) < (against.ram or 0)
    better = prefer == "metric" and (result.drop or 0.0) < (against.drop or 0.0)
    better = better or (prefer == "cost" and _cheaper(result, against))
    if smaller or better or _faster(result, against):
        return result
    said = ", ".join(t for t in (_speed(result, against), _size(result, against)) if t)
    reason = f"not worth it: neither faster nor smaller than {against.variant.id} ({said})"
    return replace(result, state="refused", reason=reason, stood=result.state)


def _cheaper(result: Result, against: Result) -> bool:
    """By more than what is no difference; the latency may be the same."""
    if result.timing is None or against.timing is None:
        return False
    return result.timing.cpu * (1 + INDIFFERENT) < against.timing.cpu


def _faster(result: Result, against: Result) -> bool:
    """Beyond doubt; where nothing can be said of its speed, it may be."""
    if result.timing is not None and against.timing is not None:
        return times_as_long(result, against)[1]
    if result.instructions is not None and against.instructions is not None:
        return result.instructions < against.instructions
    return True


def _size(result: Result, against: Result) -> str:
    size = f"{stored_bytes(result)} bytes instead of {stored_bytes(against)}"
    if result.deflated is None or against.deflated is None:
        return size
    return f"{size}; deflated, as for a download, {result.deflated} instead of {against.deflated}"


def _speed(result: Result, against: Result) -> str:
    """Latency as a ratio, which says more than two times that another day has otherwise."""
    if result.timing is not None and against.timing is not None:
        return f"{times_as_long(against, result)[0]:.2f} times its latency"
    if result.instructions is not None and against.instructions is not None:
        return f"{result.instructions} instructions instead of {against.instructions}"
    return ""
