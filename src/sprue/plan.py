"""From a recipe to a graph of actions.

    source --+-- reference -----------------------------------+
             +-- calibration --+-- pass -- pass --+           |
             +-- check --------+------------------+- compile -+- verify

and, for those that passed, one `measure` for each target, which times its variants side by side, and one
`parity` for all targets. Steps that do not depend on the variant are shared between all that need them.
Planning reads TOML files and package metadata only: no model is loaded, no runtime imported. What a recipe
leaves to the build (`precision = "auto"`) hangs on `facts`, an action too; `with_variants` adds it later.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import sprue.passes
from sprue.backend import Backend, Pass, Variant, find
from sprue.canonical import canonical, digest
from sprue.choosing.search import refuse_without_optuna
from sprue.contract import tolerance
from sprue.engine.action import Action, Output
from sprue.errors import CheckError, SprueError
from sprue.judging.metric import is_own
from sprue.machine import fingerprint, processor
from sprue.model import Model
from sprue.passes.compression import compression_passes
from sprue.recipe import Choice, Recipe
from sprue.tools import backend_tools, code, packages, steps_code

Inputs = Mapping[str, Path | Output]


@dataclass(frozen=True)
class Planned:
    """One variant and the names of its actions. `missing`: why it cannot be built here, and the remedy.

    `why`: what speaks for trying it. `mixed`: if it breaks what is accepted, look for the layers to blame.
    `saturation`: the action that names the layers that were repaired; "" if none is needed. `steps`: all that
    only variants need.
    """

    choice: Choice
    variant: Variant
    check: str = ""
    compile: str = ""
    verify: str = ""
    missing: SprueError | None = None
    why: str = ""
    mixed: bool = False
    saturation: str = ""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """`source`, `reference`, `calibration`, `facts`, `overlap` and `work` name the shared actions; "" if
    there is none.
    """

    recipe: Recipe
    actions: tuple[Action, ...]
    variants: tuple[Planned, ...]
    source: str
    reference: str
    calibration: str
    facts: str
    timeout: float
    overlap: str = ""
    work: str = ""

    @property
    def questions(self) -> tuple[str, ...]:
        """The actions that only say what to try: if one fails, nobody knows what the variants are."""
        searches = tuple(f"{self.recipe.model.name}/{step}" for step in ("sensitivity", "halves-"))
        return (*filter(None, [self.facts]), *(a.name for a in self.actions if a.name.startswith(searches)))

    def with_actions(self, actions: Sequence[Action]) -> Plan:
        """With further actions; those that it has already stay as they are."""
        there = {a.name for a in self.actions}
        new = {a.name: replace(a, timeout=self.timeout) for a in actions if a.name not in there}
        return replace(self, actions=(*self.actions, *new.values()))

    def with_variants(self, asked: Sequence[Asked]) -> Plan:
        """With the actions of further variants. Raises SprueError as `plan` does."""
        made = self
        for each in asked:
            backend = find(each.variant.backend)
            available = backend.available()
            if not available.compiles:
                missing = SprueError(available.missing, remedy=available.install)
                planned = Planned(each.choice, each.variant, missing=missing, why=each.why)
            else:
                made, planned = made._with_variant(each, backend)
            made = replace(made, variants=(*made.variants, planned))
        return made

    def _with_variant(self, each: Asked, backend: Backend) -> tuple[Plan, Planned]:
        steps = _Steps(self, each.choice, each.variant, backend)
        try:
            actions = steps.actions()
        except SprueError as error:
            if not each.choice.space.auto:
                raise
            missing = CheckError(error.what, where=error.where, remedy=error.remedy)  # nobody asked for it
            return self, Planned(each.choice, each.variant, missing=missing, why=each.why)
        names = tuple(a.name for a in actions)
        return self.with_actions(actions), replace(
            steps.planned(), why=each.why, mixed=each.mixed, steps=names
        )


@dataclass(frozen=True)
class Asked:
    """A variant to be tried, and why. `mixed`: as Planned has it. `later`: if what is smaller falls short."""

    choice: Choice
    variant: Variant
    why: str = ""
    mixed: bool = False
    later: bool = False


def plan(recipe: Recipe, *, timeout: float = 600.0) -> Plan:
    """The actions for every variant. `timeout` in seconds for each action.

    Raises SprueError when a variant needs calibration data and the model has none.
    """
    model = recipe.model
    source = _source(model)
    reference = _reference(model, source.name)
    shared = [source, reference]
    calibration = overlap = ""
    if model.calibration is not None:
        shared.append(_calibration(model, source.name))
        calibration = shared[-1].name
        shared.append(_overlap(model, reference.name, calibration))
        overlap = shared[-1].name
    shared.append(_work(model, source.name))
    work, facts = shared[-1].name, ""
    if any(c.space.auto for c in recipe.choices):
        shared.append(_facts(model, source.name))
        facts = shared[-1].name
    if recipe.search is not None:
        refuse_without_optuna(recipe.origins["search.budget"][1])
    empty = Plan(recipe, (), (), source.name, reference.name, calibration, facts, timeout, overlap, work)
    named = [
        Asked(c, v, "named by the recipe", mixed=c.space.mixes and v.precision == "int8-static")
        for c in recipe.choices
        for v in c.variants
        if recipe.search is None or c.only  # a search chooses them one after the other
    ]
    return empty.with_actions(shared).with_variants(named)


def _source(model: Model) -> Action:
    """A Python file may read what stands beside it, so all of its folder is its source."""
    place = _place(model, model.source)
    said = model.description.to_json()  # refused there if it does not fit the graph
    params = {"function": model.function, "file": place, "place": place, "description": said}
    inputs = {"source": model.folder if model.function else model.source}
    return _action(f"{model.name}/source", "read_source", inputs, params)


def _place(model: Model, path: Path) -> str:
    """What errors call a file of the model: steps see copies, and keys depend on no path of this machine."""
    return path.relative_to(model.folder).as_posix()


def _reference(model: Model, source: str) -> Action:
    inputs: Inputs = {"model": Output(source, "model.onnx"), "evaluation": model.evaluation}
    places = {"place": _place(model, model.evaluation), "source": _place(model, model.source)}
    params = {**_metric_params(model), "label": model.label, **places}
    inputs = {**inputs, **_metric_inputs(model)}
    tools = packages("onnxruntime") | {"processor": processor()}
    return _action(f"{model.name}/reference", "reference", inputs, params, tools)


def _metric_inputs(model: Model) -> Inputs:
    """A metric of the user's own may read what stands beside it, so all of its folder is its source."""
    return {"metric": model.folder} if is_own(model.metric) else {}


