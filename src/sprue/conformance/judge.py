"""What becomes of a case: refused by `check`, or accepted; and what is accepted must be right."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sprue.backend import Backend, Variant, find
from sprue.conformance.cases import Case
from sprue.errors import SprueError
from sprue.target import Target, load_target, target_files

Kind = Literal["matched", "refused", "wrong"]
Verdict: TypeAlias = tuple[Kind, str]
"""What became of a case, and why it was refused or is wrong."""


def target_of(backend: str) -> Target:
    """Of the targets that the backend serves the one whose file states the most memory: RAM, then flash.

    Smaller boards refuse cases for want of it. What states no limit is a host, and comes last: of what is
    made for boards the answer must come from one. Raises SprueError when there is no target at all.
    """
    served = [t for t in map(load_target, target_files()) if backend in t.backends]
    if not served:
        raise SprueError(
            f"no target is served by the backend '{backend}'", remedy="add one: see docs/own-targets.md"
        )
    return max(served, key=lambda t: (t.limit_ram or 0, t.limit_flash or 0))


def refusal(backend: Backend, variant: Variant, case: Case) -> str:
    """Why `check` refuses the case; "" if it accepts. Static, and fast."""
    findings = backend.check(case.model, variant)
    return findings[0].reason if findings else ""


def judge(name: str, case: Case) -> Verdict:
    """Build the case for the float32 variant of a backend, run it, and compare with what ONNX expects."""
    backend = find(name)
    variant = Variant(target_of(name), name, "float32")
    try:
        if why := refusal(backend, variant, case):
            return "refused", why
        model = case.model
        for change in backend.passes(variant):
            model = change.apply(model, {})
        with tempfile.TemporaryDirectory() as folder:
            backend.compile(model, variant, case.feeds, Path(folder))
            actual = backend.load(Path(folder), variant).run(case.feeds)
    except SprueError as error:
        return "wrong", f"accepted, then: {error}"
    except Exception as error:  # to be counted; anything but SprueError is a bug of the backend
        return "wrong", f"{type(error).__name__}: {error}"
    return _compare(case, actual)


def _compare(case: Case, actual: Mapping[str, NDArray[Any]]) -> Verdict:
    """The test's own tolerance, relaxed only by the size of the values and by one quantization step."""
    steps = {n.op_type for n in case.model.graph.node} & {"DynamicQuantizeLinear", "Round"}
    for name, wanted in case.wanted.items():
        made = actual[name]
        if (made.shape, made.dtype) != (wanted.shape, wanted.dtype):
            return "wrong", f"{name} is {made.dtype}{made.shape}, not {wanted.dtype}{wanted.shape}"
        rtol = max(case.rtol, 2e-3) if wanted.dtype == np.float16 else case.rtol
        finite = np.abs(np.where(np.isfinite(wanted), wanted, 0).astype(np.float64))
        atol = max(case.atol, 1e-6 * float(finite.max()) if wanted.dtype.kind == "f" else 0.0)
        if wanted.dtype.kind in "iu" and steps:
            atol = 1
        if not np.allclose(made, wanted, rtol=rtol, atol=atol, equal_nan=True):
            worst = np.abs(made.astype(np.float64) - wanted.astype(np.float64)).max()
            return "wrong", f"{name} is off by {worst:.3g}"
    return "matched", ""
