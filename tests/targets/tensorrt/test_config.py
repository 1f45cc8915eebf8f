"""config.pbtxt, read by protobuf's own text parser with the part of Triton's schema that we use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
from google.protobuf import (  # type: ignore[import-untyped]  # protobuf ships no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from onnx import ModelProto, TensorProto, helper
from sprue.targets.tensorrt.manifest import describe
from sprue.targets.tensorrt.triton import config

Field = descriptor_pb2.FieldDescriptorProto
ONE, MANY = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED


def minimal_schema() -> type[Any]:
    """The part of Triton's model_config.proto that we write: names and numbers as published there."""
    file = descriptor_pb2.FileDescriptorProto(name="part.proto", package="inference", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    names = "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING BF16"
    for number, name in enumerate(names.split()):
        kinds.value.add(name=f"TYPE_{name}", number=number)

    def message(name: str, fields: list[tuple[str, int, Any, Any, str]]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, label, kind, of in fields:
            made.field.add(name=field, number=number, label=label, type=kind, type_name=of or None)
        return made

    message("ModelTensorReshape", [("shape", 1, MANY, Field.TYPE_INT64, "")])
    shared = [
        ("name", 1, ONE, Field.TYPE_STRING, ""),
        ("data_type", 2, ONE, Field.TYPE_ENUM, ".inference.DataType"),
    ]
    reshape = ("reshape", 5, ONE, Field.TYPE_MESSAGE, ".inference.ModelTensorReshape")
    message("ModelInput", [*shared, ("dims", 4, MANY, Field.TYPE_INT64, ""), reshape])
    message("ModelOutput", [*shared, ("dims", 3, MANY, Field.TYPE_INT64, ""), reshape])
    kind = ("kind", 4, ONE, Field.TYPE_ENUM, ".inference.ModelInstanceGroup.Kind")
    group = message("ModelInstanceGroup", [("count", 2, ONE, Field.TYPE_INT32, ""), kind])
    values = group.enum_type.add(name="Kind").value
    for number, name in enumerate(("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")):
        values.add(name=name, number=number)
    batching = [
        ("preferred_batch_size", 1, MANY, Field.TYPE_INT32, ""),
        ("max_queue_delay_microseconds", 2, ONE, Field.TYPE_UINT64, ""),
    ]
    message("ModelDynamicBatching", batching)
    message(
        "ModelConfig",
        [
            ("platform", 2, ONE, Field.TYPE_STRING, ""),
            ("max_batch_size", 4, ONE, Field.TYPE_INT32, ""),
            ("input", 5, MANY, Field.TYPE_MESSAGE, ".inference.ModelInput"),
            ("output", 6, MANY, Field.TYPE_MESSAGE, ".inference.ModelOutput"),
            ("instance_group", 7, MANY, Field.TYPE_MESSAGE, ".inference.ModelInstanceGroup"),
            ("default_model_filename", 8, ONE, Field.TYPE_STRING, ""),
            ("dynamic_batching", 11, ONE, Field.TYPE_MESSAGE, ".inference.ModelDynamicBatching"),
        ],
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: type[Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return found


@pytest.fixture
def parse() -> Callable[[str], Any]:
    schema = minimal_schema()
    return lambda text: text_format.Parse(text, schema())


def io(found: Any) -> list[tuple[str, int, list[int]]]:
    return [(t.name, t.data_type, list(t.dims)) for t in found]


FP32, INT64, KIND_GPU = 11, 9, 1


def test_a_free_batch_axis_is_left_to_triton(parse: Callable[[str], Any], digits: ModelProto) -> None:
    read = parse(config(describe(digits, "float16")))
    assert read.platform == "tensorrt_plan"
    assert read.default_model_filename == "model.plan"
    assert io(read.input) == [("image", FP32, [1, 8, 8])]
    assert io(read.output) == [("logits", FP32, [10])]
    assert read.max_batch_size == describe(digits, "float16").profile["image"].max[0]
    assert list(read.dynamic_batching.preferred_batch_size) == [
        describe(digits, "float16").profile["image"].opt[0]
    ]
    assert [(g.count, g.kind) for g in read.instance_group] == [(1, KIND_GPU)]


def test_tokens_stay_int64(parse: Callable[[str], Any], intent: ModelProto) -> None:
    read = parse(config(describe(intent, "float32")))
    assert io(read.input) == [("tokens", INT64, [16])]


def test_a_fixed_batch_is_part_of_the_dims_and_is_not_batched(
    parse: Callable[[str], Any], fixed_batch: ModelProto
) -> None:
    read = parse(config(describe(fixed_batch, "float32")))
    assert read.max_batch_size == 0
    assert io(read.input) == [("image", FP32, [1, 1, 8, 8])]
    assert io(read.output) == [("logits", FP32, [1, 10])]
    assert not read.HasField("dynamic_batching")


def test_one_value_per_sample_is_reshaped_from_no_dimension(
    parse: Callable[[str], Any], network: Callable[..., ModelProto], tensor: Callable[..., Any]
) -> None:
    made = network(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=0)],
        [tensor("x", TensorProto.FLOAT, "n", 4)],
        [tensor("y", TensorProto.FLOAT, "n")],
        {},
        opset=17,
    )
    (output,) = parse(config(describe(made, "float32"))).output
    assert (list(output.dims), output.HasField("reshape"), list(output.reshape.shape)) == ([1], True, [])


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "line\nbreak", "größe", "{{ 7 * 7 }}", "a/b:0"])
def test_any_tensor_name_survives(parse: Callable[[str], Any], digits: ModelProto, name: str) -> None:
    digits.graph.input[0].name = name
    digits.graph.node[0].input[0] = name
    assert parse(config(describe(digits, "float32"))).input[0].name == name


def test_the_template_refuses_a_variable_that_is_missing() -> None:
    import sprue.targets.tensorrt.triton as module

    folder = Path(module.__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["text"] = str
    with pytest.raises(jinja2.UndefinedError, match="max_batch_size"):
        environment.get_template("config.pbtxt.j2").render(inputs=[], outputs=[])


def test_tritons_published_schema_reads_the_same(
    parse: Callable[[str], Any], digits: ModelProto, intent: ModelProto, fixed_batch: ModelProto
) -> None:
    published = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2", reason="pip install tritonclient[grpc] for Triton's own schema"
    )
    for model in (digits, intent, fixed_batch):
        text = config(describe(model, "float32"))
        read, known = text_format.Parse(text, published.ModelConfig()), parse(text)
        assert read.SerializeToString(deterministic=True) == known.SerializeToString(deterministic=True)
