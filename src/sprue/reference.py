"""The float reference: the source model in onnxruntime, with every graph optimisation off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sprue.errors import SprueError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from sprue.backend import Samples

Array = NDArray[np.generic]


def session(model: bytes) -> InferenceSession:
    """The ONNX file's bytes as they are, unoptimised, on one thread. Raises what onnxruntime raises."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(path: Path, samples: Samples, where: str = "") -> dict[str, Array]:
    """`outputs` of the ONNX file `path`."""
    return outputs(path.read_bytes(), samples, where)


def outputs(model: bytes, samples: Samples, where: str = "") -> dict[str, Array]:
    """Outputs of an ONNX file's bytes for all samples, by output name. `where`: what errors call the model.

    Raises SprueError when onnxruntime cannot run it, or when an output holds NaN or infinity.
    """
    try:
        opened = session(model)
        names = [o.name for o in opened.get_outputs()]
        batch = 1 if any(i.shape and i.shape[0] == 1 for i in opened.get_inputs()) else 64
        count = len(next(iter(samples.values())))
        parts = [
            opened.run(names, {n: a[start : start + batch] for n, a in samples.items()})
            for start in range(0, count, batch)
        ]
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise SprueError(f"onnxruntime cannot run the source model: {error}", where=where) from error
    made = {}
    for i, name in enumerate(names):
        given = [np.asarray(p[i]) for p in parts]
        sizes = [len(a) if a.ndim else 0 for a in given]
        if sum(sizes) != count or any(size > batch for size in sizes):
            raise SprueError(
                f"output '{name}' has no batch axis: {list(given[0].shape)} for {min(count, batch)} samples",
                where=where,
                remedy="export the model so that axis 0 of every output counts the samples",
            )
        made[name] = np.concatenate(given)
    for name, array in made.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.flatnonzero(~np.isfinite(array.reshape(count, -1)).all(axis=1))[0])
            raise SprueError(
                f"the float model's output '{name}' is NaN or infinite for evaluation sample {bad}",
                where=where,
                remedy="check the model and its evaluation data",
            )
    return made
