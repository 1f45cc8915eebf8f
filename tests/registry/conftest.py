"""Registries of every kind, each empty; and bundles to publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sprue.bundle.freeze import freeze
from sprue.registry.protocol import Registry, connect

Make = Callable[..., Path]

FILES = {
    "model/model.onnx": b"the model" * 1000,
    "data/evaluation.npz": b"the data" * 1000,
    "targets/phone/artifact/model.tflite": b"the artifact" * 50_000,
    "targets/phone/golden/inputs.npz": b"",
    "targets/server/artifact/model.onnx": b"an artifact",
    "evidence/recipe.json": b'{"name":"tiny"}\n',
    "evidence/measurements.json": b'{"seconds":1.5}\n',
}


def target(name: str, os: str, arch: str, entry: str) -> dict[str, Any]:
    path = f"targets/{name}/artifact/{entry}"
    contract: dict[str, Any] = {"features": [], "runtime": {}, "engine": {}}
    described = {
        "id": name,
        "family": name,
        "contract": contract,
        "os": os,
        "arch": arch,
        "variant": "x-float32",
        "runtime": {"x": "1"},
    }
    return {**described, "entry": path, "state": "verified"}


FIELDS: dict[str, Any] = {
    "name": "tiny",
    "version": "1.0.0",
    "source": {"revision": "abc", "digest": "a" * 64},
    "recipe": "b" * 64,
    "toolchain": {"onnx": "1.23"},
    "createdAt": "2026-01-02T03:04:05Z",
    "targets": [
        target("phone", "android", "aarch64", "model.tflite"),
        target("server", "linux", "x86_64", "model.onnx"),
    ],
    "metrics": {},
    "licenses": ["Apache-2.0"],
    "parents": [],
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(name, {path: bytes or None}, field=value): a bundle in a new folder."""

    def make(name: str = "bundle", files: dict[str, bytes | None] | None = None, **fields: Any) -> Path:
        for path, data in {**FILES, **(files or {})}.items():
            if data is not None:
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / path).write_bytes(data)
        freeze(tmp_path / name, FIELDS | fields)
        return tmp_path / name

    return make


@pytest.fixture
def bundle(make: Make) -> Path:
    return make()


KINDS = ("folder", "s3", "oci", "http")


@pytest.fixture(params=["folder", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty registry of each kind."""
    if request.param == "folder":
        return str(tmp_path / "registry")
    return f"{request.getfixturevalue(f'{request.param}_url')}/{uuid4().hex}"


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with closing(connect(url)) as opened:
        yield opened
