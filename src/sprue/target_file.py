"""What a person writes in `targets/<id>.toml`, and what every table of a TOML file has in common.

Apart from `Target`, which workers get as JSON: they never import pydantic.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from sprue.quantity import FREQUENCY, SIZE, parse_frequency, parse_size

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": f"^{SIZE}$", "examples": ["64 KiB"]},
            ]
        }
    ),
]

Frequency = Annotated[
    int,
    BeforeValidator(parse_frequency),
    WithJsonSchema({"type": "string", "pattern": f"^{FREQUENCY}$", "examples": ["120 MHz"]}),
]


class Strict(BaseModel):
    """A table of a TOML file. Unknown keys are refused at every level."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LimitFile(Strict):
    """What an artifact may need at most. A recipe may lower a target's limits, not raise them."""

    ram: Size | None = Field(None, description="read-write memory: arena, stack, static data")
    flash: Size | None = Field(None, description="read-only memory or file size: code, weights, graph")


class PlatformFile(Strict):
    os: Literal["linux", "android", "ios", "macos", "windows", "none"]
    arch: Literal["x86_64", "aarch64", "armv6m", "armv7m", "armv7em", "armv8m", "armv81m", "riscv32", "any"]
    cpu: str = Field("", description="the compiler's name of the processor, such as cortex-m4")
    features: list[str] = Field(default_factory=list, description="ISA features that the artifact may use")
    clock: Frequency | None = Field(None, description="of the processor: makes seconds of estimated cycles")


class TargetFile(Strict):
    """`targets/<id>.toml`."""

    description: str
    family: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="targets of one family stand in for each other: a machine takes what suits it best",
    )
    backends: list[str] = Field(
        min_length=1, description="backends that serve this target, the default first"
    )
    platform: PlatformFile
    limit: LimitFile = Field(default_factory=lambda: LimitFile(ram=None, flash=None))
    runner: list[str] = Field(default_factory=list, description="CI runner labels that can build and run it")
