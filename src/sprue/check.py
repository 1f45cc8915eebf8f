"""What cannot work, said before anything expensive runs: operators, limits, data, missing packages.

A backend that can (`Predicts`) also says what each artifact will need, while the others are still checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue import data, graph, source
from sprue.backend import Finding, Prediction, Predicts, Variant, find
from sprue.description import refuse_strangers
from sprue.errors import SprueError
from sprue.facts import facts
from sprue.judging.metric import find_metric, is_own
from sprue.model import Model
from sprue.recipe import Choice, Recipe
from sprue.variant import Compression, Settings


@dataclass(frozen=True)
class Checked:
    """What stands against a variant: findings in the model, or what is `missing` here.

    `predicted`: what its artifact will need; None where nothing tells.
    """

    variant: Variant
    findings: Sequence[Finding]
    missing: SprueError | None = None
    predicted: Prediction | None = None

    @property
    def ok(self) -> bool:
        return not self.findings and self.missing is None

    @property
    def estimate(self) -> float | None:
        """Seconds of an inference, by estimated cycles and the target's clock."""
        return None if self.predicted is None else self.variant.target.seconds(self.predicted.profile.cycles)


@dataclass(frozen=True)
class Answer:
    """`warnings`: what is no error, and makes the figures of a build worth less than they will look."""

    variants: Sequence[Checked]
    warnings: Sequence[str]


def check(recipe: Recipe) -> Answer:
    """Check model and data, then each variant. Raises SprueError for what stands against all of them.

    Runs no code of the recipe: a Python source is refused, since its network is not known without.
    """
    model = _read(recipe.model)
    calibration, warnings = _check_data(recipe.model, model)
    variants = [v for c in recipe.choices for v in _variants(c, model)]
    order = sorted(range(len(variants)), key=lambda i: not isinstance(find(variants[i].backend), Predicts))
    with ThreadPoolExecutor(thread_name_prefix="predict") as pool:  # what takes longest begins first
        waiting = {i: _checked(model, variants[i], calibration, pool) for i in order}
        return Answer([_predicted(*waiting[i]) for i in range(len(variants))], warnings)


Calibration = Mapping[str, NDArray[np.generic]] | None


def _checked(
    model: ModelProto, variant: Variant, calibration: Calibration, pool: ThreadPoolExecutor
) -> tuple[Checked, Future[Prediction] | None]:
    checked = _check(model, variant, calibrated=calibration is not None)
    backend = find(variant.backend)
    if not checked.ok or not isinstance(backend, Predicts):
        return checked, None
    try:
        return checked, pool.submit(backend.predict(model, variant, calibration or {}))
    except SprueError as error:
        return replace(checked, missing=error), None


def _predicted(checked: Checked, waiting: Future[Prediction] | None) -> Checked:
    if waiting is None:
        return checked
    try:
        prediction = waiting.result()
    except SprueError as error:
        return replace(checked, missing=error)
    return replace(checked, predicted=prediction, findings=prediction.findings)


def _variants(choice: Choice, model: ModelProto) -> list[Variant]:
    """Those that the recipe names, or that backends offer for this network; each artifact once."""
    named = list(choice.variants)
    if choice.space.auto:
        from sprue.choosing.widen import offered_variants  # half as much again to import

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


def _check_data(model: Model, network: ModelProto) -> tuple[Calibration, list[str]]:
    """The calibration samples, None if there are none; and what to warn of."""
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
    if model.calibration is None:
        return None, []
    arrays = data.read_arrays(model.calibration)
    calibration = data.check_inputs(arrays, specs, str(model.calibration), ignore=[model.label])
    said = data.overlap_warning(data.overlap(samples, calibration), count)
    return calibration, [said] if said else []


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
