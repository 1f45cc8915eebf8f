"""A frozen bundle with one file of each role, and measurements; and keys to sign it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sprue.bundle.freeze import freeze
from sprue.trust.keys import PrivateKey, new_key, read_private

Freeze = Callable[..., Path]

FILES = {
    "model/model.onnx": b"the model",
    "data/evaluation.npz": b"the data",
    "targets/phone/artifact/model.tflite": b"the artifact",
    "targets/phone/golden/inputs.npz": b"",
    "evidence/recipe.json": b'{"name":"tiny"}\n',
    "evidence/measurements.json": b'{"seconds":1.5}\n',
}
FIELDS: dict[str, Any] = {
    "name": "tiny",
    "version": "1.0.0",
    "source": {"revision": None, "digest": "a" * 64},
    "recipe": "b" * 64,
    "toolchain": {"onnx": "1.23"},
    "createdAt": None,
    "targets": [
        {
            "id": "phone",
            "family": "phone",
            "os": "android",
            "arch": "aarch64",
            "variant": "tflite-float32",
            "runtime": {"ai-edge-litert": "2.3.0"},
            "contract": {"features": [], "runtime": {"ai-edge-litert": ">=2.3,<3"}, "engine": {}},
            "entry": "targets/phone/artifact/model.tflite",
            "state": "verified",
        }
    ],
    "metrics": {"reference": {"accuracy": 0.98}, "phone": {"accuracy": 0.975}},
    "licenses": ["Apache-2.0"],
    "parents": [],
}


@pytest.fixture(scope="session")
def fill() -> Freeze:
    """fill(folder, files..., field=value): a frozen bundle in `folder`."""

    def fill(folder: Path, files: dict[str, bytes] | None = None, **fields: Any) -> Path:
        for path, data in {**FILES, **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        freeze(folder, FIELDS | fields)
        return folder

    return fill


@pytest.fixture
def bundle(tmp_path: Path, fill: Freeze) -> Path:
    return fill(tmp_path / "bundle")


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    new_key("ci", tmp_path / "keys")
    return read_private(tmp_path / "keys" / "ci.key")


@pytest.fixture
def other(tmp_path: Path) -> PrivateKey:
    new_key("other", tmp_path / "keys")
    return read_private(tmp_path / "keys" / "other.key")
