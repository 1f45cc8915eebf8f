"""A variant: one way to build for one target, and the name that tables, evidence and bundles call it by.

What changes an artifact's bytes stands in the variant itself; `Settings` only say how the runtime runs them,
so variants that differ in nothing else share one artifact.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from sprue.target import Precision, Target

Optimization = Literal["all", "extended", "basic", "off"]
OPTIMIZATIONS: tuple[Optimization, ...] = get_args(Optimization)
BorderType = Literal["float32", "int8"]


@dataclass(frozen=True)
class Settings:
    """How a runtime runs an artifact. A backend names those that it reads in `Backend.settings`.

    `spinning`: its threads wait for work without sleeping. `optimization`: how far the runtime rewrites the
    graph while loading it.
    """

    threads: int = 1
    spinning: bool = False
    optimization: Optimization = "all"

    def only(self, names: Collection[str]) -> Settings:
        """With the default for whatever is not named."""
        return Settings(**{n: getattr(self, n) for n in names})

    def words(self) -> list[str]:
        """What differs from the defaults, for the name of a variant."""
        return [
            *([f"{self.threads}threads"] if self.threads != 1 else []),
            *(["spinning"] if self.spinning else []),
            *([f"graph-{self.optimization}"] if self.optimization != "all" else []),
        ]


@dataclass(frozen=True)
class Compression:
    """What makes the network itself another, before any backend sees it. All zero: nothing.

    `prune`: the share of channels to remove. `sparsity`: the share of weights to set to zero. `cluster`: how
    many different values a weight tensor may hold.
    """

    prune: float = 0.0
    sparsity: float = 0.0
    cluster: int = 0

    def words(self) -> list[str]:
        return [
            *([f"pruned{100 * self.prune:g}"] if self.prune else []),
            *([f"sparse{100 * self.sparsity:g}"] if self.sparsity else []),
            *([f"clustered{self.cluster}"] if self.cluster else []),
        ]


@dataclass(frozen=True)
class Variant:
    """`float_layers`: nodes of the simplified model, by name, that an int8 precision leaves in float; of
    int8-weights the weights that it stores in half precision. `border`: "int8" makes integers of the inputs
    and outputs that the graph quantizes (border.py); else they are as the model has them.
    """

    target: Target
    backend: str
    precision: Precision
    compression: Compression = Compression()
    float_layers: tuple[str, ...] = ()
    settings: Settings = Settings()
    border: BorderType = "float32"

    @property
    def id(self) -> str:
        """Such as "onnxruntime-int8-static-2threads", or "tflite-int8-mixed3" with three layers in float.

        Unique within a target as long as sets of float layers of one size are equal: they are beginnings of
        one ranking, or one set is proposed for each number.
        """
        return "-".join([self.artifact_id, *self.settings.words()])

    @property
    def artifact_id(self) -> str:
        """The name without the settings."""
        precision: str = self.precision
        if self.float_layers:
            stem = "int8-weights-half" if precision == "int8-weights" else "int8-mixed"
            precision = f"{stem}{len(self.float_layers)}"
        border = ["int8-border"] if self.border == "int8" else []
        return "-".join([self.backend, precision, *border, *self.compression.words()])

    def on(self, settings: Settings) -> Variant:
        """The same artifact, run otherwise."""
        return replace(self, settings=settings)

    def to_json(self) -> dict[str, Any]:
        """Without a border that is the model's own."""
        made = asdict(self)
        return made if self.border == "int8" else {k: v for k, v in made.items() if k != "border"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Variant:
        """From what `to_json` made."""
        plain = {**data, "target": Target.from_json(data["target"])}
        plain["compression"] = Compression(**data["compression"])
        plain["settings"] = Settings(**data["settings"])
        plain["float_layers"] = tuple(data["float_layers"])
        return cls(**plain)


@dataclass(frozen=True)
class Offer:
    """A candidate that a backend proposes for a graph and a target, and why.

    `mixed`: if it breaks what is accepted, find the fewest layers that must stay in float. `small`: it is
    smaller, and no faster than float: proposed only where the smallest is kept. `large`: the backend's small
    offer is smaller: where the smallest is kept, proposed only if that does not hold.
    """

    precision: Precision
    why: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    mixed: bool = False
    small: bool = False
    large: bool = False


SETTINGS = tuple(f.name for f in fields(Settings))
