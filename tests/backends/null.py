"""The null backend: the artifact is the ONNX file itself, run by ONNX's reference evaluator in numpy.

It takes every precision and changes nothing, so builds of it are quick and need no runtime.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sprue.backend import Availability, Contract, Finding, Offer, Operator, Pass, Profile, Variant, compatible
from sprue.target import PRECISIONS, Precision, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from sprue.backend import Samples
    from sprue.facts import Facts

ENTRY = "model.onnx"


class Null:
    """Also the base of the faulty backends beside it."""

    name = "null"
    version = 1
    precisions = PRECISIONS
    settings: tuple[str, ...] = ("threads",)
    settings_in_artifact: tuple[str, ...] = ()
    int8_border: tuple[Precision, ...] = ()
    writes_description = False

    def available(self) -> Availability:
        return Availability(compiles=True, executes=True)

    def tools(self, target: Target | None = None) -> dict[str, str]:
        return {"onnx": version("onnx")}

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        return (
            Offer("int8-static", "as small", mixed=True),
            Offer("float32", "what the others are held against"),
        )

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        return ()

    def needs_calibration(self, variant: Variant) -> bool:
        return variant.precision == "int8-static"

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        reason = "numpy knows the operators of standard ONNX only"
        foreign = [n for n in model.graph.node if n.domain not in ("", "ai.onnx")]
        return [Finding("operator", n.name, n.op_type, reason, "export it without them") for n in foreign]

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        (out / ENTRY).write_bytes(model.SerializeToString(deterministic=True))

    def load(self, artifact: Path, variant: Variant) -> NullRunner:
        return NullRunner(artifact / ENTRY)

    def entry(self, variant: Variant) -> str:
        return ENTRY

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        return Contract({"onnx": compatible(version("onnx"))}, variant.target.features)


class NullRunner:
    execution: Literal["native", "emulated", "stand-in"] = "native"

    def __init__(self, path: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        from sprue.graph import inputs, read_model

        model = read_model(path)
        self._evaluator: Any = ReferenceEvaluator(model)
        self._size = path.stat().st_size
        self._one_at_a_time = any(s.shape and s.shape[0] == 1 for s in inputs(model))

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        count = len(next(iter(inputs.values())))
        if not self._one_at_a_time or count == 1:
            return self._once(inputs)
        rows = [self._once({n: a[i : i + 1] for n, a in inputs.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _once(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        outputs = self._evaluator.run(None, dict(inputs))
        return dict(zip(self._evaluator.output_names, outputs, strict=True))

    def profile(self) -> Profile:
        return Profile(flash=self._size)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        return ()


BACKEND = Null()
