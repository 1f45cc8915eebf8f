"""The bill of materials: valid by the library's own schema validator, the same each time, and true."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sprue.bundle.check import read_bundle_manifest
from sprue.canonical import file_digest
from sprue.errors import CheckError
from sprue.trust.bom import bill_of_materials

pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib (the extra `bom`)")

Freeze = Callable[..., Path]


def made(bundle: Path) -> dict[str, Any]:
    """The document, after the library's strict validator for CycloneDX 1.6 has read it."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    data = bill_of_materials(read_bundle_manifest(bundle)).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data) is None
    read: dict[str, Any] = json.loads(data)
    return read


def by_ref(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nested = [c for top in document["components"] for c in (top, *top.get("components", []))]
    return {c["bom-ref"]: c for c in (document["metadata"]["component"], *nested)}


def test_a_bundle_is_a_model_with_hashes_metrics_data_and_tools(bundle: Path) -> None:
    found = by_ref(made(bundle))
    whole = found["bundle"]
    assert (whole["type"], whole["name"], whole["version"]) == ("machine-learning-model", "tiny", "1.0.0")
    assert whole["hashes"] == [{"alg": "SHA-256", "content": file_digest(bundle / "manifest.json")}]
    assert whole["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    card = whole["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "accuracy", "value": "0.98"}]
    assert card["modelParameters"]["datasets"] == [{"ref": "file:data/evaluation.npz"}]
    phone = found["target:phone"]
    assert phone["type"] == "machine-learning-model"
    assert phone["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] == "0.975"
    assert found["file:data/evaluation.npz"]["type"] == "data"
    assert found["file:data/evaluation.npz"]["data"][0]["type"] == "dataset"
    for path in ("model/model.onnx", "data/evaluation.npz", "targets/phone/artifact/model.tflite"):
        assert found[f"file:{path}"]["hashes"][0]["content"] == file_digest(bundle / path)
        assert "mimeType" not in found[f"file:{path}"]
        assert found[f"file:{path}"]["mime-type"]
    assert found["tool:onnx@1.23"]["purl"] == "pkg:pypi/onnx@1.23"
    assert found["tool:onnx@1.23"]["scope"] == "excluded", "it took part in the build, but does not run"
    assert found["tool:ai-edge-litert@2.3.0"]["scope"] == "required"


def test_what_runs_an_artifact_is_what_it_depends_on(bundle: Path) -> None:
    depends = {d["ref"]: d.get("dependsOn", []) for d in made(bundle)["dependencies"]}
    assert depends["target:phone"] == ["tool:ai-edge-litert@2.3.0"]
    assert {"target:phone", "file:model/model.onnx", "tool:onnx@1.23"} <= set(depends["bundle"])


def test_the_same_bundle_gives_the_same_bytes_and_another_another_number(
    tmp_path: Path, fill: Freeze
) -> None:
    one, same, other = fill(tmp_path / "1"), fill(tmp_path / "2"), fill(tmp_path / "3", licenses=["MIT"])
    first, second = (bill_of_materials(read_bundle_manifest(b)) for b in (one, same))
    assert first == second
    assert made(one)["serialNumber"] != made(other)["serialNumber"]


def test_the_time_is_the_bundle_s_own_or_absent(tmp_path: Path, fill: Freeze) -> None:
    assert "timestamp" not in made(fill(tmp_path / "1"))["metadata"]
    timed = made(fill(tmp_path / "2", createdAt="2026-11-23T14:00:00Z"))
    assert timed["metadata"]["timestamp"] == "2026-11-23T14:00:00+00:00"


@pytest.mark.parametrize(
    "licenses",
    [
        [],
        ["MIT"],
        ["MIT", "Apache-2.0"],
        ["MIT OR Apache-2.0"],
        ["MIT OR Apache-2.0", "MIT"],
        ["ours", "MIT"],
    ],
)
def test_any_licenses_can_be_said(tmp_path: Path, fill: Freeze, licenses: list[str]) -> None:
    said = made(fill(tmp_path / "b", licenses=licenses))["metadata"]["component"].get("licenses", [])
    texts = [
        entry.get("expression") or entry["license"].get("id") or entry["license"]["name"] for entry in said
    ]
    assert sorted(texts) == sorted(licenses)


@pytest.mark.parametrize(
    "fields",
    [
        {"toolchain": {"a b/ä@1": "1?#2"}},
        {"toolchain": {"python": "3.11"}},
        {"metrics": {}},
        {"targets": []},
        {"metrics": {"reference": {"accuracy": 1e-300, "f1": -0.0}}},
        {"parents": ["c" * 64]},
    ],
    ids=str,
)
def test_any_manifest_makes_a_valid_document(tmp_path: Path, fill: Freeze, fields: dict[str, Any]) -> None:
    assert made(fill(tmp_path / "b", **fields))


@pytest.mark.parametrize(
    "fields",
    [{"toolchain": {"": "1"}}, {"createdAt": "yesterday"}, {"createdAt": "2026-11-23T14:00:00"}],
    ids=str,
)
def test_what_cyclonedx_cannot_say_is_refused(tmp_path: Path, fill: Freeze, fields: dict[str, Any]) -> None:
    manifest = read_bundle_manifest(fill(tmp_path / "b", **fields))
    with pytest.raises(CheckError, match="CycloneDX cannot say"):
        bill_of_materials(manifest)
