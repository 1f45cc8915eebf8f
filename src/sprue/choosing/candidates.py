"""Candidates: the alternatives that a recipe writes down for one target, multiplied out into variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from sprue.backend import find
from sprue.errors import SprueError, did_you_mean
from sprue.target import Precision, Target
from sprue.variant import SETTINGS, BorderType, Compression, Optimization, Settings, Variant

Wanted = Literal[Precision, "int8-mixed", "auto"]
"""What stands in `precision`: besides precisions, int8-static with as few layers in float as needed, and what
the backends offer."""
WANTED: tuple[Wanted, ...] = tuple(w for a in get_args(Wanted) for w in (get_args(a) or (a,)))


@dataclass(frozen=True)
class Space:
    """The alternatives for one target, each a non-empty tuple. Their product is what can be tried.

    There is one `border`: programs are written against it.
    """

    LISTS: ClassVar = ("prune", "sparsity", "cluster", "threads", "spinning", "optimization")

    backends: tuple[str, ...]
    precisions: tuple[Wanted, ...]
    prune: tuple[float, ...] = (0.0,)
    sparsity: tuple[float, ...] = (0.0,)
    cluster: tuple[int, ...] = (0,)
    threads: tuple[int, ...] = (1,)
    spinning: tuple[bool, ...] = (False,)
    optimization: tuple[Optimization, ...] = ("all",)
    border: BorderType = "float32"

    @property
    def auto(self) -> bool:
        return "auto" in self.precisions

    def variants(self, target: Target) -> tuple[Variant, ...]:
        """Those whose precision is written down; "int8-mixed" starts from int8-static, see `mixed`."""
        plain = [p for p in self.precisions if p not in ("auto", "int8-mixed")]
        wanted = [*plain, *(["int8-static"] if self.mixes and "int8-static" not in plain else [])]
        made = [
            v
            for backend in self.backends
            for precision in wanted
            if precision in find(backend).precisions
            for v in self.around(Variant(target, backend, precision, border=self.border))
        ]
        return tuple(dict.fromkeys(made))

    @property
    def mixes(self) -> bool:
        return "int8-mixed" in self.precisions

    def around(
        self, variant: Variant, offered: Mapping[str, Any] = MappingProxyType({})
    ) -> Iterator[Variant]:
        """The variant with every compression, and with every setting that its backend reads.

        `offered`: settings that a backend proposes; they hold where the recipe leaves the default.
        """
        reads = find(variant.backend).settings
        proposed = {k: v for k, v in offered.items() if getattr(self, k) == getattr(Space, k)}
        for compression in self.compressions():
            for settings in self.settings(reads):
                yield replace(variant, compression=compression, settings=replace(settings, **proposed))

    def compressions(self) -> list[Compression]:
        return [Compression(*values) for values in product(self.prune, self.sparsity, self.cluster)]

    def settings(self, reads: Sequence[str]) -> list[Settings]:
        every = [Settings(*values) for values in product(self.threads, self.spinning, self.optimization)]
        return list(dict.fromkeys(s.only(reads) for s in every))


def refuse_impossible(target: Target, space: Space, places: Mapping[str, str]) -> None:
    """Each backend and each precision must be in at least one pair that exists. Raises SprueError.

    A setting other than its default must be read by a backend, and an int8 border must be possible for all
    pairs. `places`: where each was written.
    """
    backends, precisions = space.backends, space.precisions
    for backend in backends:
        if backend not in target.backends:
            raise SprueError(
                f"target '{target.id}' is not served by a backend '{backend}'",
                where=places["backend"],
                remedy=did_you_mean(backend, target.backends),
            )
    for key, given in (("backend", backends), ("precision", precisions)):
        if len(set(given)) != len(given):
            raise SprueError(f"'target.{target.id}.{key}' names an alternative twice", where=places[key])
    offers = {b: _offer(b, places["backend"]) for b in backends}
    if space.auto and len(precisions) > 1:
        raise SprueError(
            "'auto' stands alone: it lets the backends choose among all precisions",
            where=places["precision"],
            remedy='write precision = "auto", or name the precisions',
        )
    for precision in precisions:
        if precision != "auto" and not any(precision in offer for offer in offers.values()):
            do = "do" if len(backends) > 1 else "does"
            raise SprueError(
                f"{' and '.join(backends)} {do} not offer precision '{precision}'",
                where=places["precision"],
                remedy=did_you_mean(precision, {p for offer in offers.values() for p in offer}),
            )
    for backend, offer in offers.items():
        if not space.auto and not set(offer) & set(precisions):
            raise SprueError(
                f"backend '{backend}' offers none of the precisions {', '.join(precisions)}",
                where=places["backend"],
                remedy=f"it offers {', '.join(offer)}",
            )
    if space.border == "int8":
        _refuse_border(target, space, offers, places["border"])
    read = {name for backend in backends for name in find(backend).settings}
    for name in SETTINGS:
        if name not in read and getattr(space, name) != getattr(Space, name):
            raise SprueError(
                f"{' and '.join(backends)} do not read '{name}'",
                where=places[name],
                remedy=f"leave it out; settings that are read: {', '.join(sorted(read)) or 'none'}",
            )


def _refuse_border(target: Target, space: Space, offers: Mapping[str, Sequence[Wanted]], place: str) -> None:
    """Raises SprueError for a candidate that could only have float32 at its border."""
    able = {b: find(b).int8_border for b in target.backends}
    for backend, offer in offers.items():
        if not able[backend]:
            others = ", ".join(b for b in able if able[b])
            remedy = f"leave it out, or name a backend that can: {others}" if others else "leave it out"
            raise SprueError(f'{backend} makes no artifact with border = "int8"', where=place, remedy=remedy)
        possible = [*able[backend], *(["int8-mixed"] if "int8-static" in able[backend] else [])]
        for precision in space.precisions:
            if precision not in possible and precision in ("auto", *offer):
                raise SprueError(
                    f'precision "{precision}" of {backend} does not go with border = "int8"',
                    where=place,
                    remedy=f'leave it out, or write precision = "{possible[0]}"',
                )


def _offer(backend: str, place: str) -> tuple[Wanted, ...]:
    try:
        precisions = find(backend).precisions
    except SprueError as error:
        raise SprueError(error.what, where=error.where or place, remedy=error.remedy) from error
    return (*precisions, "int8-mixed") if "int8-static" in precisions else precisions
