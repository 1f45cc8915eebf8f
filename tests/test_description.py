"""What inputs and outputs mean: read from model.toml, held against the graph, carried to a backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from sprue import description
from sprue.description import Description, Meaning, refuse_strangers
from sprue.errors import SprueError
from sprue.model import Model, load_model

HEAD = 'source = "m.onnx"\ndescription = "a net"\nlicenses = ["MIT"]\n[data]\nevaluation = "e.npz"\n'
WHOLE = """[input.x]
description = "an image"
unit = "grey level"
mean = [1, 2.5]
std = [3.0, 4.0]
[output.y]
labels = "names.txt"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "net"
    made.mkdir()
    for name in ("m.onnx", "e.npz"):
        (made / name).write_bytes(b"")
    (made / "names.txt").write_text("cat\ndög\n", encoding="utf-8")
    return made


def loaded(folder: Path, text: str) -> Model:
    (folder / "model.toml").write_text(HEAD + text)
    return load_model(folder)


def graph() -> ModelProto:
    def value(name: str, *shape: int | str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    return helper.make_model(helper.make_graph(nodes, "g", [value("x", "n", 2, 1)], [value("y", "n", 2)]))


def test_it_is_read_with_labels_from_a_file_that_counts_among_the_models_files(folder: Path) -> None:
    model = loaded(folder, WHOLE)
    said = model.description
    assert said.inputs == {"x": Meaning("an image", "grey level", (1.0, 2.5), (3.0, 4.0))}
    assert said.outputs == {"y": Meaning(labels=("cat", "dög"))}
    assert (said.name, said.text, said.licenses) == ("net", "a net", ("MIT",))
    assert [*model.files] == [folder / "names.txt"]
    refuse_strangers(said, graph(), "here")


def test_a_model_that_nobody_described_has_its_name_only(folder: Path) -> None:
    (folder / "model.toml").write_text('source = "m.onnx"\n[data]\nevaluation = "e.npz"\n')
    assert load_model(folder).description.to_json() == {"name": "net"}


def test_it_comes_back_from_json_and_from_a_networks_metadata(folder: Path) -> None:
    said = loaded(folder, WHOLE).description
    assert Description.from_json(said.to_json()) == said
    network = graph()
    description.write(said.to_json(), network)
    assert description.read(network) == said
    assert description.read(graph()) == Description("")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[input.x]\nmean = [1.0]\n", "mean and std go together"),
        ("[input.x]\nmean = [1.0]\nstd = [0.0]\n", "std is above zero"),
        ("[input.x]\nmean = [nan]\nstd = [1.0]\n", "finite numbers"),
        ('[input.x]\nunits = "dB"\n', "did you mean 'unit'"),
        ('[output.y]\nlabels = "../names.txt"\n', "a path inside the model's own folder"),
        ('[output.y]\nlabels = "name.txt"\n', "did you mean 'names.txt'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(folder: Path, text: str, words: str) -> None:
    with pytest.raises(SprueError) as caught:
        loaded(folder, text)
    assert words in str(caught.value)
    assert f"{folder / 'model.toml'}:" in str(caught.value)


def test_labels_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "names.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SprueError, match=r"(?s)labels 'names\.txt' cannot be read.*in UTF-8"):
        loaded(folder, WHOLE)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Description("", inputs={"X": Meaning("image")}), r"(?s)\[input\.X\] describes no input.*allowed: x"),
        (Description("", outputs={"x": Meaning("image")}), r"\[output\.x\] describes no output"),
        (Description("", outputs={"y": Meaning(labels=("a",))}), r"\[output\.y\] labels: 1 where .* has 2"),
        (
            Description("", inputs={"x": Meaning(mean=(0.0,) * 3, std=(1.0,) * 3)}),
            r"\[input\.x\] mean: 3 where the graph has 2",
        ),
    ],
)
def test_what_does_not_fit_the_graph_is_refused(said: Description, words: str) -> None:
    with pytest.raises(SprueError, match=words):
        refuse_strangers(said, graph(), "model.toml")
