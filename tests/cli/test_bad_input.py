"""Bad input through the real command line: a clear error with place and remedy, no traceback, no half bundle.

Each case spoils a copy of a project that is right. What `check` can know, it must say as `build` does.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Run = Callable[..., subprocess.CompletedProcess[str]]
Spoil = Callable[[Path], None]

MODEL = "models/tiny/tiny.onnx"
EVALUATION = "models/tiny/evaluation.npz"
CALIBRATION = "models/tiny/calibration.npz"
TOML = "models/tiny/model.toml"
RECIPE = "recipes/tiny.toml"


def remove(name: str) -> Spoil:
    return lambda project: (project / name).unlink()


def cut(name: str, keep: float) -> Spoil:
    def spoil(project: Path) -> None:
        raw = (project / name).read_bytes()
        (project / name).write_bytes(raw[: int(len(raw) * keep)])

    return spoil


def rewrite(name: str, old: str, new: str) -> Spoil:
    def spoil(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return spoil


def network(change: Callable[[onnx.ModelProto], object]) -> Spoil:
    def spoil(project: Path) -> None:
        model = onnx.load(project / MODEL)
        change(model)
        onnx.save(model, project / MODEL)

    return spoil


def arrays(name: str, **changed: NDArray[Any] | None) -> Spoil:
    """Arrays replaced; None: left out."""

    def spoil(project: Path) -> None:
        with np.load(project / name) as file:
            kept = {n: file[n] for n in file.files if n not in changed}
        np.savez(
            project / name, allow_pickle=True, **kept, **{n: a for n, a in changed.items() if a is not None}
        )

    return spoil


def nan_weight(model: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[1, 2] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "first"))


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 20


def mapped_output(model: onnx.ModelProto) -> None:
    kind = helper.make_map_type_proto(
        onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    )
    model.graph.output[0].type.CopyFrom(kind)


def git_lfs(project: Path) -> None:
    (project / MODEL).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


X = np.zeros((20, 4), np.float32)
LABEL = np.zeros(20, np.int64)
OBJECTS = np.array([None] * 20, dtype=object)

CASES: dict[str, tuple[Spoil, str, str, str]] = {
    # name: (spoil, where, what, remedy)
    "a missing ONNX file": (remove(MODEL), f"{TOML}:1", "'tiny.onnx' does not exist in", "put it there, or"),
    "an empty ONNX file": (cut(MODEL, 0), MODEL, "empty: the file may be truncated", "export it again"),
    "an ONNX file cut in half": (cut(MODEL, 0.5), MODEL, "truncated", "export it again"),
    "an ONNX file without its last bytes": (cut(MODEL, 0.97), MODEL, "truncated", "export it again"),
    "a git-lfs pointer": (git_lfs, MODEL, "not an ONNX model", "git-lfs"),
    "an ONNX file that breaks the rules": (
        network(lambda m: m.graph.node[1].ClearField("output")),
        MODEL,
        "not valid ONNX",
        "export it again",
    ),
    "a NaN among the weights": (
        network(nan_weight),
        MODEL,
        "the weight 'first' holds NaN or infinity",
        "train or export it again",
    ),
    "a fixed batch of 20": (network(fixed_batch), MODEL, "exported for batches of 20", "symbolic batch axis"),
    "a map as output": (network(mapped_output), MODEL, "'y' is not a tensor of numbers", "plain tensors"),
    "a missing data file": (
        remove(EVALUATION),
        f"{TOML}:4",
        "'evaluation.npz' does not exist",
        "did you mean 'calibration.npz'?",
    ),
    "a data file that is no zip": (
        cut(EVALUATION, 0.1),
        EVALUATION,
        "not a readable .npz file",
        "numpy.savez_compressed",
    ),
    "a pickle in a data file": (
        arrays(EVALUATION, x=OBJECTS),
        EVALUATION,
        "not a readable .npz file",
        "plain numbers only",
    ),
    "calibration data of the wrong name": (
        arrays(CALIBRATION, x=None, xx=X),
        CALIBRATION,
        "the model has no input 'xx'",
        "allowed: x",
    ),
    "no calibration data for an input": (
        arrays(CALIBRATION, x=None),
        CALIBRATION,
        "no array for the model's input x: float32[?, 4]",
        "its arrays are",
    ),
    "calibration data of the wrong type": (
        arrays(CALIBRATION, x=X.astype(np.float64)),
        CALIBRATION,
        "'x' is float64, the model takes float32",
        "astype(numpy.float32)",
    ),
    "calibration data of the wrong shape": (
        arrays(CALIBRATION, x=X[:, :3]),
        CALIBRATION,
        "'x' has shape [20, 3], the model takes x: float32[?, 4]",
        "axis 0",
    ),
    "calibration data with a NaN": (
        arrays(CALIBRATION, x=X + np.float32("nan")),
        CALIBRATION,
        "NaN or infinity in sample 0",
        "",
    ),
    "an empty evaluation set": (
        arrays(EVALUATION, x=X[:0], label=LABEL[:0]),
        EVALUATION,
        "'x' holds no samples",
        "at least one sample",
    ),
    "no labels": (
        arrays(EVALUATION, label=None),
        EVALUATION,
        "there is no array 'label' with the labels",
        "`data.label` in model.toml",
    ),
    "too few labels": (
        arrays(EVALUATION, label=LABEL[:7]),
        EVALUATION,
        "'label' has shape [7], but there are 20 samples",
        "",
    ),
    "one-hot labels": (
        arrays(EVALUATION, label=np.eye(20, 3, dtype=np.int64)),
        EVALUATION,
        "accuracy needs one class per sample",
        ".argmax(axis=1)",
    ),
    "labels that are no classes": (
        arrays(EVALUATION, label=X[:, 0]),
        EVALUATION,
        "accuracy needs integer classes",
        "",
    ),
    "labels out of range": (
        arrays(EVALUATION, label=LABEL + 3),
        EVALUATION,
        "the model's first output tells 3 classes apart, 0 to 2",
        "count from 0",
    ),
    "a negative label": (
        arrays(EVALUATION, label=LABEL - 1),
        EVALUATION,
        "holds the class -1 in sample",
        "count from 0",
    ),
    "labels that do not fit the metric": (
        rewrite(TOML, "\n[data]", 'metric = "mae"\n[data]'),
        EVALUATION,
        "'label' has shape [20], but the model's first output has 3 per sample",
        "",
    ),
}


def store(project: Path) -> list[Path]:
    return sorted((project / "bundles").rglob("*"))


def assert_refused(
    done: subprocess.CompletedProcess[str], project: Path, where: str, what: str, remedy: str
) -> None:
    said = done.stderr
    assert done.returncode == 2, said + done.stdout
    assert what in said
    assert remedy in said
    first = said.partition("error: ")[2]
    assert first.startswith((where + ":", f"{project}/{where}:")), said
    assert "Traceback" not in said
    assert "this is a bug" not in said
    assert store(project) == []


@pytest.mark.parametrize("case", CASES)
def test_check_refuses(case: str, project: Path, sprue_here: Run) -> None:
    spoil, where, what, remedy = CASES[case]
    spoil(project)
    rewrite(RECIPE, "null", "server-cpu")(project)
    assert_refused(sprue_here("check", RECIPE), project, where, what, remedy)


@pytest.mark.slow
@pytest.mark.parametrize("case", [name for name, case in CASES.items() if ".toml" not in case[1]])
def test_build_refuses(case: str, project: Path, sprue: Run) -> None:
    spoil, where, what, remedy = CASES[case]
    spoil(project)
    assert_refused(sprue(project, "build", RECIPE), project, where, what, remedy)


def test_a_build_of_bad_data_names_the_users_own_file(project: Path, sprue: Run) -> None:
    cut(EVALUATION, 0.1)(project)
    done = sprue(project, "build", RECIPE, "--json")
    assert_refused(done, project, EVALUATION, "not a readable .npz file", "numpy.savez_compressed")
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert told["error"]["where"] == str(project / EVALUATION)
    assert "/work/" not in done.stderr.replace(str(project), "")


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type, model.graph.node[1].domain = "Swirl", "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))


def test_an_operator_that_a_backend_lacks_is_named_by_check(project: Path, sprue: Run) -> None:
    network(foreign)(project)
    (project / RECIPE).write_text('model = "tiny"\n[target.null]\n[target.server-cpu]\n')
    done = sprue(project, "check", RECIPE, "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is False
    for variant in told["variants"]:
        (finding,) = variant["findings"]
        assert (finding["kind"], finding["node"], finding["op"]) == ("operator", "relu", "Swirl")
        assert finding["reason"]
        assert finding["remedy"]
    text = sprue(project, "check", RECIPE)
    assert text.returncode == 1
    assert "null null-float32: node 'relu' (Swirl): " in text.stdout


def test_an_operator_that_no_runtime_knows_ends_a_build_at_the_reference(project: Path, sprue: Run) -> None:
    network(foreign)(project)
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 2
    assert f"error: {project / MODEL}: onnxruntime cannot run the source model: " in done.stderr
    assert "Swirl" in done.stderr
    assert "Traceback" not in done.stderr
    assert store(project) == []


@pytest.mark.slow
def test_a_model_that_is_too_large_for_the_flash_is_refused_by_check_and_build(
    project: Path, sprue: Run
) -> None:
    (project / RECIPE).write_text('model = "tiny"\n[target.server-cpu]\nlimit.flash = "200 B"\n')
    check = sprue(project, "check", RECIPE)
    assert check.returncode == 1
    assert "limit.flash" in check.stdout
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 1
    assert "limit.flash" in done.stdout
    assert "no bundle: no variant passed for server-cpu" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert store(project) == []


@pytest.mark.slow
def test_a_model_that_is_too_large_for_the_ram_is_refused_by_check_and_build(
    project: Path, sprue: Run
) -> None:
    (project / RECIPE).write_text('model = "tiny"\n[target.cortex-m4]\nlimit.ram = 16\n')
    for command in ("check", "build"):
        done = sprue(project, command, RECIPE)
        if "pip install" in done.stdout:
            pytest.skip("the backend c cannot compile here")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "limit.ram" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
    assert store(project) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allowed", "factor"),
    [("atol = 0.2, rtol = 0, steps = 0", 1.25), ("atol = 0, rtol = 0, steps = 0", 1e12)],
)
def test_an_artifact_outside_its_tolerance_fails_the_build(
    project: Path, sprue: Run, allowed: str, factor: float
) -> None:
    """The backend answers 0.25 too much everywhere, so that accuracy alone would not show it."""
    choice = f'[target.null]\nbackend = "drifts"\naccept = {{ {allowed} }}\n'
    (project / RECIPE).write_text(f'model = "tiny"\n{choice}')
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"output 'y' leaves its tolerance by a factor of {factor:.3g}: " in done.stdout
    assert store(project) == []
    came, _, folder = done.stdout.strip().rpartition("; it is kept aside in ")
    assert came.endswith(f"drifts-float32 came nearest, at {factor:.3g} times what is allowed")
    assert [p.name for p in Path(folder).iterdir()] == ["model.onnx"]
