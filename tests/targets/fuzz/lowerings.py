"""What each lowering makes of a random graph: right, refused with node and op named, wrong, or a crash."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto

from sprue.backend import Finding, Variant, find
from sprue.errors import SprueError
from sprue.passes.definitions import definitions
from sprue.target import load_target

from ..c import host
from .graphs import Case
from .growing import Arrays

if TYPE_CHECKING:
    from sprue.targets.c.emit import Source


@dataclass(frozen=True)
class Outcome:
    """`kind`: right, refused, wrong or crash. `why`: the operator and reason, or what is wrong."""

    kind: str
    why: str = ""


def litert_is_there() -> bool:
    return find_spec("ai_edge_litert") is not None


C_LANES = {"c": 1, "c-host": 8}
"""Lowerings to C, and float32 numbers in a vector of the processor."""


@cache
def known(lowering: str) -> frozenset[str]:
    """The operators that it has, and those that ONNX or we define by others."""
    if lowering in C_LANES:
        from sprue.targets.c.lower import operators as table
    else:
        from sprue.targets.tflite.registry import lowerings as table
    schemas: Any = onnx.defs.get_all_schemas()
    defined = {s.name for s in schemas if s.has_function or s.has_context_dependent_function}
    return frozenset(table()) | defined | definitions("DEFINITIONS").keys()


def differences(got: Arrays, wanted: Arrays) -> str:
    """'' if they agree: integers exactly, float32 to 1e-4 of the value plus 2e-5 of the largest."""
    if list(got) != list(wanted):
        return f"outputs {list(got)} instead of {list(wanted)}"
    for name, there in wanted.items():
        ours = got[name]
        if (ours.shape, ours.dtype) != (there.shape, there.dtype):
            return f"{name}: {ours.dtype}{list(ours.shape)} instead of {there.dtype}{list(there.shape)}"
        if there.dtype.kind != "f":
            if not np.array_equal(ours, there):
                return f"{name}: {int((ours != there).sum())} of {there.size} elements differ"
            continue
        limit = 1e-4 * np.abs(there) + 2e-5 * max(1.0, float(np.abs(there).max()))
        off = np.abs(ours.astype(np.float64) - there)
        if not (off <= limit).all():
            return f"{name}: off by {float(np.nanmax(off)) if np.isfinite(off).any() else off}"
    return ""


def refusal(findings: Sequence[Finding]) -> Outcome:
    """Of the first finding; one that does not name node, op and remedy is as bad as a wrong answer."""
    first = findings[0]
    named = first.node and first.op and first.reason and first.remedy
    return Outcome("refused" if named else "wrong", f"{first.op or '?'}: {first.reason}")


def tflite(case: Case) -> Outcome:
    """The lowering alone, with no pass before it."""
    from sprue.targets.tflite.artifact import contents
    from sprue.targets.tflite.flatbuffer import pack
    from sprue.targets.tflite.lower import lower
    from sprue.targets.tflite.run import LiteRtRunner

    def run() -> Arrays | Outcome:
        lowered = lower(case.model)
        if lowered.findings:
            return refusal(lowered.findings)
        data = pack(lowered.inputs, lowered.outputs)
        return dict(LiteRtRunner(data, contents(data, "random"), 1, "random").run(case.feeds))

    return _outcome(run, case)


def tflite_built(case: Case) -> Outcome:
    """As a build has it: the passes, `check`, a file that takes any number of samples if it can."""
    backend, variant = find("tflite"), Variant(load_target("mobile"), "tflite", "float32")

    def run() -> Arrays | Outcome:
        model = case.model
        findings = backend.check(model, variant)
        if findings:
            return refusal(findings)
        for change in backend.passes(variant):
            model = change.apply(model, {})
        with tempfile.TemporaryDirectory(prefix="sprue-fuzz-") as folder:
            backend.compile(model, variant, {}, Path(folder))
            return dict(backend.load(Path(folder), variant).run(case.feeds))

    return _outcome(run, case)


def _outcome(run: Callable[[], Arrays | Outcome], case: Case) -> Outcome:
    try:
        got = run()
    except Exception as error:
        return Outcome("crash", f"{type(error).__name__}: {error}"[:300])
    if isinstance(got, Outcome):
        return got
    wrong = differences({n: got[n] for n in case.wanted if n in got}, case.wanted)
    return Outcome("wrong" if wrong else "right", wrong)


def c_source(model: ModelProto, prefix: str, lanes: int) -> Source | Outcome:
    """The C text after the backend's passes, or why there is none."""
    from sprue.targets.c.check import lowered, shaping
    from sprue.targets.c.emit import emit

    try:
        for change in shaping():
            model = change.apply(model, {})
        program, findings = lowered(model, vectors=lanes > 1, lanes=lanes)
        if program is None:
            return refusal(findings)
        return emit(program, prefix)
    except SprueError as error:
        return Outcome("wrong", f"refused without a place: {error.what}")
    except Exception as error:
        return Outcome("crash", f"{type(error).__name__}: {error}"[:300])


def c(cases: Sequence[Case], folder: Path, flags: Sequence[str], lanes: int) -> Iterator[Outcome]:
    """All in one program, compiled with warnings as errors; each runs in a process of its own."""
    made: list[int | Outcome] = []
    sources: list[Source] = []
    for case in cases:
        one = c_source(case.model, f"m{len(sources)}", lanes)
        made.append(one if isinstance(one, Outcome) else len(sources))
        if not isinstance(one, Outcome):
            sources.append(one)
    if not sources:
        yield from (one for one in made if isinstance(one, Outcome))
        return
    try:
        program = host.build(folder, sources, flags)
    except AssertionError as error:  # what the compiler says
        if len(cases) == 1:
            yield Outcome("wrong", f"it does not compile: {error}"[:600])
            return
        for number, case in enumerate(cases):
            alone = folder / str(number)
            alone.mkdir()
            yield from c([case], alone, flags, lanes)
        return
    for case, index in zip(cases, made, strict=True):
        if isinstance(index, Outcome):
            yield index
            continue
        try:
            got = program.run(index, case.feeds)
        except RuntimeError as error:
            yield Outcome("crash", " ".join(str(error).split())[:300])
            continue
        wrong = differences(got, case.wanted)
        yield Outcome("wrong" if wrong else "right", wrong)
