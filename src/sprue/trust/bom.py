"""A bundle as a CycloneDX 1.6 bill of materials for machine learning (ML-BOM), in JSON.

https://cyclonedx.org/docs/1.6/json/. The bundle and each target's artifact are machine-learning-model
components with model cards, the data are data components, the tools are libraries. It says what the manifest
says and nothing else: the same bundle gives the same bytes, with no time and no random serial number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import sprue
from sprue.bundle.manifest import File, Manifest, TargetEntry
from sprue.errors import CheckError, SprueError
from sprue.trust.provenance import package_url

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License


def bill_of_materials(manifest: Manifest) -> bytes:
    """Raises SprueError without cyclonedx-python-lib, CheckError for what CycloneDX has no words for."""
    try:
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
    except ModuleNotFoundError as error:
        raise SprueError(
            "cyclonedx-python-lib is not installed", remedy="pip install 'sprue[bom]'"
        ) from error

    try:
        made = _document(manifest)
    except ValueError as error:
        where = f"{manifest.name}@{manifest.version}"
        raise CheckError(f"CycloneDX cannot say what this manifest says: {error}", where=where) from error
    text = make_outputter(made, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    return _with_cards(json.loads(text, object_hook=_spelled), manifest)


def _document(manifest: Manifest) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.tool import ToolRepository

    whole = _bundle(manifest)
    sources = [_file(f, manifest.name) for f in manifest.files if f.role in ("model", "data")]
    targets = {t.id: _target(manifest, t) for t in manifest.targets}
    tools = _tools(manifest)
    metadata = BomMetaData(
        component=whole, tools=ToolRepository(components=[_sprue()]), timestamp=_time(manifest)
    )
    made = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"sha256:{manifest.id()}"),
        metadata=metadata,
        components=[*sources, *targets.values(), *tools.values()],
    )
    made.register_dependency(whole, [*sources, *targets.values(), *tools.values()])
    for entry in manifest.targets:
        made.register_dependency(targets[entry.id], [tools[tool] for tool in sorted(entry.runtime.items())])
    return made


def _bundle(manifest: Manifest) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    source = manifest.source
    facts = {
        "bundle:id": manifest.id(),
        "bundle:recipe": manifest.recipe,
        "bundle:source": source.digest,
        "bundle:revision": source.revision,
    }
    return Component(
        name=manifest.name,
        version=manifest.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="bundle",
        description="a sprue bundle; its hash is that of manifest.json",
        hashes=[_sha256(manifest.id())],
        licenses=_licenses(manifest.licenses),
        properties=_properties(facts),
    )


def _file(file: File, name: str) -> Component:
    """The source model, its data, or a file of an artifact."""
    from cyclonedx.model.component import Component, ComponentType

    kinds = {"data": ComponentType.DATA, "model": ComponentType.MACHINE_LEARNING_MODEL}
    kind = kinds.get(file.role, ComponentType.FILE)
    if kind is ComponentType.MACHINE_LEARNING_MODEL and not file.path.endswith(".onnx"):
        kind = ComponentType.FILE  # weights that lie beside the graph
    return Component(
        name=file.path,
        group=name,
        type=kind,
        mime_type=file.mediaType,
        bom_ref=f"file:{file.path}",
        hashes=[_sha256(file.sha256)],
        properties=_properties({"file:size": str(file.size), "file:role": file.role}),
    )


def _target(manifest: Manifest, target: TargetEntry) -> Component:
    """What is deployed on one target; its hash is that of the file to open first."""
    from cyclonedx.model.component import Component, ComponentType

    files = [f for f in manifest.files if f.target == target.id and f.role == "artifact"]
    entry = next(f for f in manifest.files if f.path == target.entry)
    facts = {"id": target.id, "os": target.os, "arch": target.arch, "variant": target.variant}
    facts |= {"state": target.state, "entry": target.entry}
    return Component(
        name=f"{manifest.name} for {target.id}",
        version=manifest.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        mime_type=entry.mediaType,
        bom_ref=f"target:{target.id}",
        hashes=[_sha256(entry.sha256)],
        properties=_properties({f"target:{key}": value for key, value in facts.items()}),
        components=[_file(f, manifest.name) for f in files],
    )


def _tools(manifest: Manifest) -> dict[tuple[str, str], Component]:
    """(name, version) -> component. What runs an artifact is required, what only built it is excluded."""
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from packageurl import PackageURL

    runs = {tool for target in manifest.targets for tool in target.runtime.items()}
    return {
        (name, version): Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"tool:{name}@{version}",
            scope=ComponentScope.REQUIRED if (name, version) in runs else ComponentScope.EXCLUDED,
            purl=PackageURL.from_string(package_url(name, version)),
        )
        for name, version in sorted({*manifest.toolchain.items(), *runs})
    }


def _sprue() -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(name="sprue", version=sprue.__version__, type=ComponentType.APPLICATION)


def _sha256(sha256: str) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=sha256)


def _licenses(texts: Iterable[str]) -> list[License]:
    """SPDX ids, and names for what is none: CycloneDX takes an expression only if it stands alone."""
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import LicenseExpression

    factory = LicenseFactory()
    made = {text: factory.make_from_string(text) for text in texts if text}
    if len(made) > 1:
        made |= {
            t: factory.make_with_name(t) for t, one in made.items() if isinstance(one, LicenseExpression)
        }
    return list(made.values())


def _properties(facts: Mapping[str, str | None]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=f"sprue:{key}", value=value) for key, value in facts.items() if value]


def _time(manifest: Manifest) -> datetime:
    """The library wants a time; for a bundle that has none it is taken out again."""
    if manifest.createdAt is None:
        return datetime.fromtimestamp(0, UTC)
    made = datetime.fromisoformat(manifest.createdAt)
    if made.tzinfo is None:
        raise ValueError(f"{manifest.createdAt!r} is a time without a zone")
    return made


def _spelled(value: dict[str, Any]) -> dict[str, Any]:
    """The library (11.12) writes `mimeType`, which its own validator refuses: the key is `mime-type`."""
    return {"mime-type" if key == "mimeType" else key: one for key, one in value.items()}


def _with_cards(made: dict[str, Any], manifest: Manifest) -> bytes:
    """Add what the library has no classes for (11.12: `modelCard` and `data`), at their components."""
    if manifest.createdAt is None:
        del made["metadata"]["timestamp"]
    data = [f.path for f in manifest.files if f.role == "data"]
    datasets = [{"ref": f"file:{path}"} for path in data]
    made["metadata"]["component"]["modelCard"] = _card(manifest.metrics.get("reference", {}), datasets)
    for component in made["components"]:
        kind, _, name = component["bom-ref"].partition(":")
        if kind == "target":
            component["modelCard"] = _card(manifest.metrics.get(name, {}), datasets)
        elif component["type"] == "data":
            component["data"] = [{"type": "dataset", "name": name}]
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _card(metrics: Mapping[str, float], datasets: list[dict[str, str]]) -> dict[str, Any]:
    card: dict[str, Any] = {"modelParameters": {"datasets": datasets}} if datasets else {}
    if metrics:
        said = [{"type": name, "value": json.dumps(value)} for name, value in sorted(metrics.items())]
        card["quantitativeAnalysis"] = {"performanceMetrics": said}
    return card
