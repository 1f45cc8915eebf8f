"""A model in several files: the graph, and each large weight in a file that is named by its content.

model.onnx           the graph, with the tensors below 4 KiB
weights/<sha256>     the raw bytes of each larger initializer: ONNX external data, offset 0

Models that share weights then share files: on the disk, in the cache, in a registry. The names are digests,
so that reading a weight proves it, and a model can name no file but those.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from onnx import ModelProto, StringStringEntryProto, TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from sprue.canonical import digest
from sprue.errors import SprueError

FOLDER = "weights"
SMALLEST = 4096
"""Bytes: a smaller tensor stays in the graph. A file costs a block of the disk and a line of the manifest."""

_PLACE = re.compile(rf"{FOLDER}/([0-9a-f]{{64}})")


def write_model(model: ModelProto, path: Path) -> None:
    """Write `model` to `path`, and its large weights to the folder `weights` beside it.

    The same model gives the same bytes; `model` itself stays as it is.
    """
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.STRING or uses_external_data(tensor):
            continue
        data = tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
        if len(data) < SMALLEST:
            continue
        place = f"{FOLDER}/{digest(data)}"
        (path.parent / FOLDER).mkdir(parents=True, exist_ok=True)
        (path.parent / place).write_bytes(data)
        _point(tensor, place, len(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString(deterministic=True))


def join(model: ModelProto, folder: Path, limit: int) -> None:
    """Put the weights that `write_model` laid beside `model`, in `folder`, back into it.

    Raises SprueError, naming the weight, for any other place, for a file that is missing, a link or not what
    its name says, and when all of them together exceed `limit` bytes.
    """
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        match = _PLACE.fullmatch(said.get("location", ""))
        if match is None or said.keys() != {"location", "length"}:
            raise SprueError(
                f"the tensor '{tensor.name}' lies outside the file, which is not supported",
                remedy="make one file of it: onnx.save(onnx.load(path), path, save_as_external_data=False)",
            )
        data = _read(folder / match[0], tensor.name, limit)
        if digest(data) != match[1] or said["length"] != str(len(data)):
            raise SprueError(f"the weight '{tensor.name}' is damaged: {match[0]}", remedy="fetch it again")
        limit -= len(data)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = data


def _point(tensor: TensorProto, place: str, length: int) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    values = {"location": place, "length": str(length)}
    tensor.external_data.extend(StringStringEntryProto(key=k, value=v) for k, v in values.items())


def _read(path: Path, name: str, limit: int) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(0, "not a plain file")
            data = stream.read(limit + 1)
    except OSError as error:
        said = f"the weight '{name}' cannot be read: {FOLDER}/{path.name}: {error.strerror}"
        raise SprueError(said, remedy="fetch it again") from error
    if len(data) > limit:
        raise SprueError(f"with the weight '{name}' the model is larger than 2 GiB")
    return data
