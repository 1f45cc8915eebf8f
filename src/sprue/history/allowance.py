"""`[gate]`: by how much what a recipe makes may get worse than a bundle that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from sprue.quantity import SHARE, parse_share
from sprue.target_file import Strict

Share = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(parse_share),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{SHARE}$"}]}
    ),
]


class GateFile(Strict):
    """`[gate]`. Shares are written "2 %" or 0.02."""

    metric: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="of the model's metric, as it is; default: 0.005"
    )
    size: Share | None = Field(None, description='of the artifact\'s size; default: "2 %"')
    latency: Share | None = Field(None, description='of latency, or of instructions; default: "10 %"')
    cost: Share | None = Field(
        None, description='of memory and of what else an inference uses; default: "10 %"'
    )


@dataclass(frozen=True)
class Gate:
    """The metric as it is, the rest in parts of what it was."""

    metric: float = 0.005
    size: float = 0.02
    latency: float = 0.10
    cost: float = 0.10
