"""What a model's inputs and outputs mean to a person: `[input.NAME]` and `[output.NAME]` of model.toml.

It decides nothing. A backend whose format has a place for it (`writes_description`) finds it in the metadata
of the ONNX model that it compiles, and writes it into the artifact: TFLite metadata, for example.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprue.canonical import canonical
from sprue.errors import SprueError, did_you_mean

if TYPE_CHECKING:
    from onnx import ModelProto

PROPERTY = "sprue.description"
"""The key in `ModelProto.metadata_props`."""
MAX_LABELS_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Meaning:
    """Of one input or output. The network takes (raw - mean) / std; `labels` name the last axis."""

    description: str = ""
    unit: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """Of a whole model: its name and licenses too. What nobody described is not in `inputs` or `outputs`."""

    name: str
    text: str = ""
    licenses: tuple[str, ...] = ()
    inputs: Mapping[str, Meaning] = field(default_factory=dict)
    outputs: Mapping[str, Meaning] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Without what says nothing, so that a model without descriptions has next to nothing here."""
        borders = {"inputs": self.inputs, "outputs": self.outputs}
        tensors = {
            border: {name: {k: v for k, v in asdict(said).items() if v} for name, said in all_said.items()}
            for border, all_said in borders.items()
        }
        said = {"text": self.text, "licenses": list(self.licenses), **tensors}
        return {"name": self.name, **{k: v for k, v in said.items() if v}}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Description:
        """Raises TypeError, AttributeError or ValueError for what `to_json` never writes."""
        return cls(
            str(said["name"]),
            str(said.get("text", "")),
            tuple(map(str, said.get("licenses", ()))),
            *(
                {str(name): _meaning(each) for name, each in said.get(border, {}).items()}
                for border in ("inputs", "outputs")
            ),
        )


def read_labels(path: Path, where: str) -> tuple[str, ...]:
    """The lines of a text file. Raises SprueError when it is too large or no UTF-8."""
    try:
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise SprueError(f"'{path.name}' is larger than {MAX_LABELS_BYTES} bytes", where=where)
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise SprueError(
            f"the labels '{path.name}' cannot be read: {error}",
            where=where,
            remedy="write one name a line, in UTF-8",
        ) from error


def refuse_strangers(description: Description, model: ModelProto, where: str) -> None:
    """Raises SprueError when a name is no input or output of the graph, or a count does not fit its shape."""
    from sprue.graph import inputs, outputs

    for kind, said, specs in (
        ("input", description.inputs, inputs(model)),
        ("output", description.outputs, outputs(model)),
    ):
        shapes = {s.name: s.shape for s in specs}
        for name, meaning in said.items():
            if name not in shapes:
                raise SprueError(
                    f"[{kind}.{name}] describes no {kind} of the graph",
                    where=where,
                    remedy=did_you_mean(name, shapes),
                )
            shape = shapes[name]
            _refuse_count(f"[{kind}.{name}] labels", len(meaning.labels), shape[-1:], where)
            if len(meaning.mean) > 1:
                _refuse_count(f"[{kind}.{name}] mean", len(meaning.mean), shape[1:2], where)


def write(description: Mapping[str, Any], model: ModelProto) -> None:
    """Put the JSON of a description into the model's metadata."""
    model.metadata_props.add(key=PROPERTY, value=canonical(description).decode())


def read(model: ModelProto) -> Description:
    """What `write` put there; a description without a name where nobody did."""
    found = next((p.value for p in model.metadata_props if p.key == PROPERTY), '{"name": ""}')
    return Description.from_json(json.loads(found))


def _meaning(said: Mapping[str, Any]) -> Meaning:
    return Meaning(
        str(said.get("description", "")),
        str(said.get("unit", "")),
        tuple(map(float, said.get("mean", ()))),
        tuple(map(float, said.get("std", ()))),
        tuple(map(str, said.get("labels", ()))),
    )


def _refuse_count(what: str, count: int, axis: Sequence[int | None], where: str) -> None:
    size = axis[0] if axis else None
    if count and size is not None and count != size:
        raise SprueError(f"{what}: {count} where the graph has {size}", where=where, remedy="correct one")
