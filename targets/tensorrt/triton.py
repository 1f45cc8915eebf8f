"""Triton's model repository: triton/model/config.pbtxt, beside which the engine goes as 1/model.plan."""

from __future__ import annotations

from pathlib import Path

import jinja2

from sprue.errors import SprueError

from .manifest import BATCH, EngineManifest, Tensor

DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
}


def config(manifest: EngineManifest) -> str:
    """config.pbtxt, protobuf text of Triton's ModelConfig.

    With a free batch axis Triton batches requests, and `dims` leave that axis out; with a fixed one
    `max_batch_size` is 0 and `dims` are the whole shape.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # protobuf text, not HTML: names go through the filter `text`
    )
    environment.filters["text"] = _text
    free = manifest.free_batch
    return environment.get_template("config.pbtxt.j2").render(
        max_batch_size=BATCH[2] if free else 0,
        preferred_batch_size=BATCH[1],
        inputs=[_entry(t, free) for t in manifest.inputs],
        outputs=[_entry(t, free) for t in manifest.outputs],
    )


def _entry(tensor: Tensor, free: bool) -> dict[str, object]:
    if tensor.dtype not in DATA_TYPES:
        raise SprueError(
            f"'{tensor.name}' is {tensor.dtype}, which TensorRT does not take at a model's border",
            remedy=f"export the model with one of {', '.join(DATA_TYPES)}",
        )
    dims = tensor.shape[1:] if free else tensor.shape
    # Triton wants at least one dimension: one value per sample is [1] outside and [] inside
    return {
        "name": tensor.name,
        "data_type": DATA_TYPES[tensor.dtype],
        "dims": dims or [1],
        "scalar": not dims,
    }


def _text(name: str) -> str:
    """A string of protobuf's text format: bytes outside printable ASCII, quotes and backslashes as octal."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in name.encode()) + '"'