def _metric_params(model: Model) -> dict[str, Any]:
    return {"metric": model.metric, "higher_is_better": model.higher_is_better}


def _work(model: Model, source: str) -> Action:
    inputs = {"model": Output(source, "model.onnx")}
    return _action(f"{model.name}/work", "count_work", inputs, {}, packages("onnx-tool"))


def _overlap(model: Model, reference: str, calibration: str) -> Action:
    inputs = {
        "evaluation": Output(reference, "samples.npz"),
        "calibration": Output(calibration, "samples.npz"),
    }
    return _action(f"{model.name}/overlap", "overlap", inputs, {})


def _calibration(model: Model, source: str) -> Action:
    assert model.calibration is not None
    inputs: Inputs = {"model": Output(source, "model.onnx"), "calibration": model.calibration}
    params = {"label": model.label, "place": _place(model, model.calibration)}
    return _action(f"{model.name}/calibration", "calibration", inputs, params)


def _facts(model: Model, source: str) -> Action:
    inputs: Inputs = {"model": Output(source, "model.onnx")}
    return _action(f"{model.name}/facts", "graph_facts", inputs, {})


@dataclass(frozen=True)
class _Steps:
    """The actions of one variant, in order. Those up to `compile` are of its artifact, without settings."""

    made: Plan
    choice: Choice
    variant: Variant
    backend: Backend

    @property
    def artifact(self) -> Variant:
        """The variant as far as its files depend on it: variants that only run otherwise share them."""
        return self.variant.on(self.variant.settings.only(self.backend.settings_in_artifact))

    def actions(self) -> list[Action]:
        compressed = compression_passes(self.variant.compression)
        passes = self._passes([*compressed, *self.backend.passes(self.artifact)])
        outputs = [Output(name, "model.onnx") for name in (self.made.source, *(a.name for a in passes))]
        check = self._check(outputs[len(compressed)])
        compiled = self._compile(outputs[-1], check.name)
        made = [check, *passes, compiled, self._verify(compiled.name)]
        if self._pair_safe():
            before, after = outputs[-2:]
            made.append(self._saturation({"float": before, "quantized": after}))
        return made

    def _pair_safe(self) -> bool:
        """Whether the last pass keeps int8 right on x86 without VNNI: then say which layers needed it."""
        passes = self.backend.passes(self.artifact)
        return bool(passes) and bool(getattr(passes[-1], "pair_safe", False))

    def _saturation(self, models: Mapping[str, Output]) -> Action:
        inputs = {**models, **self._calibration(True, self.variant.id)}
        tools = packages("onnxruntime") | {"passes": code(Path(sprue.passes.__path__[0]))}
        return _action(self._name(self.artifact, "saturation"), "find_saturation", inputs, {}, tools)

    def planned(self) -> Planned:
        check, compiled = (self._name(self.artifact, s) for s in ("check", "compile"))
        named = Planned(self.choice, self.variant, check, compiled, self._name(self.variant, "verify"))
        return replace(named, saturation=self._name(self.artifact, "saturation") if self._pair_safe() else "")

    def _name(self, variant: Variant, step: str) -> str:
        return f"{self.made.recipe.name}/{variant.target.id}/{variant.id}/{step}"

    def _check(self, model: Output) -> Action:
        params = {"variant": self.artifact.to_json()}
        name = self._name(self.artifact, "check")
        return _action(name, "check_variant", {"model": model}, params, _tools(self.variant))

    def _passes(self, steps: Sequence[Pass]) -> list[Action]:
        """A chain, each named by all that went before: variants share the beginnings of their chains."""
        made: list[Action] = []
        chain: list[Any] = []
        for step in steps:
            model = Output(made[-1].name if made else self.made.source, "model.onnx")
            inputs = {"model": model, **self._calibration(step.needs_calibration, type(step).__name__)}
            kind = type(step)
            params = {"pass": f"{kind.__module__}:{kind.__qualname__}", "fields": _fields(step)}
            chain.append(params)
            name = f"{self.made.recipe.model.name}/pass/{kind.__name__}-{digest(canonical(chain))[:12]}"
            tools = step.tools() | {"pass": str(kind.version), "code": code(Path(sprue.passes.__path__[0]))}
            made.append(_action(name, "apply_pass", inputs, params, tools))
        return made

    def _compile(self, model: Output, check: str) -> Action:
        inputs = {
            "model": model,
            "check": Output(check),
            **self._calibration(self.backend.needs_calibration(self.artifact), self.variant.id),
        }
        params = _variant_params(self.artifact)
        if self.backend.writes_description:
            params["description"] = self.made.recipe.model.description.to_json()
        name = self._name(self.artifact, "compile")
        return _action(name, "compile_variant", inputs, params, _tools(self.variant))

    def _verify(self, compiled: str) -> Action:
        inputs = {
            "artifact": Output(compiled),
            "samples": Output(self.made.reference, "samples.npz"),
            "reference": Output(self.made.reference, "outputs.npz"),
            "labels": Output(self.made.reference, "labels.npz"),
            **_metric_inputs(self.made.recipe.model),
        }
        params = _variant_params(self.variant) | {
            "tolerance": asdict(tolerance(self.choice, self.variant)),
            **_metric_params(self.made.recipe.model),
        }
        tools = {**_tools(self.variant), "processor": processor()}
        return _action(self._name(self.variant, "verify"), "verify_variant", inputs, params, tools)

    def _calibration(self, needed: bool, by: str) -> dict[str, Output]:
        if not needed:
            return {}
        if not self.made.calibration:
            raise SprueError(
                f"{self.variant.id} for target '{self.variant.target.id}' needs calibration data ({by})",
                where=str(self.made.recipe.model.folder / "model.toml"),
                remedy='add calibration = "calibration.npz" to [data]',
            )
        return {"calibration": Output(self.made.calibration, "samples.npz")}


