"""Which files of two bundles that should be equal are not, and in what: weights, graph, data, answers.

`diff.py` tells a person what changed between two versions; this tells what a build did not make again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.bundle.manifest import File, Manifest

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Differing:
    """`kind`: "weights", "graph", "artifact" (both, or of no known format), "answers", "data", "loader" or
    "evidence". `what`: "other bytes", "missing" (it was not made again) or "new" (it was not there).
    """

    path: str
    kind: str
    what: str


def differing(
    before: tuple[Path, Manifest], after: tuple[Path, Manifest], passed_over: Collection[str] = ()
) -> tuple[list[Differing], int]:
    """The files that differ, but for those `passed_over`, and the number of those that are equal."""
    old, new = ({f.path: f for f in m.files if f.path not in passed_over} for _, m in (before, after))
    found = []
    for path in sorted(old.keys() | new.keys()):
        one, other = old.get(path), new.get(path)
        if one is None or other is None:
            found.append(Differing(path, _kind(one or other), "new" if one is None else "missing"))
        elif one.sha256 != other.sha256:
            kind = _onnx_kind(before[0] / path, after[0] / path) if path.endswith(".onnx") else _kind(one)
            found.append(Differing(path, kind, "other bytes"))
    return found, len(old.keys() & new.keys()) - sum(d.what == "other bytes" for d in found)


def _kind(file: File | None) -> str:
    if file is None or file.role not in ("model", "artifact"):
        names = {"golden": "answers", None: "artifact"}
        return names.get(None if file is None else file.role, "" if file is None else file.role)
    if "/weights/" in file.path or file.path.endswith(".bin"):
        return "weights"
    return "graph" if file.path.endswith((".onnx", ".xml")) else "artifact"


def _onnx_kind(before: Path, after: Path) -> str:
    """Weights, if the graphs are equal without them; graph, if only the rest differs."""
    import onnx

    try:
        one, other = (onnx.load(str(p), load_external_data=False) for p in (before, after))
    except Exception:  # protobuf's errors share no base
        return "artifact"
    weights = _weights(one) == _weights(other)
    for model in (one, other):
        model.graph.ClearField("initializer")
    same_graph = one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    return "weights" if same_graph else "graph" if weights else "artifact"


def _weights(model: ModelProto) -> list[bytes]:
    return sorted(t.SerializeToString(deterministic=True) for t in model.graph.initializer)
