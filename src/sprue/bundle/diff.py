"""What changed between two bundles: figures side by side, and the names of what came, went or differs.

A difference is a list of `Change`, each with the part of the bundle that it is about. Times come from the
measurements, which the id does not cover: they say what each machine saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import MEASUREMENTS, Manifest, TargetEntry
from sprue.canonical import read_json
from sprue.errors import CheckError

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto

RECIPE = "evidence/recipe.json"
NAMED = 5
"""Of the weights that changed, so many are called by name."""

Value = str | int | float | None


@dataclass(frozen=True)
class Change:
    """`part`: of what; `what`: which of its values; None: it is not there. `unit`: "s", "bytes" or ""."""

    part: str
    what: str
    before: Value
    after: Value
    unit: str = ""


@dataclass(frozen=True)
class Difference:
    before: Manifest
    after: Manifest
    changes: tuple[Change, ...]


def diff_bundles(before: Path, after: Path) -> Difference:
    """Compare two bundles. Raises CheckError when one is not whole: what it says would be worth nothing."""
    one, two = (_Bundle(folder, check_bundle(folder).manifest) for folder in (before, after))
    changes = [
        *_mapping("bundle", _identity(one.manifest), _identity(two.manifest)),
        *_targets(one, two),
        *_mapping("model", _graph_facts(one), _graph_facts(two)),
        *_changed_weights(one, two),
        *_mapping("data", _digests(one.manifest, "data"), _digests(two.manifest, "data")),
        *_mapping("recipe", _recipe(one), _recipe(two)),
        *_mapping("toolchain", one.manifest.toolchain, two.manifest.toolchain),
    ]
    return Difference(one.manifest, two.manifest, tuple(changes))


@dataclass(frozen=True)
class _Bundle:
    folder: Path
    manifest: Manifest

    def json(self, path: str) -> Any:
        """A JSON file of the bundle; None if it has none."""
        file = self.folder / path
        if not file.is_file():
            return None
        try:
            return read_json(file)
        except ValueError as error:
            raise CheckError(f"cannot be read: {error}", where=str(file)) from error


def _mapping(part: str, before: Mapping[str, Value], after: Mapping[str, Value]) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield Change(part, key, before.get(key), after.get(key))


def _identity(manifest: Manifest) -> dict[str, Value]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "revision": manifest.source.revision,
        "created": manifest.createdAt,
        "licenses": ", ".join(manifest.licenses),
        "parents": ", ".join(manifest.parents),
    }


def _targets(one: _Bundle, two: _Bundle) -> Iterator[Change]:
    """The reference's metric, then each target's: what runs, how well, how fast, how large."""
    yield from _figures("reference", one, two, ())
    before, after = ({t.id: t for t in b.manifest.targets} for b in (one, two))
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        facts = [{} if t is None else _facts(t) for t in (old, new)]
        yield from _mapping(name, *facts)
        variants = tuple(None if t is None else t.variant for t in (old, new))
        yield from _figures(name, one, two, variants)
        runtimes = [
            {f"runtime {k}": v for k, v in t.runtime.items()} if t is not None else {} for t in (old, new)
        ]
        yield from _mapping(name, *runtimes)


def _facts(target: TargetEntry) -> dict[str, Value]:
    contract = target.contract
    needs = [*contract.features, *(f"{name}{versions}" for name, versions in contract.runtime.items())]
    needs += [f"{name} {value}" for name, value in contract.engine.items()]
    named = {"platform": f"{target.os} {target.arch}", "variant": target.variant, "state": target.state}
    return {**named, "family": target.family, "needs": ", ".join(needs)}


def _figures(name: str, one: _Bundle, two: _Bundle, variants: tuple[str | None, ...]) -> Iterator[Change]:
    yield from _mapping(
        name,
        {f"metric {k}": v for k, v in one.manifest.metrics.get(name, {}).items()},
        {f"metric {k}": v for k, v in two.manifest.metrics.get(name, {}).items()},
    )
    if not variants:
        return
    times = [_latency(b, name, v) for b, v in zip((one, two), variants, strict=True)]
    if times[0] != times[1]:
        yield Change(name, "latency", times[0], times[1], "s")
    sizes = [_size(b.manifest, name) if v else None for b, v in zip((one, two), variants, strict=True)]
    if sizes[0] != sizes[1]:
        yield Change(name, "size", sizes[0], sizes[1], "bytes")
    files = [_files(b.manifest, name) for b in (one, two)]
    changed = sum(1 for p in files[0].keys() | files[1].keys() if files[0].get(p) != files[1].get(p))
    if changed and all(files):
        yield Change(name, "changed files", None, f"{changed} of {len(files[0].keys() | files[1].keys())}")


def _latency(bundle: _Bundle, target: str, variant: str | None) -> float | None:
    measured = bundle.json(MEASUREMENTS)
    try:
        found = measured["variants"][f"{target}/{variant}"]["timing"]["best"]
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, float) else None


def _size(manifest: Manifest, target: str) -> int:
    return sum(f.size for f in manifest.files if f.target == target and f.role == "artifact")


def _files(manifest: Manifest, target: str) -> dict[str, str]:
    return {f.path: f.sha256 for f in manifest.files if f.target == target and f.role == "artifact"}


def _digests(manifest: Manifest, role: str) -> dict[str, Value]:
    return {f.path: f.sha256 for f in manifest.files if f.role == role}


def _recipe(bundle: _Bundle) -> dict[str, Value]:
    value = bundle.json(RECIPE)
    if not isinstance(value, dict):
        return {}
    return {
        key: found if isinstance(found, str | int | float) or found is None else _text(found)
        for key, found in value.items()
    }


def _text(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def _graph_facts(bundle: _Bundle) -> dict[str, Value]:
    """Digests of the model's files; of the ONNX ones also their nodes by operator, and their weights."""
    facts = {p: v for p, v in _digests(bundle.manifest, "model").items() if "/weights/" not in p}
    for path in [p for p in facts if p.endswith(".onnx")]:
        for key, value in _count(bundle.folder / path).items():
            facts[f"{path}: {key}"] = value
    return facts