def sensitivity(made: Plan) -> Action:
    """Rank the layers of the float model by what int8 does to them. The model must have calibration data."""
    inputs: Inputs = {
        "model": Output(made.source, "model.onnx"),
        "calibration": Output(made.calibration, "samples.npz"),
    }
    tools = packages("onnxruntime") | {"passes": code(Path(sprue.passes.__path__[0]))}
    action = _action(f"{made.recipe.model.name}/sensitivity", "layer_sensitivity", inputs, {}, tools)
    return replace(action, timeout=made.timeout)


def halves(made: Plan, choice: Choice) -> Action:
    """Predict which weights must be stored in half precision for the metric to hold."""
    model, accept = made.recipe.model, choice.accept
    inputs: Inputs = {
        "model": Output(made.source, "model.onnx"),
        "samples": Output(made.reference, "samples.npz"),
        "labels": Output(made.reference, "labels.npz"),
        **_metric_inputs(model),
    }
    params = {**_metric_params(model), "max_drop": accept.max_drop, "confidence": accept.confidence}
    tools = packages("onnxruntime") | {"passes": code(Path(sprue.passes.__path__[0]))}
    name = f"{model.name}/halves-{digest(canonical(params))[:12]}"
    return replace(_action(name, "propose_halves", inputs, params, tools), timeout=made.timeout)


