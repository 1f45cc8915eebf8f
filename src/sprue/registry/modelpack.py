"""A bundle as one OCI image index of CNCF ModelPack manifests. Pure: the same bundle gives the same bytes.

index                     one for each version; its annotations name the bundle. No `artifactType`: skopeo 1.9
                          drops it, and then the digest is another
  manifest                for each target, its id in `sprue.target`: its artifact and golden samples
  manifest                for what is of no target: model, data, evidence, SHA256SUMS, measurements
    config                `application/vnd.cncf.model.config.v1+json`
    layers                one for each file, raw and uncompressed, its path in `org.cncf.model.filepath`;
                          the first is manifest.json, in every manifest

https://github.com/modelpack/model-spec, docs/spec.md, config.md and annotations.md of 1.0. Nothing in an
index or a manifest is believed by who pulls: they lead to manifest.json, which has the digest of
everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sprue.bundle.manifest import MANIFEST as BUNDLE_MANIFEST
from sprue.bundle.manifest import MEASUREMENTS, SUMS, Manifest, TargetEntry, sums
from sprue.canonical import canonical, digest
from sprue.registry.documents import to_json
from sprue.registry.protocol import INDEX, MANIFEST, Descriptor, describe

MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHTS = "application/vnd.cncf.model.weight.v1.raw"
WEIGHTS_CONFIG = "application/vnd.cncf.model.weight.config.v1.raw"
DATASET = "application/vnd.cncf.model.dataset.v1.raw"
DOCUMENT = "application/vnd.cncf.model.doc.v1.raw"
CODE = "application/vnd.cncf.model.code.v1.raw"
LAYERS = {
    "model": WEIGHTS,
    "artifact": WEIGHTS,
    "data": DATASET,
    "golden": DATASET,
    "loader": CODE,
    "evidence": DOCUMENT,
}

FILEPATH = "org.cncf.model.filepath"
PART, TARGET, BUNDLE_ID = "sprue.part", "sprue.target", "sprue.bundle.id"
GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
"""What OCI's `platform` calls processors (GOARCH); others have none."""


@dataclass(frozen=True)
class Blob:
    """`source`: the path of a file in the bundle's folder, or the bytes themselves."""

    what: Descriptor
    source: str | bytes


@dataclass(frozen=True)
class Image:
    """What a bundle is in a registry. To be put in this order: blobs, manifests, index."""

    blobs: tuple[Blob, ...]
    manifests: tuple[tuple[Descriptor, bytes], ...]
    index: tuple[Descriptor, bytes]


def pack(manifest: Manifest, measured: tuple[int, str] | None) -> Image:
    """`measured`: size and sha256 of the bundle's measurements; None if it has none."""
    parts = [_part(manifest, target, measured) for target in (None, *manifest.targets)]
    index = canonical(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {**to_json(what), **_platform(target)}
                for (what, _, _), target in zip(parts, (None, *manifest.targets), strict=True)
            ],
            "annotations": _annotations(manifest),
        }
    )
    blobs = {blob.what.sha256: blob for _, _, part in parts for blob in part}
    return Image(
        tuple(blobs.values()),
        tuple((what, data) for what, data, _ in parts),
        (describe(INDEX, index), index),
    )


def _part(
    manifest: Manifest, target: TargetEntry | None, measured: tuple[int, str] | None
) -> tuple[Descriptor, bytes, list[Blob]]:
    layers = list(_layers(manifest, target, measured))
    config = canonical(
        {
            "descriptor": {
                "name": manifest.name,
                "version": manifest.version,
                **({"createdAt": manifest.createdAt} if manifest.createdAt else {}),
                **({"revision": manifest.source.revision} if manifest.source.revision else {}),
                **({"licenses": list(manifest.licenses)} if manifest.licenses else {}),
            },
            "config": {"format": target.entry.rpartition(".")[2] if target else "onnx"},
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{b.what.sha256}" for b in layers]},
        }
    )
    part = {PART: "bundle"} if target is None else {PART: "target", TARGET: target.id}
    described = describe(CONFIG, config)
    data = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MODEL,
            "config": to_json(described),
            "layers": [to_json(b.what) for b in layers],
            "annotations": {**_annotations(manifest), **part},
        }
    )
    return describe(MANIFEST, data, **part), data, [Blob(described, config), *layers]


def _layers(
    manifest: Manifest, target: TargetEntry | None, measured: tuple[int, str] | None
) -> Iterable[Blob]:
    raw = manifest.to_bytes()
    yield _layer(WEIGHTS_CONFIG, BUNDLE_MANIFEST, len(raw), digest(raw), raw)
    for f in manifest.files:
        if f.target == (target.id if target else None) or (
            target is None and not _has_part(manifest, f.target)
        ):
            yield _layer(LAYERS[f.role], f.path, f.size, f.sha256, f.path)
    if target is None:
        listed = sums(manifest, measured[1] if measured else None)
        yield _layer(DOCUMENT, SUMS, len(listed), digest(listed), listed)
        if measured:
            yield _layer(DOCUMENT, MEASUREMENTS, *measured, MEASUREMENTS)


def _layer(media_type: str, path: str, size: int, sha256: str, source: str | bytes) -> Blob:
    return Blob(Descriptor(media_type, sha256, size, {FILEPATH: path}), source)


def _has_part(manifest: Manifest, target: str | None) -> bool:
    return any(t.id == target for t in manifest.targets)


def _annotations(manifest: Manifest) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": manifest.version,
        BUNDLE_ID: manifest.id(),
    }


def _platform(target: TargetEntry | None) -> dict[str, Any]:
    """For container tools that choose by platform. Two targets of one platform differ by annotation only."""
    if target is None or target.arch not in GO_ARCH or target.os == "none":
        return {}
    return {"platform": {"os": target.os, "architecture": GO_ARCH[target.arch]}}
