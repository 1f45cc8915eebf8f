"""From a recipe to a graph of actions.

    source --+-- reference -----------------------------------+
             +-- calibration --+-- pass -- pass --+           |
             +-- check --------+------------------+- compile -+- verify

and, for those that passed, one `measure` for each target, which times its variants side by side, and one
`parity` for all targets. Steps that do not depend on the variant are shared between all that need them.
Planning reads TOML files and package metadata only: no model is loaded, no runtime imported.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import sprue.passes
from sprue.backend import Backend, Pass, Variant, find
from sprue.canonical import canonical, digest
from sprue.contract import tolerance
from sprue.engine.action import Action, Output
from sprue.errors import SprueError
from sprue.machine import fingerprint, processor
from sprue.model import Model
from sprue.recipe import Choice, Recipe
from sprue.tools import backend_tools, code, packages, steps_code

Inputs = Mapping[str, Path | Output]


@dataclass(frozen=True)
class Planned:
    """One variant and the names of its actions. `missing`: why it cannot be built here, and the remedy."""

    choice: Choice
    variant: Variant
    check: str = ""
    compile: str = ""
    verify: str = ""
    missing: SprueError | None = None


@dataclass(frozen=True)
class Plan:
    """`source`, `reference` and `calibration` name the shared actions; "" if there is none."""

    recipe: Recipe
    actions: tuple[Action, ...]
    variants: tuple[Planned, ...]
    source: str
    reference: str
    calibration: str
    timeout: float


def plan(recipe: Recipe, *, timeout: float = 600.0) -> Plan:
    """The actions for every variant. `timeout` in seconds for each action.

    Raises SprueError when a variant needs calibration data and the model has none.
    """
    model = recipe.model
    source = _source(model)
    reference = _reference(model, source.name)
    shared = [source, reference]
    calibration = ""
    if model.calibration is not None:
        shared.append(_calibration(model, source.name))
        calibration = shared[-1].name
    actions = {a.name: a for a in shared}
    planned = []
    for choice in recipe.choices:
        for variant in choice.variants:
            backend = find(variant.backend)
            available = backend.available()
            if not available.compiles:
                planned.append(
                    Planned(choice, variant, missing=SprueError(available.missing, remedy=available.install))
                )
                continue
            made = _Steps(recipe, choice, variant, backend, source.name, reference.name, calibration)
            actions |= {a.name: a for a in made.actions()}
            planned.append(made.planned())
    ordered = tuple(replace(a, timeout=timeout) for a in actions.values())
    return Plan(recipe, ordered, tuple(planned), source.name, reference.name, calibration, timeout)


def _source(model: Model) -> Action:
    """A Python file may read what stands beside it, so all of its folder is its source."""
    place = _place(model, model.source)
    params = {"function": model.function, "file": place, "place": place}
    inputs = {"source": model.folder if model.function else model.source}
    return _action(f"{model.name}/source", "read_source", inputs, params)


def _place(model: Model, path: Path) -> str:
    """What errors call a file of the model: steps see copies, and keys depend on no path of this machine."""
    return path.relative_to(model.folder).as_posix()


def _reference(model: Model, source: str) -> Action:
    inputs: Inputs = {"model": Output(source, "model.onnx"), "evaluation": model.evaluation}
    places = {"place": _place(model, model.evaluation), "source": _place(model, model.source)}
    params = {"metric": model.metric, "label": model.label, **places}
    tools = packages("onnxruntime") | {"processor": processor()}
    return _action(f"{model.name}/reference", "reference", inputs, params, tools)


def _calibration(model: Model, source: str) -> Action:
    assert model.calibration is not None
    inputs: Inputs = {"model": Output(source, "model.onnx"), "calibration": model.calibration}
    params = {"label": model.label, "place": _place(model, model.calibration)}
    return _action(f"{model.name}/calibration", "calibration", inputs, params)


@dataclass(frozen=True)
class _Steps:
    """The actions of one variant, in order."""

    recipe: Recipe
    choice: Choice
    variant: Variant
    backend: Backend
    source: str
    reference: str
    calibration: str

    def actions(self) -> list[Action]:
        passes = self._passes()
        model = Output(passes[-1].name if passes else self.source, "model.onnx")
        check = self._check()
        compiled = self._compile(model, check.name)
        return [check, *passes, compiled, self._verify(compiled.name)]

    def planned(self) -> Planned:
        check, compiled, verify = (self._name(s) for s in ("check", "compile", "verify"))
        return Planned(self.choice, self.variant, check, compiled, verify)

    def _name(self, step: str) -> str:
        return f"{self.recipe.name}/{self.variant.target.id}/{self.variant.id}/{step}"

    def _check(self) -> Action:
        inputs = {"model": Output(self.source, "model.onnx")}
        params = {"variant": asdict(self.variant)}
        return _action(self._name("check"), "check_variant", inputs, params, _tools(self.variant))

    def _passes(self) -> list[Action]:
        """A chain, each named by all that went before: variants share the beginnings of their chains."""
        made: list[Action] = []
        chain: list[Any] = []
        for step in self.backend.passes(self.variant):
            model = Output(made[-1].name if made else self.source, "model.onnx")
            inputs = {"model": model, **self._calibration(step.needs_calibration, type(step).__name__)}
            kind = type(step)
            params = {"pass": f"{kind.__module__}:{kind.__qualname__}", "fields": _fields(step)}
            chain.append(params)
            name = f"{self.recipe.model.name}/pass/{kind.__name__}-{digest(canonical(chain))[:12]}"
            tools = step.tools() | {"pass": str(kind.version), "code": code(Path(sprue.passes.__path__[0]))}
            made.append(_action(name, "apply_pass", inputs, params, tools))
        return made

    def _compile(self, model: Output, check: str) -> Action:
        inputs = {
            "model": model,
            "check": Output(check),
            **self._calibration(self.backend.needs_calibration(self.variant), self.variant.id),
        }
        return _action(
            self._name("compile"),
            "compile_variant",
            inputs,
            _variant_params(self.variant),
            _tools(self.variant),
        )

    def _verify(self, compiled: str) -> Action:
        inputs = {
            "artifact": Output(compiled),
            "samples": Output(self.reference, "samples.npz"),
            "reference": Output(self.reference, "outputs.npz"),
            "labels": Output(self.reference, "labels.npz"),
        }
        params = _variant_params(self.variant) | {
            "tolerance": asdict(tolerance(self.choice, self.variant)),
            "metric": self.recipe.model.metric,
        }
        tools = {**_tools(self.variant), "processor": processor()}
        return _action(self._name("verify"), "verify_variant", inputs, params, tools)

    def _calibration(self, needed: bool, by: str) -> dict[str, Output]:
        if not needed:
            return {}
        if not self.calibration:
            raise SprueError(
                f"{self.variant.id} for target '{self.variant.target.id}' needs calibration data ({by})",
                where=str(self.recipe.model.folder / "model.toml"),
                remedy='add calibration = "calibration.npz" to [data]',
            )
        return {"calibration": Output(self.calibration, "samples.npz")}


def measure(made: Plan, choice: Choice, passed: Collection[Planned]) -> Action:
    """Time the artifacts of one target side by side. They must all run natively here."""
    inputs: Inputs = {p.variant.id: Output(p.compile) for p in passed}
    inputs = {**inputs, "samples": Output(made.reference, "samples.npz")}
    params = {"variants": {p.variant.id: _variant_params(p.variant)["variant"] for p in passed}}
    tools = {k: v for p in passed for k, v in _tools(p.variant).items()} | {"machine": fingerprint()}
    name = f"{made.recipe.name}/{choice.target.id}/measure"
    return replace(_action(name, "measure_variants", inputs, params, tools), alone=True, timeout=made.timeout)


def parity(made: Plan, kept: Mapping[str, Planned], output: str) -> Action:
    """Compare the reference's and the kept artifacts' output `output` on the same inputs, by target."""
    inputs = {"reference": Output(made.reference, "outputs.npz")}
    inputs |= {target: Output(p.verify, "outputs.npz") for target, p in kept.items()}
    action = _action(f"{made.recipe.name}/parity", "parity", inputs, {"output": output})
    return replace(action, timeout=made.timeout)


def _variant_params(variant: Variant) -> dict[str, Any]:
    """The variant without what changes nothing in the artifact: limits, words and runner labels."""
    target = replace(variant.target, description="", limit_ram=None, limit_flash=None, runner=())
    return {"variant": asdict(replace(variant, target=target))}


def _tools(variant: Variant) -> Mapping[str, str]:
    return backend_tools(variant.backend)


def _action(
    name: str,
    step: str,
    inputs: Inputs,
    params: Mapping[str, Any],
    tools: Mapping[str, str] | None = None,
) -> Action:
    always = packages("onnx", "numpy") | {"python": platform.python_version(), "sprue": steps_code()}
    return Action(name, f"sprue.steps:{step}", 1, params, inputs, {**always, **(tools or {})})


def _fields(step: Pass) -> dict[str, Any]:
    """A pass's parameters as JSON has them."""
    values = {f.name: getattr(step, f.name) for f in fields(step)}  # type: ignore[arg-type]  # a frozen dataclass
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