def measure(made: Plan, choice: Choice, passed: Collection[Planned], native: Collection[str]) -> Action:
    """Measure the artifacts of one target side by side; time those of the variants whose ids are `native`."""
    inputs: Inputs = {p.variant.id: Output(p.compile) for p in passed}
    inputs = {**inputs, "samples": Output(made.reference, "samples.npz")}
    params = {
        "variants": {p.variant.id: _variant_params(p.variant)["variant"] for p in passed},
        "timed": [p.variant.id for p in passed if p.variant.id in native],
    }
    tools = {k: v for p in passed for k, v in _tools(p.variant).items()} | {"machine": fingerprint()}
    name = f"{made.recipe.name}/{choice.target.id}/measure"
    return replace(_action(name, "measure_variants", inputs, params, tools), alone=True, timeout=made.timeout)


def memory(made: Plan, planned: Planned) -> Action:
    """How much memory a process needs that loads and runs one artifact. It must run natively here."""
    inputs = {"artifact": Output(planned.compile), "samples": Output(made.reference, "samples.npz")}
    tools = {**_tools(planned.variant), "machine": fingerprint()}
    name = f"{made.recipe.name}/{planned.choice.target.id}/{planned.variant.id}/memory"
    action = _action(name, "measure_memory", inputs, _variant_params(planned.variant), tools)
    return replace(action, timeout=made.timeout)


def parity(made: Plan, kept: Mapping[str, Planned], output: str) -> Action:
    """Compare the reference's and the kept artifacts' output `output` on the same inputs, by target."""
    inputs = {"reference": Output(made.reference, "outputs.npz")}
    inputs |= {target: Output(p.verify, "outputs.npz") for target, p in kept.items()}
    action = _action(f"{made.recipe.name}/parity", "parity", inputs, {"output": output})
    return replace(action, timeout=made.timeout)


def _variant_params(variant: Variant) -> dict[str, Any]:
    """The variant without what changes nothing in the artifact: limits, words, clock and runner labels."""
    target = replace(variant.target, description="", limit_ram=None, limit_flash=None, clock=None, runner=())
    return {"variant": replace(variant, target=target).to_json()}


def _tools(variant: Variant) -> Mapping[str, str]:
    return backend_tools(variant.backend, variant.target)


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
