"""A model's TOML file: what it names must be there, inside its own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprue.errors import SprueError
from sprue.model import load_model

RIGHT = 'source = "m.onnx"\nmetric = "f1"\nlicenses = ["MIT"]\n[data]\nevaluation = "sets/e.npz"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "net"
    (made / "sets").mkdir(parents=True)
    for name in ("m.onnx", "train.py", "sets/e.npz", "sets/c.npz"):
        (made / name).write_bytes(b"")
    (tmp_path / "secret.npz").write_bytes(b"")
    (made / "model.toml").write_text(RIGHT)
    return made


def said(folder: Path, text: str) -> str:
    (folder / "model.toml").write_text(text)
    with pytest.raises(SprueError) as caught:
        load_model(folder)
    return str(caught.value).removeprefix(f"{folder}/")


def test_what_is_written_is_read_and_the_rest_has_defaults(folder: Path) -> None:
    model = load_model(folder)
    assert (model.name, model.source, model.function) == ("net", folder / "m.onnx", "")
    assert (model.metric, model.label, model.licenses) == ("f1", "label", ("MIT",))
    assert (model.evaluation, model.calibration) == (folder / "sets" / "e.npz", None)
    assert model.place("data", "evaluation") == f"{folder / 'model.toml'}:5"


def test_a_callable_of_a_python_file_is_a_source(folder: Path) -> None:
    (folder / "model.toml").write_text(RIGHT.replace("m.onnx", "train.py:export"))
    model = load_model(folder)
    assert (model.source.name, model.function) == ("train.py", "export")


@pytest.mark.parametrize(
    "source",
    ["m.pb", "m.onnx:f", "train.py", "train.py:", "train.py:a.b", "train.py:a:b", ":f", "train.py:1"],
)
def test_a_source_of_another_kind_is_refused(folder: Path, source: str) -> None:
    words = said(folder, RIGHT.replace("m.onnx", source))
    assert words.startswith(f"model.toml:1: source '{source}' is neither an ONNX file nor file.py:callable")


@pytest.mark.parametrize("path", ["../secret.npz", "/etc/passwd", "sets/../../secret.npz", ""])
def test_a_path_that_leaves_the_folder_is_refused(folder: Path, path: str) -> None:
    assert said(folder, RIGHT.replace("sets/e.npz", path)).startswith("model.toml:5: 'data.evaluation' is ")


def test_a_link_that_leaves_the_folder_is_refused(folder: Path) -> None:
    (folder / "link.npz").symlink_to(folder.parent / "secret.npz")
    words = said(folder, RIGHT.replace("sets/e.npz", "link.npz"))
    assert words == "model.toml:5: 'link.npz' is a link that leaves the model's folder"


def test_a_missing_file_is_answered_with_the_nearest(folder: Path) -> None:
    assert "did you mean 'm.onnx'?" in said(folder, RIGHT.replace("m.onnx", "n.onnx"))
    words = said(folder, RIGHT + 'calibration = "sets/cc.npz"\n')
    assert words.startswith("model.toml:6: 'sets/cc.npz' does not exist in ")
    assert "did you mean 'sets/c.npz'? allowed: sets/c.npz, sets/e.npz" in words
    assert "does not exist" in said(folder, RIGHT.replace("sets/e.npz", "a\\u0000b"))


def test_a_missing_model_file_and_missing_keys_are_named(folder: Path) -> None:
    assert said(folder, 'source = "m.onnx"\n').endswith("the key 'data' is missing\n  add a table [data]")
    assert said(folder, 'source = "m.onnx"\n[data]\n').startswith(
        "model.toml:2: the key 'data.evaluation' is missing\n  add evaluation = \"evaluation.npz\""
    )
    with pytest.raises(SprueError, match="there is no such file"):
        load_model(folder / "absent")
