"""Parts put together: what must agree does, and what each has of its own is kept. On hand-made parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprue.bundle.check import check_bundle
from sprue.bundle.freeze import freeze
from sprue.canonical import canonical, parse
from sprue.ci.merge import Arrived, merge
from sprue.data import write_arrays
from sprue.errors import CheckError

Make = Callable[..., Arrived]

REFERENCE = {"metric": "accuracy", "value": 1.0, "output": "y", "samples": 3}
ANSWERS = np.array([[0.0, 1.0], [1.0, 0.0], [0.25, 0.5]], np.float32)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(target, offset, {path: bytes}, field=value): a part whose artifact answers a little otherwise."""

    def made(
        target: str, offset: float = 0.0, files: dict[str, bytes] | None = None, **fields: Any
    ) -> Arrived:
        work = tmp_path / target
        folder = work / "bundle"
        there = {
            "model/model.onnx": b"the model",
            "data/evaluation.npz": b"the data",
            f"targets/{target}/artifact/model.bin": target.encode(),
            f"targets/{target}/golden/inputs.npz": b"",
            f"evidence/verdicts/{target}-x.json": b"{}\n",
            "evidence/recipe.json": b"{}\n",
            "evidence/reference.json": canonical(REFERENCE),
            "evidence/variants.json": canonical([{"target": target, "selected": True}]),
            "evidence/parity.json": b"{}\n",
            "evidence/measurements.json": canonical(
                {"machine": f"of {target}", "seconds": {target: 1.0}, "actions": {"a/source": 1.0}}
            ),
        }
        for path, data in {**there, **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        contract: dict[str, Any] = {"features": [], "runtime": {}, "engine": {}}
        entry = {"id": target, "family": target, "os": "linux", "arch": "any", "variant": "x", "runtime": {}}
        entry |= {"contract": contract, "entry": f"targets/{target}/artifact/model.bin", "state": "verified"}
        known = {
            "name": "tiny",
            "version": "1.0.0",
            "source": {"revision": "abc", "digest": "a" * 64},
            "recipe": "b" * 64,
            "toolchain": {"onnx": "1.23", f"only-{target}": "1"},
            "createdAt": None,
            "targets": [entry],
            "metrics": {"reference": {"accuracy": 1.0}, target: {"accuracy": 1.0}},
            "licenses": ["MIT"],
            "parents": [],
        }
        manifest = freeze(folder, known | fields)
        write_arrays(work / "reference.npz", {"y": ANSWERS})
        write_arrays(work / "outputs.npz", {"y": ANSWERS + np.float32(offset)})
        outputs = {target: work / "outputs.npz"}
        return Arrived(f"{target} 1/1", folder, manifest, work / "reference.npz", outputs)

    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def evidence(out: Path, name: str) -> Any:
    return parse((out / "evidence" / name).read_bytes())


def test_two_parts_are_one_whole_bundle(make: Make, out: Path) -> None:
    manifest = merge({"b": make("b"), "a": make("a")}, out)
    assert check_bundle(out).manifest == manifest
    assert [t.id for t in manifest.targets] == ["b", "a"], "the recipe's order"
    assert manifest.metrics == {
        "reference": {"accuracy": 1.0},
        "a": {"accuracy": 1.0},
        "b": {"accuracy": 1.0},
    }
    assert manifest.toolchain == {"onnx": "1.23", "only-a": "1", "only-b": "1"}
    assert [v["target"] for v in evidence(out, "variants.json")] == ["b", "a"]
    assert (out / "targets" / "a" / "artifact" / "model.bin").read_bytes() == b"a"
    assert (out / "evidence" / "verdicts" / "b-x.json").exists()


def test_parity_is_computed_over_all_parts(make: Make, out: Path) -> None:
    merge({"b": make("b", 0.5), "a": make("a", -0.25)}, out)
    pairs = {(p["a"], p["b"]): p["max_abs"] for p in evidence(out, "parity.json")["pairs"]}
    assert pairs == {("reference", "a"): 0.25, ("reference", "b"): 0.5, ("a", "b"): 0.75}


def test_each_target_is_compared_with_the_reference_of_its_own_machine(make: Make, out: Path) -> None:
    parts = {"a": make("a"), "b": make("b")}
    write_arrays(parts["b"].reference, {"y": ANSWERS + np.float32(2**-10)})
    merge(parts, out)
    pairs = {(p["a"], p["b"]): p["max_abs"] for p in evidence(out, "parity.json")["pairs"]}
    assert pairs == {("reference", "a"): 0.0, ("reference", "b"): 0.000976562, ("a", "b"): 0.0}


def test_times_of_all_machines_are_kept(make: Make, out: Path) -> None:
    merge({"a": make("a"), "b": make("b")}, out)
    assert evidence(out, "measurements.json") == {
        "machine": "of a; of b",
        "seconds": {"a": 1.0, "b": 1.0},
        "actions": {"a/source": 1.0},
    }


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"files": {"model/model.onnx": b"another model"}}, "model/model.onnx"),
        ({"files": {"data/evaluation.npz": b"other data"}}, "data/evaluation.npz"),
        ({"files": {"data/calibration.npz": b"more data"}}, "data/calibration.npz"),
        ({"files": {"evidence/recipe.json": b"[]\n"}}, "evidence/recipe.json"),
        ({"source": {"revision": "abd", "digest": "a" * 64}}, "source"),
        ({"source": {"revision": "abc", "digest": "c" * 64}}, "source"),
        ({"recipe": "c" * 64}, "recipe"),
        ({"version": "1.0.1"}, "version"),
        ({"createdAt": "2026-01-02T03:04:05Z"}, "createdAt"),
        ({"licenses": []}, "licenses"),
        ({"metrics": {"reference": {"accuracy": 0.5}}}, "the reference's metric"),
    ],
)
def test_parts_that_do_not_agree_are_refused_and_named(
    make: Make, out: Path, wrong: dict[str, Any], what: str
) -> None:
    with pytest.raises(CheckError, match=r"'a 1/1' and 'b 1/1' do not agree") as raised:
        merge({"a": make("a"), "b": make("b", **wrong)}, out)
    assert raised.value.what.endswith(f"do not agree: {what}")
    assert list(out.iterdir()) == []


def test_two_versions_of_one_package_are_refused_and_named(make: Make, out: Path) -> None:
    with pytest.raises(CheckError, match=r"'a 1/1' used onnx 1.23, and 'b 1/1' 1.22"):
        merge({"a": make("a"), "b": make("b", toolchain={"onnx": "1.22"})}, out)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("evidence/variants.json", b"{}"),
        ("evidence/variants.json", b'{"target": 1}'),
        ("evidence/variants.json", b"nothing"),
        ("evidence/variants.json", b"[1]"),
        ("evidence/measurements.json", b"[]"),
    ],
)
def test_evidence_that_sprue_did_not_write_is_refused(make: Make, out: Path, path: str, data: bytes) -> None:
    with pytest.raises(CheckError, match=r"evidence|cannot be read"):
        merge({"a": make("a"), "b": make("b", files={path: data})}, out)
