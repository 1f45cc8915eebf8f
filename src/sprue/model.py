"""A model: a source, its calibration and evaluation data, and its metric. `models/<name>/model.toml`.

Loading a model here reads only the TOML; the network and the data are read by the steps that need them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sprue.canonical import file_digest
from sprue.description import Description, Meaning, read_labels
from sprue.errors import SprueError, did_you_mean
from sprue.judging.metric import METRICS, find_metric, is_own
from sprue.target_file import Strict
from sprue.toml import Document, read_toml, validate


def _inside(text: str) -> str:
    path = Path(text.split(":", 1)[0])
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError('a path inside the model\'s own folder, such as "digits.onnx"')
    return text


InnerPath = Annotated[str, AfterValidator(_inside)]


class DataFile(Strict):
    """`[data]`: .npz files whose arrays are named as the model's inputs, axis 0 counting the samples."""

    evaluation: InnerPath = Field(
        description="samples and labels that every artifact is judged on", examples=["evaluation.npz"]
    )
    calibration: InnerPath | None = Field(None, description="samples that quantization ranges are taken from")
    label: str = Field("label", description="the array of the evaluation file that holds the right answers")


class InputFile(Strict):
    """`[input.NAME]`: what the numbers of one input of the graph are."""

    description: str = ""
    unit: str = Field("", description="what the network takes is counted in, such as dB or m/s")
    mean: list[float] = Field(
        default_factory=list,
        description="the network takes (raw - mean) / std: one number, or one for each channel (axis 1)",
    )
    std: list[float] = Field(default_factory=list, description="as `mean`; all above zero")

    @model_validator(mode="after")
    def _both(self) -> InputFile:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std go together, as many of one as of the other")
        if not all(map(math.isfinite, [*self.mean, *self.std])) or any(s <= 0 for s in self.std):
            raise ValueError("mean and std are finite numbers, and std is above zero")
        return self


class OutputFile(Strict):
    """`[output.NAME]`: what the numbers of one output of the graph are."""

    description: str = ""
    unit: str = Field("", description="what they are counted in; logits or probabilities, for example")
    labels: list[str] | str = Field(
        default_factory=list,
        description="a name for each place of the last axis, in order; or a text file with one a line",
    )


class ModelFile(Strict):
    """`models/<name>/model.toml`."""

    source: InnerPath = Field(
        description='an ONNX file, or "train.py:export", a callable that returns an onnx.ModelProto',
        examples=["model.onnx"],
    )
    metric: str = Field(
        "accuracy",
        json_schema_extra={"anyOf": [{"enum": [*METRICS]}, {"pattern": r"^top[1-9][0-9]*$|^.+[.]py:.+$"}]},
        description='what answers are judged by, or a function of your own, such as "metrics.py:score"',
    )
    better: Literal["higher", "lower"] | None = Field(
        None, description="which values of a metric of your own are better; default: higher"
    )
    data: DataFile
    licenses: list[str] = Field(default_factory=list, description="SPDX identifiers")
    description: str = ""
    input: dict[str, InputFile] = Field(
        default_factory=dict, description="what inputs mean, by their names in the graph"
    )
    output: dict[str, OutputFile] = Field(
        default_factory=dict, description="what outputs mean, by their names in the graph"
    )


@dataclass(frozen=True)
class Model:
    """`function` is "" for an ONNX file, else the callable's name in the Python file `source`.

    `files`: those that `description` was read from besides model.toml, with their digests.
    """

    name: str
    folder: Path
    source: Path
    function: str
    metric: str
    higher_is_better: bool
    label: str
    evaluation: Path
    calibration: Path | None
    licenses: tuple[str, ...]
    document: Document
    description: Description
    files: Mapping[Path, str] = field(default_factory=dict)

    def place(self, *key: str) -> str:
        return self.document.place(key)


