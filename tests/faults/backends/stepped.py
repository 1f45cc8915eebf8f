"""The null backend with a pass, so that a build has every stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sprue.backend import Pass, Variant, find
from sprue.passes.simplify import Simplify

if TYPE_CHECKING:
    from typing import TypeAlias

    Null: TypeAlias = object
else:
    Null = type(find("null"))


class Stepped(Null):
    name = "stepped"

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        return (Simplify(),)


BACKEND = Stepped()
