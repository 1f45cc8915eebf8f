"""Data files are untrusted: any bytes are read or refused, and what is read is held against the model."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sprue.data import check_answers, check_inputs, check_labels, judging, overlap, read_arrays, write_arrays
from sprue.errors import SprueError
from sprue.graph import TensorSpec
from sprue.judging.metric import METRICS

SPEC = TensorSpec("x", np.dtype(np.float32), (None, 4))
X = np.zeros((5, 4), np.float32)


def saved(compression: int = zipfile.ZIP_STORED, **arrays: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, array in arrays.items():
            inner = io.BytesIO()
            np.save(inner, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", inner.getvalue())
    return stream.getvalue()


PACKED = [
    saved(kind, x=np.arange(300.0)) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
]


def read_or_refuse(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        arrays = read_arrays(path, "evaluation.npz")
        assert all(isinstance(a, np.ndarray) and a.dtype != object for a in arrays.values())
    except SprueError as error:
        assert str(error).startswith("evaluation.npz: ")  # noqa: PT017


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"PK\x05\x06" + b"\0" * 18)
@example(data=pickle.dumps([1]))
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    read_or_refuse(tmp_path_factory.getbasetemp() / "any.npz", data)


@settings(max_examples=150, deadline=None)
@given(
    which=st.sampled_from(PACKED), where=st.floats(0, 0.999), byte=st.integers(0, 255), keep=st.floats(0.2, 1)
)
def test_a_damaged_file_is_read_or_refused(
    which: bytes, where: float, byte: int, keep: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(which)
    data[int(where * len(data))] = byte
    read_or_refuse(tmp_path_factory.getbasetemp() / "damaged.npz", bytes(data[: int(keep * len(data))]))
    read_or_refuse(tmp_path_factory.getbasetemp() / "damaged.npz", bytes(data))


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "shape",
    [
        "(-1,)",
        "(10**9,)",
        "(1000000000000000000,)",
        "(99999999999,)",
        "('x',)",
        "((((",
        "(2,) + (3,)",
        "(1.5,)",
    ],
)
def test_an_array_that_lies_about_itself_is_refused(tmp_path: Path, shape: str) -> None:
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("x.npy", header(shape) + b"\0" * 64)
    with pytest.raises(SprueError, match=r"not a readable \.npz file"):
        read_arrays(tmp_path / "f.npz")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "f.npz").write_bytes(saved(x=np.array([Trap()], dtype=object)))
    with pytest.raises(SprueError, match="arrays of plain numbers only"):
        read_arrays(tmp_path / "f.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(SprueError, match=r"'notes.txt' is no array"):
        read_arrays(tmp_path / "f.npz")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sprue.data.MAX_BYTES", 10_000)
    (tmp_path / "f.npz").write_bytes(saved(zipfile.ZIP_DEFLATED, x=np.zeros(10_000)))
    with pytest.raises(SprueError, match="bytes uncompressed is more than 10000"):
        read_arrays(tmp_path / "f.npz")


def test_the_bytes_of_a_written_file_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"x": X, "allow_pickle": X[0], "file": X})
    write_arrays(tmp_path / "b.npz", {"file": X.copy(), "allow_pickle": X[0], "x": X})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = read_arrays(tmp_path / "a.npz")
    assert {name: array.shape for name, array in read.items()} == {
        "x": (5, 4),
        "allow_pickle": (4,),
        "file": (5, 4),
    }
    np.savez(tmp_path / "numpy.npz", allow_pickle=False, x=X)
    write_arrays(tmp_path / "ours.npz", {"x": X})
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def refusal(arrays: dict[str, NDArray[Any]], specs: list[TensorSpec] | None = None) -> str:
    with pytest.raises(SprueError) as caught:
        check_inputs(arrays, specs or [SPEC], "data.npz", ignore=["label"])
    return str(caught.value)


def test_inputs_are_given_back_in_the_models_order() -> None:
    second = TensorSpec("a", np.dtype(np.int64), (1, None))
    tokens = np.zeros((5, 9), np.int64)
    checked = check_inputs({"a": tokens, "label": X, "x": X}, [SPEC, second], "data.npz", ignore=["label"])
    assert list(checked) == ["x", "a"]


def test_each_mistake_in_the_inputs_is_said() -> None:
    assert refusal({"y": X}).startswith("data.npz: the model has no input 'y'\n  allowed: x")
    assert refusal({}).startswith("data.npz: there is no array for the model's input x: float32[?, 4]")
    assert "'x' is >f4, the model takes float32" in refusal({"x": X.astype(">f4")})
    assert "'x' has shape [4]" in refusal({"x": X[0]})
    assert "'x' has shape []" in refusal({"x": np.zeros((), np.float32)})
    assert "'x' has shape [5, 4, 1]" in refusal({"x": X[..., None]})
    assert "'x' holds no samples" in refusal({"x": X[:0]})
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = X.copy()
        spoilt[3, 1] = bad
        assert "'x' holds NaN or infinity in sample 3" in refusal({"x": spoilt})
    second = TensorSpec("z", np.dtype(np.float32), (None, 4))
    assert "different numbers of samples: {'x': 5, 'z': 4}" in refusal({"x": X, "z": X[:4]}, [SPEC, second])


@pytest.mark.parametrize(
    ("metric", "labels", "size", "words"),
    [
        ("accuracy", np.zeros(4, np.int64), 3, "shape [4], but there are 5 samples"),
        ("accuracy", np.int64(3).reshape(()), 3, "shape []"),
        ("accuracy", np.zeros(5), 3, "needs integer classes"),
        ("accuracy", np.array(["a"] * 5), 3, "needs integer classes"),
        ("accuracy", np.zeros(5, bool), 3, "needs integer classes"),
        ("accuracy", np.zeros((5, 3), np.int64), 3, "needs one class per sample"),
        ("top5", np.full(5, 3), 3, "holds the class 3 in sample 0"),
        ("f1", np.full(5, 2**63, np.uint64), 3, "the model's first output tells 3 classes apart, 0 to 2"),
        ("accuracy", np.full(5, -1, np.int8), 3, "holds the class -1 in sample 0"),
        ("mae", np.array(["a"] * 5), 1, "finite numbers"),
        ("mae", np.full(5, np.nan), 1, "finite numbers"),
        ("mae", np.zeros((5, 2)), 1, "first output has 1 per sample"),
    ],
)
def test_labels_that_do_not_fit_are_refused(metric: str, labels: NDArray[Any], size: int, words: str) -> None:
    def check() -> None:
        checked = check_labels({"label": labels}, "label", 5, METRICS[metric], "data.npz")
        check_answers(checked, "label", size, METRICS[metric], "data.npz")

    with pytest.raises(SprueError) as caught:
        check()
    assert str(caught.value).startswith("data.npz: 'label' ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "labels"),
    [("accuracy", np.arange(5)), ("accuracy", np.zeros((5, 1), np.uint8)), ("mae", np.ones(5))],
)
def test_labels_that_fit_are_taken(metric: str, labels: NDArray[Any]) -> None:
    size = 5 if metric == "accuracy" else 1
    checked = check_labels({"label": labels}, "label", 5, METRICS[metric], "data.npz")
    check_answers(checked, "label", size, METRICS[metric], "data.npz")
    METRICS[metric].compute({"y": np.zeros((5, size))}, checked)


def test_missing_labels_are_answered_with_what_is_there() -> None:
    with pytest.raises(SprueError, match="there is no array 'label' with the labels") as caught:
        check_labels({"labels": X, "x": X}, "label", 5, METRICS["accuracy"], "data.npz")
    assert "did you mean 'labels'?" in caught.value.remedy


def test_samples_that_are_in_both_files_are_found_wherever_they_stand() -> None:
    draw = np.random.default_rng(0)
    evaluation = {"x": draw.random((6, 4)), "n": np.arange(6)}
    calibration = {name: array[[5, 0, 2]].copy() for name, array in evaluation.items()}
    calibration["x"][1, 3] += 1e-9
    assert overlap(evaluation, calibration) == {"evaluation": [2, 5], "calibration": [0, 2]}
    assert overlap(evaluation, {"x": evaluation["x"], "n": np.arange(6) + 1}) == {
        "evaluation": [],
        "calibration": [],
    }


def test_samples_stay_in_their_half_when_others_come_or_go_and_equal_ones_together() -> None:
    samples = {"x": np.random.default_rng(1).random((400, 3))}
    sides = judging(samples)
    assert 150 < sides.sum() < 250
    some = [300, 7, 7, 12]
    assert judging({"x": samples["x"][some]}).tolist() == sides[some].tolist()


def test_auc_needs_two_classes_and_one_output_tells_two() -> None:
    auc = METRICS["auc"]
    check_answers(np.array([0, 1, 1]), "label", 1, auc, "data.npz")
    with pytest.raises(SprueError, match="holds one class only, and auc needs two"):
        check_answers(np.array([1, 1, 1]), "label", 1, auc, "data.npz")


def test_labels_out_of_range_are_named_with_their_samples() -> None:
    with pytest.raises(SprueError) as caught:
        check_answers(np.array([0, 3, 7, -1]), "label", 3, METRICS["accuracy"], "data.npz")
    assert caught.value.what == (
        "'label' holds the class 3 in sample 1, and 2 more; "
        "the model's first output tells 3 classes apart, 0 to 2"
    )
