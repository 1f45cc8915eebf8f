"""What cannot work, said before anything expensive runs: operators, limits, data, missing packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from onnx import ModelProto

from sprue import data, graph, source
from sprue.backend import Finding, Variant, find
from sprue.choosing.widen import offered_variants
from sprue.description import refuse_strangers
from sprue.errors import SprueError
from sprue.facts import facts
from sprue.judging.metric import find_metric, is_own
from sprue.model import Model
from sprue.recipe import Choice, Recipe
from sprue.variant import Compression, Settings


@dataclass(frozen=True)
class Checked:
    """What stands against a variant: findings in the model, or what is `missing` here."""

    variant: Variant
    findings: Sequence[Finding]
    missing: SprueError | None = None

    @property
    def ok(self) -> bool:
        return not self.findings and self.missing is None


def check(recipe: Recipe) -> list[Checked]:
    """Check model and data, then each variant. Raises SprueError for what stands against all of them.

    Runs no code of the recipe: a Python source is refused, since its network is not known without.
    """
    model = _read(recipe.model)
    _check_data(recipe.model, model)
    calibrated = recipe.model.calibration is not None
    return [_check(model, v, calibrated) for c in recipe.choices for v in _variants(c, model)]


def _variants(choice: Choice, model: ModelProto) -> list[Variant]:
    """Those that the recipe names, or that backends offer for this network; each artifact once."""
    named = list(choice.variants)
    if choice.space.auto:
        offered = offered_variants(choice, facts(model))
        named = [a.variant for a in offered if not choice.only or a.variant.id in choice.only]
    return list({v.artifact_id: v.on(Settings()) for v in named if v.compression == Compression()}.values())


def _read(model: Model) -> ModelProto:
    if model.function:
        raise SprueError(
            "check never runs a recipe's own code, so it cannot know the network of a Python source",
            where=model.place("source"),
            remedy="`sprue build` checks it after exporting; or check an exported .onnx file",
        )
    network = source.checked(graph.read_model(model.source), str(model.source))
    refuse_strangers(model.description, network, str(model.document.path))
    return network


def _check_data(model: Model, network: ModelProto) -> None:
    specs = graph.inputs(network)
    arrays = data.read_arrays(model.evaluation)
    samples = data.check_inputs(arrays, specs, str(model.evaluation), ignore=[model.label])
    count = len(next(iter(samples.values())))
    if not is_own(model.metric):  # whose file check does not run
        metric, place = find_metric(model.metric), str(model.evaluation)
        labels = data.check_labels(arrays, model.label, count, metric, place)
        known = [d for d in graph.outputs(network)[0].shape[1:] if d is not None]
        if known and len(known) == len(graph.outputs(network)[0].shape) - 1:
            data.check_answers(labels, model.label, prod(known), metric, place)
    if model.calibration is not None:
        arrays = data.read_arrays(model.calibration)
        data.check_inputs(arrays, specs, str(model.calibration), ignore=[model.label])


def _check(model: ModelProto, variant: Variant, calibrated: bool) -> Checked:
    backend = find(variant.backend)
    available = backend.available()
    if not available.compiles:
        return Checked(variant, [], SprueError(available.missing, remedy=available.install))
    wanted = any(p.needs_calibration for p in backend.passes(variant)) or backend.needs_calibration(variant)
    if wanted and not calibrated:
        return Checked(
            variant,
            [],
            SprueError("it needs calibration data", remedy='add calibration = "calibration.npz" to [data]'),
        )
    return Checked(variant, backend.check(model, variant))
