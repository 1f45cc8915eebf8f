"""What a model means, written into the .tflite file: TFLite metadata, format 1.0.0.

The schema is `metadata_schema.fbs` of tflite-support; the tables and slots below are those of it that we
write. No package that we need ships the generated code (tflite-support pins NumPy below 2), so the tables are
built with the `flatbuffers` runtime itself. Labels are files: a ZIP archive, not compressed, behind the
flatbuffer, as tflite-support's own writer puts them there; the runtimes ignore it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sprue.description import Description, Meaning
from sprue.graph import TensorSpec

if TYPE_CHECKING:
    from flatbuffers import Builder

ENTRY_NAME = "TFLITE_METADATA"
"""Of the buffer in the model's own table `metadata`."""
IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"
FEATURE_PROPERTIES = 1
"""In the union ContentProperties: plain numbers, to which the process units apply."""
NORMALIZATION = 1
"""In the union ProcessUnitOptions."""
TENSOR_AXIS_LABELS = 2
"""In the enum AssociatedFileType: one label for each place of the last axis."""
START_OF_TIME = (1980, 1, 1, 0, 0, 0)

MODEL = {"name": 0, "description": 1, "subgraph_metadata": 3, "license": 5, "min_parser_version": 7}
SUBGRAPH = {"name": 0, "input_tensor_metadata": 2, "output_tensor_metadata": 3}
TENSOR = {"name": 0, "description": 1, "content": 3, "process_units": 4, "associated_files": 6}
CONTENT = {"type": 0, "properties": 1}
PROCESS_UNIT = {"type": 0, "options": 1}
NORMALIZATION_OPTIONS = {"mean": 0, "std": 1}
ASSOCIATED_FILE = {"name": 0, "description": 1, "type": 2}
"""Table -> its slots, in the order of the schema."""


def metadata(said: Description, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bytes:
    """The flatbuffer `ModelMetadata`. `inputs` and `outputs` stand in the order of the file's subgraph.

    b"" for a model of which nothing is said: it would repeat the names that the file holds anyway.
    """
    if said == Description(""):
        return b""
    import flatbuffers

    made = _Tables(flatbuffers.Builder(1024))
    borders = {
        "input_tensor_metadata": [made.tensor(s.name, said.inputs.get(s.name)) for s in inputs],
        "output_tensor_metadata": [made.tensor(s.name, said.outputs.get(s.name)) for s in outputs],
    }
    vectors = {name: made.vector(tables) for name, tables in borders.items()}
    subgraph = made.table(SUBGRAPH, {"name": made.text("main"), **vectors})
    texts = {
        "name": said.name,
        "description": said.text,
        "license": ", ".join(said.licenses),
        "min_parser_version": PARSER_VERSION,
    }
    fields = {name: made.text(text) for name, text in texts.items()}
    root = made.table(MODEL, {**fields, "subgraph_metadata": made.vector([subgraph])})
    made.builder.Finish(root, IDENTIFIER)
    return bytes(made.builder.Output())


def label_files(said: Description) -> dict[str, bytes]:
    """The files that `metadata` names: one of labels for each output that has any."""
    return {
        label_file(name): "".join(f"{label}\n" for label in meaning.labels).encode()
        for name, meaning in said.outputs.items()
        if meaning.labels
    }


def with_files(data: bytes, files: Mapping[str, bytes]) -> bytes:
    """A .tflite file with a ZIP archive behind it; the same files give the same bytes."""
    if not files:
        return data
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, START_OF_TIME)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return stream.getvalue()


def label_file(output: str) -> str:
    """A file's name: what an output may be called besides letters and digits is not for archives."""
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in output)
    return f"{plain}_labels.txt"


class _Tables:
    """Children are written before their tables, as flatbuffers demand; 0 stands for a field left out."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def tensor(self, name: str, meaning: Meaning | None) -> int:
        said = meaning or Meaning()
        words = f"{said.description} ({said.unit})" if said.description and said.unit else ""
        normalisation = 0
        if said.mean:
            options = {"mean": self.numbers(said.mean), "std": self.numbers(said.std)}
            table = self.table(NORMALIZATION_OPTIONS, options)
            normalisation = self.vector([self.union(PROCESS_UNIT, "options", NORMALIZATION, table)])
        labels = self.labels(name) if said.labels else 0
        content = self.union(CONTENT, "properties", FEATURE_PROPERTIES, self.table({}, {}))
        fields = {
            "name": self.text(name),
            "description": self.text(words or said.description or said.unit),
            "content": content,
            "process_units": normalisation,
            "associated_files": labels,
        }
        return self.table(TENSOR, fields)

    def labels(self, output: str) -> int:
        named = {"name": self.text(label_file(output)), "description": self.text(f"the labels of {output}")}

        def kind() -> None:
            self.builder.PrependInt8Slot(ASSOCIATED_FILE["type"], TENSOR_AXIS_LABELS, 0)

        return self.vector([self.table(ASSOCIATED_FILE, named, kind)])

    def union(self, slots: Mapping[str, int], field: str, kind: int, value: int) -> int:
        return self.table(
            slots, {field: value}, lambda: self.builder.PrependUint8Slot(slots["type"], kind, 0)
        )

    def table(
        self, slots: Mapping[str, int], fields: Mapping[str, int], more: Callable[[], None] | None = None
    ) -> int:
        """`fields`: offsets of what was written before. `more` writes what is no offset."""
        self.builder.StartObject(max(slots.values(), default=-1) + 1)
        for name, offset in fields.items():
            self.builder.PrependUOffsetTRelativeSlot(slots[name], offset, 0)
        if more is not None:
            more()
        return int(self.builder.EndObject())

    def text(self, text: str) -> int:
        return int(self.builder.CreateString(text)) if text else 0

    def vector(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def numbers(self, values: Sequence[float]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return int(self.builder.EndVector())
