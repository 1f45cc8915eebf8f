"""The contract between sprue and a backend, and how backends are found.

A backend is one file or folder in `targets/` that ends in `BACKEND = ...`. It turns an ONNX model into one
runtime's artifact and runs it. Importing a backend module is cheap: it imports its runtime only when used.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast, runtime_checkable

import sprue.targets
from sprue.border import Border
from sprue.errors import SprueError, did_you_mean
from sprue.variant import Offer as Offer
from sprue.variant import Variant as Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    from sprue.facts import Facts
    from sprue.target import Precision, Target

    Samples = Mapping[str, NDArray[np.generic]]
    """Tensor name -> array [samples, ...]: axis 0 is the sample (batch) axis."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can compile here, and whether it can execute what it compiles.

    `missing` says what is not there, `install` is the command that brings it; both empty when all is well.
    """

    compiles: bool
    executes: bool
    missing: str = ""
    install: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that a backend cannot do with a model, known without compiling it."""

    kind: Literal["operator", "limit", "precision", "shape"]
    node: str
    op: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        place = f"node '{self.node}' ({self.op}): " if self.node else ""
        return f"{place}{self.reason}"


@dataclass(frozen=True)
class Profile:
    """What is known of a loaded artifact besides its outputs. Sizes in bytes; None: not known.

    `instructions` are exact, `cycles` an estimate, both of one inference.
    """

    flash: int | None = None
    ram: int | None = None
    instructions: int | None = None
    cycles: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contract:
    """What must hold where an artifact is loaded, beyond its target's os and arch.

    `runtime`: package -> versions, such as {"onnxruntime": ">=1.32,<2"}. `features`: of the processor, as
    Linux names them, with dashes. `engine`: what a compiled engine is bound to, such as
    {"compute-capability": "9.0"}; empty for what any device takes. `loader`: a Python file with
    `open_artifact(entry, contract)`, which ships beside the artifact and imports nothing of sprue; None where
    Python does not load it. `border`: what each input and output is, where any became int8; else None.
    """

    runtime: Mapping[str, str]
    features: tuple[str, ...] = ()
    engine: Mapping[str, str] = field(default_factory=dict)
    loader: Path | None = None
    border: Border | None = None


def compatible(release: str) -> str:
    """The versions that read what `release` wrote: not older, of the same major version."""
    major, minor = [*release.split("."), "0"][:2]
    return f">={major}.{minor},<{int(major) + 1}"


@dataclass(frozen=True)
class Operator:
    """What one step of an artifact costs in one inference, as its own runtime tells it.

    `name`: the node's, as the runtime calls it after its own fusions; `op`: its type. Either `seconds` (a
    mean over some runs) or `instructions` (exact) is given.
    """

    name: str
    op: str
    seconds: float | None = None
    instructions: int | None = None


@runtime_checkable
class Runner(Protocol):
    """A loaded artifact.

    `execution` says what `run` executes: the artifact on its own kind of hardware ("native"), the artifact on
    an emulator of it ("emulated"), or only the graph it was made from, in another runtime ("stand-in"). What
    has only a stand-in is `prepared`, never `verified`.
    """

    execution: Literal["native", "emulated", "stand-in"]

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        """Run any number of samples: [samples, ...] in and out, under the model's own tensor names."""

    def profile(self) -> Profile:
        """Sizes and counts. May run the artifact once."""

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """What each step of one inference of `sample` [1, ...] costs, in the order in which they run.

        May load the artifact a second time, with its runtime's profiler on. () where the runtime does not
        tell.
        """


@dataclass(frozen=True)
class Prediction:
    """What an artifact will need, said before it is built.

    `findings`: the limits that it will exceed. `least`: it may need more flash and RAM than the profile says.
    """

    profile: Profile
    findings: tuple[Finding, ...] = ()
    least: bool = False