def _changed_weights(one: _Bundle, two: _Bundle) -> Iterator[Change]:
    """Which weights of the models have other values; those that came or went are counted elsewhere."""
    both = _digests(one.manifest, "model").keys() & _digests(two.manifest, "model").keys()
    for path in sorted(p for p in both if p.endswith(".onnx")):
        before, after = (_weights(b.folder / path) for b in (one, two))
        names = [name for name, what in before.items() if after.get(name, what) != what]
        if names:
            said = f"{', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}"
            yield Change("model", f"{path}: changed weights", None, f"{len(names)} of {len(before)}: {said}")


def _weights(path: Path) -> dict[str, bytes]:
    """Name -> what tells it from another; a weight beside the graph is named there by its content."""
    model = _load(path)
    found = {} if model is None else {t.name: t for t in model.graph.initializer}
    return {name: tensor.SerializeToString(deterministic=True) for name, tensor in found.items()}


def _load(path: Path) -> ModelProto | None:
    import onnx

    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's errors share no base; what is no ONNX has its digest to differ by
        return None


def _count(path: Path) -> dict[str, int]:
    model = _load(path)
    if model is None:
        return {}
    nodes: Counter[str] = Counter()
    weights = 0
    waiting: list[GraphProto] = [model.graph]
    while waiting:
        graph = waiting.pop()
        for weight in graph.initializer:
            count = 1
            for dim in weight.dims:
                count *= dim
            weights += count
        for node in graph.node:
            nodes[node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"] += 1
            for attribute in node.attribute:
                waiting += _graphs(attribute)
    facts = {f"{op} nodes": count for op, count in nodes.items()}
    return facts | {"nodes": sum(nodes.values()), "weights": weights}


def _graphs(attribute: AttributeProto) -> list[GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
