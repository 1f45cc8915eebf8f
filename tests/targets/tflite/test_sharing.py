"""A file in which nothing is written twice says what one with repetitions says, and is smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")

NUMBERS = st.lists(st.integers(-1, 3), max_size=4)
QUANTIZED = st.tuples(st.lists(st.sampled_from([0.5, 0.25]), max_size=3), st.lists(st.sampled_from([0, 1])))
TENSORS = st.tuples(st.sampled_from(["x", "y", "x\0", ""]), NUMBERS, NUMBERS, QUANTIZED, st.integers(0, 3))
MODELS = st.lists(st.tuples(TENSORS, NUMBERS, st.booleans()), min_size=1, max_size=12)


def model_of(parts: list[Any]) -> Any:
    """Tensors, operations with options, and buffers that hold the same few values again and again."""
    from sprue.targets.tflite.flatbuffer import schema

    s = schema()
    tensors, operators, buffers = [], [], [s.BufferT()]
    for (name, shape, signature, (scale, zero), kind), used, keep in parts:
        quantization = s.QuantizationParametersT(scale=scale, zeroPoint=zero)
        tensor = s.TensorT(shape=shape, shapeSignature=signature, name=name, type=kind, buffer=len(buffers))
        tensor.quantization = quantization
        tensors.append(tensor)
        buffers.append(s.BufferT(data=np.array([*used, 7], np.int64).view(np.uint8)))
        options = s.ReducerOptionsT(keepDims=keep)
        operator = s.OperatorT(inputs=used, outputs=used, builtinOptions=options)
        operator.builtinOptionsType = s.BuiltinOptions.ReducerOptions
        operators.append(operator)
    graph = s.SubGraphT(tensors=tensors, operators=operators, inputs=[0], outputs=[0], name="x")
    return s.ModelT(version=3, subgraphs=[graph], buffers=buffers, description="x")


def plain(value: Any) -> Any:
    """The objects of the schema as lists and dicts."""
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if hasattr(value, "__dict__"):
        return {k: plain(v) for k, v in vars(value).items()}
    return value.item() if isinstance(value, np.generic) else value


@settings(max_examples=20, deadline=None)
@given(parts=MODELS)
def test_what_is_read_is_what_was_written(parts: list[Any]) -> None:
    import flatbuffers
    from sprue.targets.tflite.flatbuffer import FILE_IDENTIFIER, read, write

    builder = flatbuffers.Builder(16)
    builder.Finish(model_of(parts).Pack(builder), FILE_IDENTIFIER)
    repeated, shared = bytes(builder.Output()), write(model_of(parts))
    assert plain(read(shared)) == plain(read(repeated))


def test_zero_points_of_channels_are_stored_once() -> None:
    from sprue.targets.tflite.flatbuffer import write

    channels = 512
    tensor: Any = (("w", [channels, 1], [], ([0.5] * channels, [0] * channels), 0), [], False)
    sizes = [len(write(model_of([tensor] * count))) for count in (1, 8)]
    assert sizes[1] - sizes[0] < 7 * 200