class Pass(Protocol):
    """One ONNX -> ONNX change: a frozen dataclass whose fields are its parameters. See `sprue/passes/`.

    `version` enters the action key: raise it whenever the same input would give another output.
    """

    version: ClassVar[int]
    needs_calibration: ClassVar[bool]

    def tools(self) -> dict[str, str]:
        """Versions of the packages that the output depends on."""

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The changed model; `model` itself stays as it is."""


class Backend(Protocol):
    """Turns an ONNX model into one runtime's artifact, and runs it."""

    name: str
    version: int
    """Enters the action key: raise it whenever the same input would give another artifact."""
    precisions: tuple[Precision, ...]
    settings: tuple[str, ...]
    """The fields of `Settings` that `load` reads; variants that differ in others are one."""
    settings_in_artifact: tuple[str, ...]
    """Those of them that `compile` writes into the artifact: only they enter its key."""
    int8_border: tuple[Precision, ...]
    """The precisions whose artifacts can take and give int8: `variant.border`. Their `contract` then says
    what became of each input and output; what `load` gives still takes and gives the model's own types."""
    writes_description: bool
    """Whether `compile` writes what `sprue.description.read(model)` says into the artifact."""

    def available(self) -> Availability:
        """Cheap when its packages are absent; anything that could crash is probed in a subprocess."""

    def tools(self, target: Target | None = None) -> dict[str, str]:
        """Versions of what an artifact for this target, and the verdict on it, depends on; None: any target.

        Cheap: package metadata, not imports.
        """

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        """What is worth trying for such a graph on such a target, what is likeliest to pay first.

        float32 is always among them: the others are held against it.
        """

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        """The ONNX -> ONNX passes, in order, whose result `compile` wants for this variant."""

    def needs_calibration(self, variant: Variant) -> bool:
        """Whether `compile` itself reads the calibration samples: only then do they enter its key."""

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        """What cannot work, for the source model before any pass. Static, well under a second."""

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        """Write the artifact into the empty folder `out`; the same input gives the same bytes.

        `model` has been through `passes`. Raises SprueError for what the model is to blame for.
        """

    def load(self, artifact: Path, variant: Variant) -> Runner:
        """Load a compiled artifact from its folder, which is untrusted."""

    def entry(self, variant: Variant) -> str:
        """The path in the artifact folder of the file that a deployment opens first."""

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        """What must hold where the compiled artifact in this folder is loaded."""


@runtime_checkable
class Predicts(Protocol):
    """A backend that can tell what an artifact will need without building it."""

    def predict(self, model: ModelProto, variant: Variant, calibration: Samples) -> Callable[[], Prediction]:
        """For a source model against which `check` has found nothing. `calibration` may be empty.

        The call does what must be done in the main thread; what it returns takes the most time, and may be
        called in another. Raises SprueError for what `passes` or `compile` would refuse.
        """


@cache
def homes() -> Mapping[str, Path]:
    """The backends, by file name, and the folder that each stands in; imports none of them.

    Raises SprueError when two folders hold a module of one name: one would silently hide the other.
    """
    found: dict[str, Path] = {}
    for folder in sprue.targets.folders():
        for name in (m.name for m in pkgutil.iter_modules([str(folder)])):
            if name in found:
                raise SprueError(
                    f"there is a module '{name}' in {found[name]} too",
                    where=str(folder),
                    remedy="rename the file: it would hide the other, or be hidden by it",
                )
            found[name] = folder
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}


def names() -> tuple[str, ...]:
    """The names of all backends."""
    return tuple(homes())


@cache
def find(name: str) -> Backend:
    """The backend called `name`. Raises SprueError when there is none, or when it cannot be imported."""
    if name not in names():
        raise SprueError(f"there is no backend '{name}'", remedy=did_you_mean(name, names()))
    try:
        return cast(Backend, importlib.import_module(f"sprue.targets.{name}").BACKEND)
    except Exception as error:  # a user's own backend may fail in any way
        raise SprueError(
            f"the backend '{name}' cannot be imported: {type(error).__name__}: {error}",
            where=str(homes()[name]),
        ) from error
