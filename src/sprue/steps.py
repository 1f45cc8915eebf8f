"""The steps of a build, as the engine's workers call them: read the inputs, call the one that knows, write.

Every function is `step(inputs, params, out)`; `plan.py` says which inputs and parameters each gets.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprue import data, description, graph, source
from sprue.backend import Pass, Variant, find
from sprue.border import IN_VAIN, REMEDY
from sprue.canonical import canonical
from sprue.description import Description
from sprue.errors import CheckError, SprueError
from sprue.judging.metric import Metric, find_metric

if TYPE_CHECKING:
    from sprue.backend import Runner, Samples

Inputs = Mapping[str, Path]
Params = Mapping[str, Any]

GOLDEN_SAMPLES = 8


def read_source(inputs: Inputs, params: Params, out: Path) -> None:
    """An ONNX file, or a model folder with a callable -> model.onnx, checked and normalised."""
    if params["function"]:
        called = out / "called.onnx"
        file = inputs["source"] / params["file"]
        model = source.call_source(file, params["function"], called)
        called.unlink()
    else:
        model = graph.read_model(inputs["source"], params["place"])
    checked = source.checked(model, params["place"])
    described = Description.from_json(params["description"])
    description.refuse_strangers(described, checked, "model.toml")
    (out / "model.onnx").write_bytes(graph.serialise(checked))


def reference(inputs: Inputs, params: Params, out: Path) -> None:
    """model + evaluation -> outputs.npz of the float model, labels.npz, metric.json."""
    from sprue import reference as float_reference
    from sprue.judging import margin

    metric = _metric(inputs, params)
    arrays = data.read_arrays(inputs["evaluation"], params["place"])
    specs = graph.inputs(graph.read_model(inputs["model"]))
    samples = data.check_inputs(arrays, specs, params["place"], ignore=[params["label"]])
    count = len(next(iter(samples.values())))
    labels = data.check_labels(arrays, params["label"], count, metric, params["place"])
    outputs = float_reference.run(inputs["model"], samples, params["source"])
    first = next(iter(outputs.values()))
    data.check_answers(labels, params["label"], first[0].size, metric, params["place"])
    data.write_arrays(out / "outputs.npz", outputs)
    data.write_arrays(out / "labels.npz", {"label": labels})
    data.write_arrays(out / "samples.npz", samples)
    said = {"metric": metric.name, "higher_is_better": metric.higher_is_better, "output": next(iter(outputs))}
    _write(out / "metric.json", {**said, **margin.value(metric, outputs, labels).to_json(), "samples": count})


def calibration(inputs: Inputs, params: Params, out: Path) -> None:
    """model + calibration -> samples.npz, checked against the model."""
    specs = graph.inputs(graph.read_model(inputs["model"]))
    arrays = data.read_arrays(inputs["calibration"], params["place"])
    samples = data.check_inputs(arrays, specs, params["place"], ignore=[params["label"]])
    data.write_arrays(out / "samples.npz", samples)


def graph_facts(inputs: Inputs, params: Params, out: Path) -> None:
    """model -> facts.json: what backends choose their offers by."""
    from sprue.facts import facts

    _write(out / "facts.json", facts(graph.read_model(inputs["model"])).to_json())


def layer_sensitivity(inputs: Inputs, params: Params, out: Path) -> None:
    """model + calibration -> sensitivity.json: the layers that int8 hurts, the worst first."""
    from sprue.choosing import sensitivity
    from sprue.passes.simplify import Simplify

    simple = Simplify().apply(graph.read_model(inputs["model"]), {})
    ranked = sensitivity.rank(simple, _samples(inputs))
    _write(out / "sensitivity.json", [asdict(layer) for layer in ranked])


def propose_halves(inputs: Inputs, params: Params, out: Path) -> None:
    """model + evaluation -> halves.json: sets of weights to store in half precision, the smallest first.

    Where variants are judged on other samples than they are chosen on, only the latter are looked at.
    """
    from sprue.choosing import halves
    from sprue.judging.acceptance import enough_apart
    from sprue.passes.simplify import Simplify

    samples = data.read_arrays(inputs["samples"])
    labels = data.read_arrays(inputs["labels"])["label"]
    judging = data.judging(samples)
    counts = [int(judging.sum()), int((~judging).sum())]
    if enough_apart(counts, params["max_drop"], params["confidence"]):
        samples, labels = {n: a[~judging] for n, a in samples.items()}, labels[~judging]
    simple = Simplify().apply(graph.read_model(inputs["model"]), {})
    found = halves.propose(simple, samples, labels, _metric(inputs, params), params["max_drop"])
    _write(out / "halves.json", found)


def find_saturation(inputs: Inputs, params: Params, out: Path) -> None:
    """float model + quantized model + calibration -> saturation.json: the layers that were repaired."""
    from sprue.choosing.saturation import REPAIRED, saturating

    float_model, quantized = (graph.read_model(inputs[n]) for n in ("float", "quantized"))
    found = saturating(float_model, quantized, _samples(inputs))
    notes = {REPAIRED: ", ".join(str(layer) for layer in found)} if found else {}
    _write(out / "saturation.json", {"layers": [asdict(layer) for layer in found], "notes": notes})


def count_work(inputs: Inputs, params: Params, out: Path) -> None:
    """model -> work.json: how much work one inference of it is."""
    from sprue.measuring.work import work

    _write(out / "work.json", work(graph.read_model(inputs["model"])).to_json())


def overlap(inputs: Inputs, params: Params, out: Path) -> None:
    """evaluation + calibration samples -> overlap.json: the indices of those that are in both."""
    found = (data.read_arrays(inputs[name]) for name in ("evaluation", "calibration"))
    _write(out / "overlap.json", data.overlap(*found))


def apply_pass(inputs: Inputs, params: Params, out: Path) -> None:
    """model [+ calibration] -> model.onnx after one pass."""
    module, _, name = params["pass"].partition(":")
    step: Pass = getattr(importlib.import_module(module), name)(**_tuples(params["fields"]))
    changed = step.apply(graph.read_model(inputs["model"]), _samples(inputs))
    (out / "model.onnx").write_bytes(graph.serialise(changed))


def check_variant(inputs: Inputs, params: Params, out: Path) -> None:
    """model -> findings.json. Raises CheckError when the backend has findings: nothing is compiled then."""
    variant = Variant.from_json(params["variant"])
    findings = find(variant.backend).check(graph.read_model(inputs["model"]), variant)
    if findings:
        raise CheckError("; ".join(str(f) for f in findings), remedy=findings[0].remedy)
    _write(out / "findings.json", [])


def compile_variant(inputs: Inputs, params: Params, out: Path) -> None:
    """model [+ calibration] -> the artifact's files."""
    variant = Variant.from_json(params["variant"])
    backend = find(variant.backend)
    model = graph.read_model(inputs["model"])
    if backend.writes_description:
        description.write(params["description"], model)
    backend.compile(model, variant, _samples(inputs), out)
    entry = backend.entry(variant)
    if not (out / entry).is_file():
        raise SprueError(f"backend '{variant.backend}' reported success but made no {entry}")
    if variant.border == "int8" and backend.contract(out, variant).border is None:
        raise CheckError(IN_VAIN, remedy=REMEDY)


