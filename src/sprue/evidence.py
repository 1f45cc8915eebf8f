"""What a build found, as JSON: the files below `evidence/` of a bundle, and what is kept of the last build.

What differs from run to run (times) is in `measurements`, and nowhere else: no id covers it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sprue import __version__
from sprue.build import Build, TargetBuild, Tried
from sprue.choosing.select import Result, why
from sprue.judging.metric import is_own
from sprue.machine import fingerprint
from sprue.measuring.cost import per_million
from sprue.recipe import Recipe
from sprue.summary import error_json, result_json


def evidence(build: Build) -> dict[str, Any]:
    """File name -> its JSON."""
    return {
        "recipe.json": effective(build.recipe),
        "reference.json": _reference(build),
        "parity.json": build.parity,
        "variants.json": [_variant(t, tried) for t in build.targets for tried in t.tried],
    }


def findings(build: Build) -> dict[str, Any]:
    """Everything that is known of a build, whatever came of it, for `history/last_build.py`."""
    return {
        "name": build.recipe.name,
        "version": build.recipe.version,
        "partial": build.recipe.partial,
        "ok": build.ok,
        "error": None if build.error is None else error_json(build.error),
        "toolchain": toolchain(build),
        "targets": [
            {"id": t.choice.target.id, "os": t.choice.target.os, "arch": t.choice.target.arch}
            for t in build.targets
        ],
        "inputs": _inputs(build),
        "evidence": evidence(build),
        "measurements": measurements(build),
        "answers": _answers(build),
    }


def effective(recipe: Recipe) -> dict[str, Any]:
    """The effective recipe: every value that decides, and no path or place of this machine.

    `metric`, `label` (the array of the evaluation data with the right answers) and `description` are the
    model's.
    """
    values = {key: value for key, (value, _) in sorted(recipe.origins.items())}
    model = recipe.model
    said = {"metric": model.metric, "label": model.label, "description": model.description.to_json()}
    return {"name": recipe.name, **said, **values}


def measurements(build: Build) -> dict[str, Any]:
    """What was measured of each artifact, by target/variant, under which conditions, and each action's
    seconds.
    """
    return {
        "machine": fingerprint(),
        "variants": {
            f"{target.choice.target.id}/{tried.planned.variant.id}": {
                **tried.result.measured.to_json(),
                **_refusal(tried.result),
                "price": per_million(target.choice.price, tried.result.timing),
            }
            for target in build.targets
            for tried in target.tried
        },
        "conditions": {t.choice.target.id: t.conditions for t in build.targets},
        "actions": {n: o.entry.seconds for n, o in build.outcomes.items() if o.entry is not None},
    }


def unmeasured(result: Result) -> Result:
    """What would be known of a variant that nothing was measured of."""
    return result if result.stood is None else replace(result, state=result.stood, reason="", stood=None)


def _refusal(result: Result) -> dict[str, str]:
    """Whether a variant gains anything is a matter of times, in which builds of the same inputs differ."""
    return {} if result.stood is None else {"state": result.state, "why": result.reason}


def toolchain(build: Build) -> dict[str, str]:
    """Versions of all packages that had a part in it, sprue among them."""
    found: dict[str, str] = {}
    for outcome in build.outcomes.values():
        found |= outcome.action.tools
    ours = ("backend", "code", "pass", "machine", "processor", "sprue")
    return {name: v for name, v in sorted(found.items()) if name not in ours} | {"sprue": __version__}


def _reference(build: Build) -> dict[str, Any]:
    """With digests: two models that answer the same questions have the same labels, if not the same file."""
    entry = build.outcomes[build.plan.reference].entry
    if entry is None:
        return dict(build.reference)
    asked = {"evaluation": entry.parts["input:evaluation"], "labels": entry.files["labels.npz"]}
    return {**build.reference, **asked}


def _answers(build: Build) -> dict[str, Any] | None:
    """Where the answers to the evaluation samples lie in the cache: digests of the labels and of outputs."""
    entry = build.outcomes[build.plan.reference].entry
    if entry is None or not build.reference:
        return None
    kept = {
        t.choice.target.id: t.kept.verdict.files["outputs.npz"]
        for t in build.targets
        if t.kept is not None and t.kept.verdict is not None
    }
    said = {key: build.reference[key] for key in ("metric", "output")}
    return {**said, "labels": entry.files["labels.npz"], "kept": kept}


def _variant(target: TargetBuild, tried: Tried) -> dict[str, Any]:
    """As it stood before any measurement: that a variant was refused is in `measurements`."""
    result, variant = unmeasured(tried.result), tried.planned.variant
    selected = tried is target.kept
    return {
        "target": target.choice.target.id,
        "how": {k: v for k, v in variant.to_json().items() if k != "target"},
        "offered": tried.planned.why,
        "selected": selected,
        "why": why(result, [t.result for t in target.tried], target.choice.prefer)
        if selected
        else result.reason,
        "artifact": tried.artifact.digest_of("") if tried.artifact is not None else None,
        **{k: v for k, v in result_json(result).items() if k != "measured"},
    }


def _inputs(build: Build) -> dict[str, str]:
    """Every file, or folder of a Python source, that the build read, with the digest that it had then."""
    recipe, plan = build.recipe, build.plan
    model = recipe.model
    found = {str(path.absolute()): sha for path, sha in recipe.files.items()}
    for action, name, path in (
        (plan.source, "source", model.folder if model.function else model.source),
        (plan.reference, "evaluation", model.evaluation),
        (plan.calibration, "calibration", model.calibration),
        (plan.reference if is_own(model.metric) else "", "metric", model.folder),
    ):
        entry = build.outcomes[action].entry if action else None
        if entry is not None and path is not None:
            found[str(path.absolute())] = entry.parts[f"input:{name}"]
    return found
