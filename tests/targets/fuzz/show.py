"""One random graph, and which of its nodes are wrong by themselves, fed what onnxruntime feeds them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnx import ModelProto, helper, numpy_helper

from sprue.passes.normal_form import names_read

from . import lowerings
from .graphs import Case, from_seed
from .growing import one_node, outputs
from .lowerings import Outcome
from .worker import FLAGS, c_case, through_tflite


def show(lowering: str, seed: int) -> bool:
    """Print it; True if anything is wrong."""
    case = from_seed(seed, lowerings.known("tflite")) if lowering == "tflite" else c_case(seed)
    print(f"seed {seed}\n{onnx.printer.to_text(case.model)}")
    outcome = through_tflite(seed) if lowering == "tflite" else _through(lowering, case)
    print(f"{outcome.kind}: {outcome.why}")
    for single in _nodes(case):
        alone = _through(lowering, single)
        if alone.kind in ("wrong", "crash"):
            print(f"{alone.kind} by itself: {alone.why}\n{onnx.printer.to_text(single.model)}")
    return outcome.kind in ("wrong", "crash")


def _through(lowering: str, case: Case) -> Outcome:
    if lowering == "tflite":
        plain = lowerings.tflite(case)
        return plain if plain.kind != "right" else lowerings.tflite_built(case)
    with tempfile.TemporaryDirectory() as folder:
        return next(iter(list(lowerings.c([case], Path(folder), FLAGS, lowerings.C_LANES[lowering]))))


def _nodes(case: Case) -> list[Case]:
    """Each node as a model of its own."""
    every = ModelProto()
    every.CopyFrom(case.model)
    there = {o.name for o in every.graph.output}
    made = [o for n in every.graph.node for o in n.output if o and o not in there]
    every.graph.output.extend(helper.make_empty_tensor_value_info(o) for o in made)
    values = outputs(every, case.feeds) | case.feeds
    constants = {t.name: numpy_helper.to_array(t) for t in every.graph.initializer}
    found = []
    for node in case.model.graph.node:
        read = [i for i in dict.fromkeys(names_read([node])) if i in values or i in constants]
        fed = {i: values[i] for i in read if i not in constants}
        if any(a.shape[:1] != (1,) for a in fed.values()):
            continue  # no batch axis, as every input of a model has
        held = {i: constants[i] for i in read if i in constants}
        wanted = {o: values[o] for o in node.output if o}
        found.append(Case(one_node(node, fed, held, wanted, case.model.opset_import[0].version), fed, wanted))
    return found
