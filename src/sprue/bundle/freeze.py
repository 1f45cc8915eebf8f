"""Freezing: from a folder with everything in it to a bundle with a manifest and SHA256SUMS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sprue.bundle.manifest import MANIFEST, MEASUREMENTS, OUTSIDE, SUMS, Manifest, Role, manifest_from, sums
from sprue.canonical import file_digest

MEDIA_TYPES = {
    ".onnx": "application/vnd.onnx",
    ".json": "application/json",
    ".npz": "application/vnd.numpy.npz",
    ".tflite": "application/vnd.tflite",
    ".xml": "application/xml",
    ".c": "text/x-c",
    ".py": "text/x-python",
    ".h": "text/x-c",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".pbtxt": "text/plain",
    ".ld": "text/plain",
}

LOADER = ("contract.json", "load.py", "runtime.py")


def freeze(folder: Path, fields: Mapping[str, Any]) -> Manifest:
    """Write manifest.json and SHA256SUMS over all files of `folder`; `fields` is the rest of the manifest.

    The layout gives each file its role: model/, data/, targets/<id>/, evidence/.
    """
    files = [_describe(folder, path) for path in _files(folder) if path not in OUTSIDE]
    manifest = manifest_from({**fields, "files": files})
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    measured = folder / MEASUREMENTS
    (folder / SUMS).write_bytes(sums(manifest, file_digest(measured) if measured.is_file() else None))
    return manifest


def _files(folder: Path) -> list[str]:
    """All files, as sorted relative paths. Raises ValueError for links and other special files."""
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path} is not a plain file")
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def _describe(folder: Path, path: str) -> dict[str, Any]:
    top, _, rest = path.partition("/")
    described: dict[str, Any] = {
        "path": path,
        "size": (folder / path).stat().st_size,
        "sha256": file_digest(folder / path),
        "role": _role(path),
        "mediaType": MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream"),
    }
    if top == "targets":
        described["target"] = rest.partition("/")[0]
    return described


def _role(path: str) -> Role:
    parts = path.split("/")
    if parts[0] == "targets" and len(parts) > 3:
        return "golden" if parts[2] == "golden" else "artifact"
    if parts[0] == "targets" and len(parts) == 3 and parts[2] in LOADER:
        return "loader"
    if parts[0] == "model":
        return "model"
    if parts[0] == "data":
        return "data"
    if parts[0] == "evidence":
        return "evidence"
    raise ValueError(f"'{path}' has no place in a bundle")
