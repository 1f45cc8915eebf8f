"""An ONNX model as sprue handles it: read, normalised, and asked about its inputs and outputs.

Normalised means: what does not change the result is gone (metadata, doc strings), so that the same network
gives the same bytes, whichever machine exported it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from sprue import weights as weights_beside
from sprue.errors import SprueError, refused

MAX_MODEL_BYTES = 2 * 2**30 - 1
"""protobuf's own limit: of a model with all of its weights."""
MAX_INFERRED = 1024
"""Elements of a constant whose values shape inference may need."""


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output. `shape` holds None where a dimension is symbolic; axis 0 is the batch axis."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


def read_model(path: Path, where: str = "") -> ModelProto:
    """Parse and check an ONNX file, with the weights that `weights.write_model` laid beside it.

    Raises SprueError when it is missing, truncated or not valid ONNX, or when other data lies outside of it.

    `where` is the place that errors name, if it is not `path`.
    """
    where = where or str(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SprueError(
            "there is no such ONNX file", where=where, remedy="check `source` in the model's model.toml"
        ) from error
    if size > MAX_MODEL_BYTES:
        raise SprueError(f"{size} bytes is more than the 2 GiB that an ONNX file can hold", where=where)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise refused("cannot read it", error, where) from error
    try:
        model = onnx.load_model_from_string(raw)
        _refuse_broken_texts(model)
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise SprueError(
            f"not an ONNX model, or a truncated one ({error})",
            where=where,
            remedy="export it again, or fetch it again if it came through git-lfs",
        ) from error
    if size == 0 or not model.graph.node:
        raise SprueError(
            "the ONNX graph is empty: the file may be truncated", where=where, remedy="export it again"
        )
    try:
        weights_beside.join(model, path.parent, MAX_MODEL_BYTES - size)
    except SprueError as error:
        raise SprueError(error.what, where=where, remedy=error.remedy) from error
    if outside := [name for name, t in tensors(model.graph) if uses_external_data(t)]:
        raise SprueError(
            f"the tensor '{outside[0]}' lies outside the file, which is not supported",
            where=where,
            remedy="make one file of it: onnx.save(onnx.load(path), path, save_as_external_data=False)",
        )
    try:
        onnx.checker.check_model(model, full_check=False)
    except Exception as error:  # ValidationError, and others for what is damaged inside
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SprueError(f"not valid ONNX: {said}", where=where, remedy="export it again") from error
    for name, tensor in tensors(model.graph):
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:  # whatever numpy finds wrong with its type, its shape or its bytes
            raise SprueError(
                f"the weight '{name}' is damaged: {error}", where=where, remedy="export it again"
            ) from error
    return model


def _refuse_broken_texts(message: Any) -> None:
    """Raises ValueError for a text that is not UTF-8: protobuf hands it out as bytes."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for item in [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value:
            if hasattr(item, "ListFields"):
                _refuse_broken_texts(item)
            elif not isinstance(item, str):
                raise ValueError(f"its {field.name} {item[:40]!r} is not UTF-8")


def normalise(model: ModelProto) -> ModelProto:
    """A copy without metadata, doc strings and producer, with every node named."""
    made = ModelProto()
    made.CopyFrom(model)
    for name in (
        "producer_name",
        "producer_version",
        "domain",
        "doc_string",
        "model_version",
        "metadata_props",
    ):
        made.ClearField(name)
    _strip(made.graph)
    return made


def serialise(model: ModelProto) -> bytes:
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def inputs(model: ModelProto) -> tuple[TensorSpec, ...]:
    """The inputs that a caller feeds: initializers listed among the inputs are left out."""
    constant = {t.name for t in model.graph.initializer}
    return tuple(_spec(v) for v in model.graph.input if v.name not in constant)


def outputs(model: ModelProto) -> tuple[TensorSpec, ...]:
    return tuple(_spec(v) for v in model.graph.output)


def weights(model: ModelProto) -> dict[str, NDArray[np.generic]]:
    """The initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """All tensors of a graph by name: initializers and constants, those of inner graphs among them."""
    yield from ((t.name, t) for t in graph.initializer)
    yield from ((t.values.name, t.values) for t in graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            held = [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
            yield from ((node.output[0] if node.output else node.name, t) for t in held)
            for inner in _graphs(attribute):
                yield from tensors(inner)


def opset(model: ModelProto) -> int:
    """The version of the default operator set."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def attributes(node: NodeProto) -> dict[str, object]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class Attributed:
    """What holds a node's `attributes`, and reads each as the kind that it must be of.

    One of another kind raises `refusal`, whose first argument is what is wrong.
    """

    attributes: Mapping[str, object]
    refusal: ClassVar[type[Exception]] = ValueError

    def integer(self, name: str, default: int = 0) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refusal(f"the attribute '{name}' is not an integer")
        return value

    def real(self, name: str, default: float = 0.0) -> float:
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.refusal(f"the attribute '{name}' is not a number")
        return float(value)

    def integers(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        value = self.attributes.get(name, default)
        if not isinstance(value, list | tuple | range):
            raise self.refusal(f"the attribute '{name}' is not a list of integers")
        return tuple(int(v) for v in value)

    def text(self, name: str, default: str = "") -> str:
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if not isinstance(value, str):
            raise self.refusal(f"the attribute '{name}' is not a text")
        return value


def with_batch(model: ModelProto, batch: int) -> ModelProto:
    """A copy whose graph inputs have `batch` as axis 0, shapes inferred anew.

    Shapes that the graph declares of its outputs are kept where the inputs have that batch already.

    Raises SprueError when another axis is symbolic too, naming input and axis.
    """
    made = ModelProto()
    made.CopyFrom(model)
    constant = {t.name for t in made.graph.initializer}
    changed = False
    for value in made.graph.input:
        if value.name in constant:
            continue
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if axis == 0:
                changed |= dim.dim_value != batch
                dim.ClearField("dim_param")
                dim.dim_value = batch
            elif not dim.HasField("dim_value"):
                raise SprueError(
                    f"input '{value.name}' has the symbolic axis {axis} ('{dim.dim_param}'); "
                    "only the batch axis may be symbolic",
                    remedy="export the model with that axis fixed",
                )
    if changed:  # else what is declared holds, and inference may know less
        fed = {value.name: value for value in made.graph.input}
        for value in made.graph.output:
            if value.name in fed:
                value.CopyFrom(fed[value.name])
            else:
                value.type.tensor_type.ClearField("shape")
        del made.graph.value_info[:]
    return infer_shapes(made)


def infer_shapes(model: ModelProto) -> ModelProto:
    """A copy with the shapes that ONNX infers, shape arithmetic followed. Raises onnx's InferenceError.

    Of large weights inference needs the shapes only: it goes without them, who would be copied three times.
    """
    bare = ModelProto()
    _copy_fields(model, bare, but="graph")
    _copy_fields(model.graph, bare.graph, but="initializer")
    fed = {v.name for v in bare.graph.input}
    count = len(bare.graph.input)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= MAX_INFERRED:
            bare.graph.initializer.append(tensor)
        elif tensor.name not in fed:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            bare.graph.input.append(value)
    made = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    del made.graph.input[count:]
    del made.graph.initializer[:]
    made.graph.initializer.extend(model.graph.initializer)
    return made


def _copy_fields(source: ModelProto | GraphProto, target: ModelProto | GraphProto, *, but: str) -> None:
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def non_finite_weights(model: ModelProto) -> list[str]:
    """Names of float initializers that hold NaN or infinity, and of constants that hold NaN.

    An infinite constant may be meant: a mask.
    """
    trained = {t.name for t in model.graph.initializer}
    arrays = ((n, numpy_helper.to_array(t)) for n, t in tensors(model.graph))
    floats = ((n, a) for n, a in arrays if a.dtype.kind == "f")
    return [n for n, a in floats if np.isnan(a).any() or (n in trained and np.isinf(a).any())]


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return TensorSpec(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)


def _strip(graph: GraphProto) -> None:
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    for index, node in enumerate(graph.node):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.name = node.name or f"{node.op_type}_{index}"
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for inner in _graphs(attribute):
                _strip(inner)
    named: Sequence[TensorProto | onnx.ValueInfoProto] = [
        *graph.initializer,
        *graph.input,
        *graph.output,
        *graph.value_info,
    ]
    for item in named:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")


def _graphs(attribute: onnx.AttributeProto) -> list[GraphProto]:
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else list(attribute.graphs)
