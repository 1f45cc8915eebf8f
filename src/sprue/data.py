"""Calibration and evaluation data: .npz files, checked against the model before anything is built."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sprue.errors import SprueError, did_you_mean
from sprue.graph import TensorSpec
from sprue.judging.metric import Metric

MAX_BYTES = 4 * 2**30
"""Of all arrays of a file together, uncompressed."""

NAMED = 10
"""Indices in a warning; evidence/reference.json has all of them."""

Array = NDArray[np.generic]


def read_arrays(path: Path, where: str = "") -> dict[str, Array]:
    """The arrays of an .npz file. Raises SprueError when it is missing, too large, or not plain .npz.

    `where` is the place that errors name, if it is not `path`.
    """
    where = where or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(info.file_size for info in archive.infolist())
        if total > MAX_BYTES:
            raise SprueError(f"{total} bytes uncompressed is more than {MAX_BYTES}", where=where)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if other := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"'{other[0]}' is no array")
        return arrays
    except SprueError:
        raise
    except FileNotFoundError as error:
        raise SprueError("there is no such file", where=where) from error
    except Exception as error:  # zip, its codecs and numpy's parsers raise what they like, zlib.error for one
        raise SprueError(
            f"not a readable .npz file ({error})",
            where=where,
            remedy="write it with numpy.savez_compressed, arrays of plain numbers only",
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an .npz file whose bytes depend on `arrays` alone."""
    # numpy.savez takes the names as its own keywords, and a tensor may be called `file`.
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, arrays[name], allow_pickle=False)


def check_inputs(
    arrays: Mapping[str, Array], specs: Sequence[TensorSpec], where: str, ignore: Sequence[str] = ()
) -> dict[str, Array]:
    """The model's inputs among `arrays`, in the model's order.

    Raises SprueError for a missing or unknown name, a wrong dtype or shape, no samples, NaN or infinity.
    """
    names = [s.name for s in specs]
    for name in arrays:
        if name not in names and name not in ignore:
            raise SprueError(
                f"the model has no input '{name}'", where=where, remedy=did_you_mean(name, names)
            )
    checked: dict[str, Array] = {}
    for spec in specs:
        if spec.name not in arrays:
            raise SprueError(
                f"there is no array for the model's input {spec}",
                where=where,
                remedy=f"its arrays are: {', '.join(arrays) or 'none'}",
            )
        checked[spec.name] = _fitting(arrays[spec.name], spec, where)
    counts = {name: len(array) for name, array in checked.items()}
    if len(set(counts.values())) > 1:
        raise SprueError(f"the arrays have different numbers of samples: {counts}", where=where)
    return checked


def check_labels(arrays: Mapping[str, Array], label: str, samples: int, metric: Metric, where: str) -> Array:
    """The labels, one per sample. Raises SprueError when they are missing or do not fit the metric."""
    if label not in arrays:
        raise SprueError(
            f"there is no array '{label}' with the labels",
            where=where,
            remedy=f"{did_you_mean(label, arrays)}; `data.label` in model.toml names it",
        )
    labels = arrays[label]
    if labels.ndim == 0 or len(labels) != samples:
        raise SprueError(
            f"'{label}' has shape {list(labels.shape)}, but there are {samples} samples", where=where
        )
    if metric.labels == "class" and labels.dtype.kind not in "iu":
        raise SprueError(f"'{label}' is {labels.dtype}; {metric.name} needs integer classes", where=where)
    if metric.labels == "class" and labels.size != samples:
        raise SprueError(
            f"'{label}' has shape {list(labels.shape)}; {metric.name} needs one class per sample",
            where=where,
            remedy="save one-hot labels with .argmax(axis=1)",
        )
    if labels.dtype.kind not in "iuf" or not np.isfinite(labels).all():
        raise SprueError(f"'{label}' does not hold finite numbers only", where=where)
    return labels


def check_answers(labels: Array, label: str, size: int, metric: Metric, where: str) -> None:
    """Raises SprueError when labels do not fit the model's first output, `size` numbers per sample."""
    if metric.labels == "class":
        classes = metric.classes(size)
        flat = labels.reshape(-1).astype(np.int64)
        wrong = np.flatnonzero((flat < 0) | (flat >= classes))
        if len(wrong):
            first = labels.reshape(-1)[wrong[0]]
            others = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise SprueError(
                f"'{label}' holds the class {first} in sample {wrong[0]}{others}; the model's first output "
                f"tells {classes} classes apart, 0 to {classes - 1}",
                where=where,
                remedy="classes count from 0, in the order of the model's outputs",
            )
        if metric.name == "auc" and len(np.unique(labels)) == 1:
            raise SprueError(f"'{label}' holds one class only, and auc needs two", where=where)
    if metric.labels == "values" and labels.size != len(labels) * size:
        raise SprueError(
            f"'{label}' has shape {list(labels.shape)}, but the model's first output has {size} per sample",
            where=where,
        )


def fingerprints(samples: Mapping[str, Array]) -> list[bytes]:
    """A digest of each sample's bytes, of all inputs: the same for the same sample in any file, at any
    place.
    """
    count = len(next(iter(samples.values())))
    found = []
    for i in range(count):
        made = hashlib.sha256()
        for name in sorted(samples):
            made.update(np.ascontiguousarray(samples[name][i]).tobytes())
        found.append(made.digest())
    return found


def overlap(evaluation: Mapping[str, Array], calibration: Mapping[str, Array]) -> dict[str, list[int]]:
    """The indices, in each of the two, of samples that are in both."""
    ours, theirs = fingerprints(evaluation), fingerprints(calibration)
    shared = set(ours) & set(theirs)
    return {
        "evaluation": [i for i, f in enumerate(ours) if f in shared],
        "calibration": [i for i, f in enumerate(theirs) if f in shared],
    }


def overlap_warning(found: Mapping[str, Sequence[int]], count: int) -> str:
    """What to say of an `overlap` where `count` samples judge; '' if there is none."""
    shared = found["evaluation"]
    if not shared:
        return ""
    named = ", ".join(map(str, shared[:NAMED])) + (", ..." if len(shared) > NAMED else "")
    return (
        f"{len(shared)} of {count} evaluation samples are calibration samples, too: {named}. "
        "What was quantized with them is judged on what it was fitted to: take them out of one of the two"
    )


def judging(samples: Mapping[str, Array]) -> NDArray[np.bool_]:
    """The half of the samples that what was chosen on the other half is judged on. By content, so that equal
    samples are on one side, and a sample stays on its side when others come or go.
    """
    return np.array([f[0] & 1 == 1 for f in fingerprints(samples)])


def _fitting(array: Array, spec: TensorSpec, where: str) -> Array:
    if array.dtype != spec.dtype:
        raise SprueError(
            f"'{spec.name}' is {array.dtype}, the model takes {spec.dtype}",
            where=where,
            remedy=f"save it with .astype(numpy.{spec.dtype})",
        )
    wanted = spec.shape[1:]
    fits = array.ndim == len(spec.shape) and all(
        w in (None, have) for w, have in zip(wanted, array.shape[1:], strict=True)
    )
    if not fits:
        raise SprueError(
            f"'{spec.name}' has shape {list(array.shape)}, the model takes {spec}; axis 0 counts the samples",
            where=where,
        )
    if len(array) == 0:
        raise SprueError(f"'{spec.name}' holds no samples", where=where, remedy="put at least one sample in")
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1).astype(np.float64)).all(axis=1))
        if len(bad):
            raise SprueError(f"'{spec.name}' holds NaN or infinity in sample {bad[0]}", where=where)
    return array