def verify_variant(inputs: Inputs, params: Params, out: Path) -> None:
    """artifact + reference -> verdict.json, golden inputs and outputs. It is loaded fresh."""
    from sprue.judging import margin, verify
    from sprue.judging.tolerance import Tolerance

    variant = Variant.from_json(params["variant"])
    runner = find(variant.backend).load(inputs["artifact"], variant)
    samples = data.read_arrays(inputs["samples"])
    expected = data.read_arrays(inputs["reference"])
    labels = data.read_arrays(inputs["labels"])["label"]
    actual = runner.run(samples)
    agreements = verify.compare(actual, expected, Tolerance(**params["tolerance"]))
    metric = _metric(inputs, params)
    expected = {name: expected[name] for name in actual}  # in the model's order, which the file has not
    profile = runner.profile()
    golden_in = {n: a[:GOLDEN_SAMPLES] for n, a in samples.items()}
    (out / "golden").mkdir()
    data.write_arrays(out / "golden" / "inputs.npz", golden_in)
    data.write_arrays(out / "outputs.npz", actual)
    data.write_arrays(out / "golden" / "outputs.npz", {n: a[:GOLDEN_SAMPLES] for n, a in actual.items()})
    _write(
        out / "verdict.json",
        {
            "execution": runner.execution,
            "outputs": {name: agreement.to_json() for name, agreement in agreements.items()},
            "tolerance": params["tolerance"],
            "metric": {
                "name": metric.name,
                **margin.value(metric, actual, labels).to_json(),
                "drop": margin.drop(metric, expected, actual, labels).to_json(),
                "halves": margin.halves(metric, expected, actual, labels, data.judging(samples)),
            },
            "samples": len(labels),
            "deflated": _deflated(inputs["artifact"]),
            "profile": {**asdict(profile), "notes": dict(profile.notes)},
        },
    )


