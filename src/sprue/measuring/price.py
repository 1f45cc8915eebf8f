"""What a core costs: a TOML file that recipes name, `prices = "prices.toml"`.

[price.server-cpu]
amount   = 0.17
currency = "USD"
per      = "instance-hour"        # or "core-hour"
cores    = 4                      # of the instance; left out for "core-hour"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from sprue.errors import SprueError
from sprue.target_file import Strict
from sprue.toml import Document, read_toml, validate


class PriceTable(Strict):
    """`[price.<target>]`."""

    amount: float = Field(ge=0, allow_inf_nan=False, description="of `currency`, for one unit of `per`")
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217", examples=["EUR"])
    per: Literal["core-hour", "instance-hour"]
    cores: int | None = Field(None, ge=1, le=4096, description="of an instance that is paid by the hour")


class PriceFile(Strict):
    """A price file."""

    price: dict[str, PriceTable] = Field(min_length=1, description="by target id")


@dataclass(frozen=True)
class Price:
    """`per_core_hour` in `currency`, ISO 4217."""

    per_core_hour: float
    currency: str


def read_prices(path: Path, *, where: str = "") -> tuple[Mapping[str, Price], Document]:
    """Target id -> its price, and the file. Raises SprueError naming file, line and key. `where`: who names
    it.
    """
    if not path.is_file():
        raise SprueError(f"there is no price file {path}", where=where, remedy="write one, see docs/cost.md")
    document = read_toml(path)
    file = validate(PriceFile, document)
    return {target: _price(target, table, document) for target, table in file.price.items()}, document


def _price(target: str, table: PriceTable, document: Document) -> Price:
    if (table.per == "instance-hour") != (table.cores is not None):
        given = "needs the key" if table.cores is None else "is paid by the core, so leave out"
        raise SprueError(
            f"'price.{target}' {given} 'cores'", where=document.place(["price", target, "cores"])
        )
    return Price(table.amount / (table.cores or 1), table.currency)
