"""What the actions of `sprue debug` call. Networks run a sample at a time, at batch 1.

Tensors are kept as [samples, *shape of the tensor at batch 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sprue import data, graph, reference
from sprue.backend import Variant, find
from sprue.debug import cut
from sprue.errors import SprueError

if TYPE_CHECKING:
    from onnx import ModelProto

    from sprue.backend import Samples

Inputs = Mapping[str, Path]
Params = Mapping[str, Any]

MOST_BYTES = 256 * 2**20
"""Of all tensors of all samples together; of a large network fewer samples are looked at."""


def reference_tensors(inputs: Inputs, params: Params, out: Path) -> None:
    """model + samples -> tensors.npz: the inputs and every tensor, as the float model has them.

    params: `samples`, the indices of the samples to run; those that there are not are left out.
    """
    model = graph.read_model(inputs["model"])
    samples = data.read_arrays(inputs["samples"])
    single = graph.with_batch(cut.exposed(model, cut.tensors(model)), 1)
    session = reference.session(graph.serialise(single))
    kept = [o.name for o in session.get_outputs()]

    def run(feeds: Samples) -> Samples:
        made = session.run(kept, dict(feeds))
        return {**feeds, **{n: np.asarray(a) for n, a in zip(kept, made, strict=True)}}

    data.write_arrays(out / "tensors.npz", _each(samples, _there(samples, params["samples"]), run))


def artifact_tensors(inputs: Inputs, params: Params, out: Path) -> None:
    """model + the reference's tensors [+ calibration] -> tensors.npz: what the artifact gives.

    params: `names`, the tensors that are made outputs beside those that the network has.
    """
    model = graph.read_model(inputs["model"])
    tensors = data.read_arrays(inputs["tensors"])
    feeds = {s.name: tensors[s.name][:, 0] for s in graph.inputs(model)}
    whole = cut.exposed(model, params["names"])
    calibration = data.read_arrays(inputs["calibration"]) if "calibration" in inputs else {}
    run = _built(whole, Variant.from_json(params["variant"]), calibration, out)
    count = len(next(iter(feeds.values())))
    data.write_arrays(out / "tensors.npz", _each(feeds, range(count), run))


def piece_tensor(inputs: Inputs, params: Params, out: Path) -> None:
    """model + the reference's tensors [+ those for calibration] -> tensors.npz: one, made by a piece.

    params: `takes`, the names of the tensors that the piece is fed; `gives`, the name of its result. The file
    is empty if `check` has findings: a build would refuse the piece (int8 of a piece without weights).
    """
    model = graph.read_model(inputs["model"])
    takes, gives = params["takes"], params["gives"]
    tensors = data.read_arrays(inputs["tensors"])
    fed = {name: tensors[name] for name in takes}
    made = cut.piece(model, fed, gives, tensors[gives])
    known = data.read_arrays(inputs["calibration"]) if "calibration" in inputs else {}
    variant = Variant.from_json(params["variant"])
    if find(variant.backend).check(made, variant):
        data.write_arrays(out / "tensors.npz", {})
        return
    run = _built(made, variant, {n: known[n] for n in takes if n in known}, out)
    count = len(tensors[gives])
    data.write_arrays(out / "tensors.npz", {gives: _each(fed, range(count), run)[gives][:, 0]})


def _there(samples: Samples, indices: Sequence[int]) -> list[int]:
    count = len(next(iter(samples.values())))
    return [index for index in indices if index < count]


def _built(
    model: ModelProto, variant: Variant, calibration: Samples, out: Path
) -> Callable[[Samples], Samples]:
    """Passes, compile, load: as a build does it, for another graph."""
    backend = find(variant.backend)
    for change in backend.passes(variant):
        model = change.apply(model, calibration)
    place = out / "artifact"
    place.mkdir()
    backend.compile(model, variant, calibration, place)
    return backend.load(place, variant).run


def _each(samples: Samples, indices: Sequence[int], run: Callable[[Samples], Samples]) -> dict[str, Any]:
    """Run each sample alone. Fewer of them where all would take more than MOST_BYTES."""
    rows: list[Samples] = []
    size = 0
    for index in indices:
        made = run({name: np.ascontiguousarray(a[index : index + 1]) for name, a in samples.items()})
        size += sum(a.nbytes for a in made.values())
        if rows and size > MOST_BYTES:
            break
        rows.append(made)
    if not rows:
        raise SprueError("there are no samples to run")
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