def measure_variants(inputs: Inputs, params: Params, out: Path) -> None:
    """artifacts by variant id + samples -> measurement.json: times and operators on this machine, by variant
    id.

    `timed` names those that run natively; of the others only the operators are asked.
    """
    from sprue.measuring import measure

    samples = data.read_arrays(inputs["samples"])
    variants = {name: Variant.from_json(fields) for name, fields in params["variants"].items()}
    loads = {name: partial(find(v.backend).load, inputs[name], v) for name, v in variants.items()}
    candidates = {n: measure.Candidate(loads[n], variants[n].settings.threads) for n in params["timed"]}
    one = {n: a[:1] for n, a in samples.items()}
    operators: dict[str, list[dict[str, Any]]] = {}

    def ask(name: str, runner: Runner) -> None:
        operators[name] = [asdict(o) for o in runner.operators(one)]

    timings, conditions = measure.measure(candidates, samples, ask)
    for name in variants.keys() - candidates.keys():
        ask(name, loads[name]())
    times = {name: asdict(timings[name]) if name in timings else None for name in variants}
    measured = {name: {"timing": times[name], "operators": operators[name]} for name in variants}
    _write(out / "measurement.json", {"variants": measured, "conditions": asdict(conditions)})


def measure_memory(inputs: Inputs, params: Params, out: Path) -> None:
    """artifact + samples -> memory.json: bytes resident in a fresh process that loads the artifact and runs
    it.
    """
    from sprue.measuring import resident

    _write(out / "memory.json", resident.measure(inputs["artifact"], params["variant"], inputs["samples"]))


def parity(inputs: Inputs, params: Params, out: Path) -> None:
    """outputs of the reference and of each target's kept artifact -> parity.json, for the first output."""
    from sprue.judging.parity import compare

    first = params["output"]
    arrays = {name: data.read_arrays(path)[first] for name, path in inputs.items()}
    reference = arrays.pop("reference")
    _write(out / "parity.json", compare(first, dict.fromkeys(arrays, reference), arrays))


def _deflated(folder: Path) -> int:
    """The bytes of an artifact's files, each compressed: what sparse or shared weights can save."""
    return sum(len(zlib.compress(p.read_bytes(), 1)) for p in folder.rglob("*") if p.is_file())


def _metric(inputs: Inputs, params: Params) -> Metric:
    """The model's metric; the folder `metric` among the inputs holds it if it is the user's own."""
    if "metric" not in inputs:
        return find_metric(params["metric"])
    from sprue.judging.own_metric import own_metric

    return own_metric(inputs["metric"], params["metric"], higher_is_better=params["higher_is_better"])


def _samples(inputs: Inputs) -> Samples:
    return data.read_arrays(inputs["calibration"]) if "calibration" in inputs else {}


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; frozen dataclasses hold no lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canonical(value) + b"\n")
