"""Looking at tensors: as the float model, the artifact, or a piece of the network has them.

Each look is a cached action in a worker process, so that what crashes a runtime is an answer, too.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Executor
from sprue.engine.run import Listener, Outcome, run
from sprue.errors import CheckError
from sprue.judging.tolerance import Tolerance
from sprue.judging.verify import Agreement, compare
from sprue.machine import processor
from sprue.plan import Plan, Planned
from sprue.tools import backend_tools, code, packages, steps_code

Tensors = Mapping[str, NDArray[np.generic]]
CALIBRATION_SAMPLES = 64


@dataclass(frozen=True)
class Seen:
    """How a tensor compares with the reference. `failure`: why it could not be made or compared.

    `refused`: `check` has something against the piece that makes it, so no build of the piece shows anything.
    """

    agreement: Agreement | None = None
    low: float | None = None
    high: float | None = None
    failure: str = ""
    refused: bool = False

    @property
    def bad(self) -> bool:
        return not self.refused and (self.agreement is None or self.agreement.used > 1)


@dataclass(frozen=True)
class Observer:
    """Looks at one variant of a plan whose source and samples are made; `known` are the outcomes so far.

    `samples`: the indices of the evaluation samples to look at.
    """

    plan: Plan
    planned: Planned
    tolerance: Tolerance
    samples: Sequence[int]
    cache: Cache
    pool: Executor
    listen: Listener
    known: Mapping[str, Outcome]

    def model(self) -> ModelProto:
        """The source model, as the build has it."""
        entry = self.known[self.plan.source].entry
        assert entry is not None
        model = ModelProto()
        model.ParseFromString(self.cache.read(entry.files["model.onnx"]))
        return model

    def reference(self) -> Tensors:
        """Inputs and tensors of the float model. Raises CheckError when it cannot be looked into."""
        return self._must(self._reference(self.plan.reference, self.samples))

    def calibration(self) -> Tensors:
        """The same for calibration samples; empty if the model has none."""
        if not self.plan.calibration:
            return {}
        return self._must(self._reference(self.plan.calibration, range(CALIBRATION_SAMPLES)))

    def exposed(self, names: Sequence[str], reference: Tensors) -> dict[str, Seen] | str:
        """The outputs of the artifact, built with `names` as further outputs; or why it could not be."""
        inputs = (
            {"calibration": Output(self.plan.calibration, "samples.npz")} if self.plan.calibration else {}
        )
        found = self._look("artifact_tensors", f"exposed-{len(names)}", {"names": list(names)}, inputs)
        if isinstance(found, str):
            return found
        return {name: self._seen(array, reference[name]) for name, array in found.items()}

    def piece(self, takes: Sequence[str], gives: str, reference: Tensors) -> Seen:
        """What the piece of the network between `takes` and `gives` makes of the reference's tensors."""
        inputs = {}
        if self.plan.calibration:
            made = self._reference(self.plan.calibration, range(CALIBRATION_SAMPLES))
            inputs = {"calibration": Output(made.name, "tensors.npz")}
        params = {"takes": list(takes), "gives": gives}
        found = self._look("piece_tensor", f"piece-{'-'.join(takes)}-{gives}", params, inputs)
        if isinstance(found, str):
            return Seen(failure=found)
        return self._seen(found[gives], reference[gives]) if gives in found else Seen(refused=True)

    def _reference(self, samples_of: str, indices: Sequence[int]) -> Action:
        inputs = {
            "model": Output(self.plan.source, "model.onnx"),
            "samples": Output(samples_of, "samples.npz"),
        }
        name = f"{samples_of}/tensors"
        step = "sprue.debug.steps:reference_tensors"
        return Action(name, step, 1, {"samples": list(indices)}, inputs, _tools() | packages("onnxruntime"))

    def _look(
        self, step: str, label: str, params: Mapping[str, Any], inputs: Mapping[str, Output]
    ) -> Tensors | str:
        """The tensors that a step makes with the variant's backend, or why it failed."""
        variant = self.planned.variant
        needed = [self._reference(self.plan.reference, self.samples)]
        if self.plan.calibration:
            needed.append(self._reference(self.plan.calibration, range(CALIBRATION_SAMPLES)))
        action = Action(
            f"{self.plan.recipe.name}/{variant.target.id}/{variant.id}/debug/{label}",
            f"sprue.debug.steps:{step}",
            1,
            {"variant": variant.to_json(), **params},
            {
                "model": Output(self.plan.source, "model.onnx"),
                "tensors": Output(needed[0].name, "tensors.npz"),
                **inputs,
            },
            _tools() | dict(backend_tools(variant.backend, variant.target)),
            timeout=self.plan.timeout,
        )
        outcome = self._run([*needed, action])[action.name]
        return outcome.failure.what if outcome.failure is not None else self._tensors(outcome)

    def _must(self, action: Action) -> Tensors:
        outcome = self._run([action])[action.name]
        if outcome.failure is not None:
            raise CheckError(f"the float model cannot be looked into: {outcome.failure}")
        return self._tensors(outcome)

    def _run(self, actions: Sequence[Action]) -> dict[str, Outcome]:
        return run(actions, self.cache, self.pool, self.listen, self.known)

    def _tensors(self, outcome: Outcome) -> Tensors:
        assert outcome.entry is not None
        return from_npz(self.cache.read(outcome.entry.files["tensors.npz"]))

    def _seen(self, actual: NDArray[np.generic], reference: NDArray[np.generic]) -> Seen:
        try:
            agreement = compare({"": actual}, {"": reference}, self.tolerance)[""]
        except CheckError as error:
            return Seen(failure=str(error))
        return Seen(agreement, float(actual.min()), float(actual.max()))


def from_npz(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays in the bytes of an .npz file that a step of ours wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _tools() -> dict[str, str]:
    ours = {"debug": code(Path(__file__).parent), "sprue": steps_code(), "processor": processor()}
    return ours | packages("onnx", "numpy") | {"python": platform.python_version()}