def load_model(folder: Path) -> Model:
    """Read `folder/model.toml`. Raises SprueError naming file, line and key, also for missing files."""
    document = read_toml(folder / "model.toml")
    data = validate(ModelFile, document)
    higher_is_better = _direction(data, document)
    file, _, function = data.source.partition(":")
    if not (file.endswith(".py") and function.isidentifier()) and (function or not file.endswith(".onnx")):
        raise SprueError(
            f"source '{data.source}' is neither an ONNX file nor file.py:callable",
            where=document.place(["source"]),
            remedy='write "model.onnx" or "train.py:export"',
        )
    if is_own(data.metric):
        _refuse_missing(folder, data.metric.partition(":")[0], ("metric",), document)
    named = {("source",): file, ("data", "evaluation"): data.data.evaluation}
    if data.data.calibration is not None:
        named["data", "calibration"] = data.data.calibration
    for key, name in named.items():
        _refuse_missing(folder, name, key, document)
    label_files = {n: o.labels for n, o in data.output.items() if isinstance(o.labels, str)}
    labels = {n: tuple(o.labels) for n, o in data.output.items()}
    for output, name in label_files.items():
        key = ("output", output, "labels")
        _refuse_outside(name, key, document)
        _refuse_missing(folder, name, key, document)
        labels[output] = read_labels(folder / name, document.place(key))
    calibration = data.data.calibration
    return Model(
        name=folder.name,
        folder=folder,
        source=folder / file,
        function=function,
        metric=data.metric,
        higher_is_better=higher_is_better,
        label=data.data.label,
        evaluation=folder / data.data.evaluation,
        calibration=None if calibration is None else folder / calibration,
        licenses=tuple(data.licenses),
        document=document,
        description=_description(folder.name, data, labels),
        files={folder / name: file_digest(folder / name) for name in label_files.values()},
    )


def _description(name: str, data: ModelFile, labels: Mapping[str, tuple[str, ...]]) -> Description:
    inputs = {
        n: Meaning(i.description, i.unit, tuple(i.mean), tuple(i.std)) for n, i in sorted(data.input.items())
    }
    outputs = {n: Meaning(o.description, o.unit, labels=labels[n]) for n, o in sorted(data.output.items())}
    return Description(name, data.description, tuple(data.licenses), inputs, outputs)


def _direction(data: ModelFile, document: Document) -> bool:
    """Whether higher values of the metric are better. Raises SprueError for an unknown metric."""
    if is_own(data.metric):
        file, _, function = data.metric.partition(":")
        try:
            fits = bool(_inside(file)) and file.endswith(".py") and function.isidentifier()
        except ValueError:
            fits = False
        if not fits:
            raise SprueError(
                f"metric '{data.metric}' is not file.py:function in the model's own folder",
                where=document.place(["metric"]),
                remedy='write "metrics.py:score"',
            )
        return data.better != "lower"
    try:
        found = find_metric(data.metric)
    except SprueError as error:
        raise SprueError(error.what, where=document.place(["metric"]), remedy=error.remedy) from None
    if data.better is not None:
        raise SprueError(
            f"'better' is for a metric of your own; of {data.metric} "
            f"{'higher' if found.higher_is_better else 'lower'} is better",
            where=document.place(["better"]),
            remedy="leave it out",
        )
    return found.higher_is_better


def _refuse_outside(name: str, key: tuple[str, ...], document: Document) -> None:
    try:
        _inside(name)
    except ValueError as error:
        raise SprueError(f"'{name}' is not {error}", where=document.place(key)) from None


def _refuse_missing(folder: Path, name: str, key: tuple[str, ...], document: Document) -> None:
    path = folder / name
    if path.is_file():
        if not path.resolve().is_relative_to(folder.resolve()):
            raise SprueError(f"'{name}' is a link that leaves the model's folder", where=document.place(key))
        return
    there = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix == path.suffix]
    none = "put it there, or name another file"
    raise SprueError(
        f"'{name}' does not exist in {folder}",
        where=document.place(key),
        remedy=did_you_mean(name, there, none=none),
    )
