"""The rules of docs/layout.md that a program can check: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import sprue.targets
from sprue.backend import names

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "sprue"
TARGETS = sprue.targets.FOLDER
LONGEST = 400

MAY_BE_IMPORTED_BY_BACKENDS = {
    f"sprue.{name}"
    for name in [
        "backend",
        "border",
        "canonical",
        "description",
        "errors",
        "facts",
        "graph",
        "load",
        "passes",
        "target",
        "variant",
        "weights",
    ]
}
MAY_BE_IMPORTED_BY_THE_ENGINE = {f"sprue.{name}" for name in ("canonical", "durable", "engine", "errors")}
KNOWS_MODELS = {"onnx", "onnxruntime", "openvino", "nncf", "tensorrt", "ai_edge_litert", "torch"}

PYTHON = [
    path
    for folder in ("src", "targets", "tests", "models", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@cache
def imports(path: Path) -> frozenset[str]:
    """Absolute names of the modules, and of the names taken from them, that a file imports anywhere in it."""
    return frozenset(imported(path))


def imported(path: Path) -> Iterator[str]:
    package = module(path).split(".") if path.name == "__init__.py" else module(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def module(path: Path) -> str:
    """`targets/tflite/lower.py` -> `sprue.targets.tflite.lower`."""
    base, prefix = (TARGETS, ["sprue", "targets"]) if path.is_relative_to(TARGETS) else (SRC, ["sprue"])
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join([*prefix, *(p for p in parts if p != "__init__")])


def within(name: str, allowed: set[str]) -> bool:
    return any(name == a or name.startswith(f"{a}.") for a in allowed)


def test_backends_know_passes_and_nothing_above() -> None:
    for path in sorted(TARGETS.rglob("*.py")):
        own = ".".join(module(path).split(".")[:3])
        shared = {i for i in imports(path) if i.startswith("sprue.targets._")}
        known = {i for i in imports(path) if within(i, {"sprue"}) and not within(i, {own})} - shared
        wrong = {i for i in known if not within(i, MAY_BE_IMPORTED_BY_BACKENDS)}
        assert wrong == set(), f"{path.relative_to(TARGETS)} reaches up"


def test_the_engine_knows_nothing_of_models() -> None:
    for path in sorted((SRC / "engine").rglob("*.py")):
        known = {i for i in imports(path) if within(i, {"sprue"})}
        assert {i for i in known if not within(i, MAY_BE_IMPORTED_BY_THE_ENGINE)} == set(), path.name
        assert {i for i in imports(path) if within(i, KNOWS_MODELS)} == set(), path.name


def test_passes_know_graph_and_nothing_above() -> None:
    allowed = {
        f"sprue.{n}" for n in ("passes", "graph", "errors", "backend", "border", "canonical", "variant")
    }
    for path in sorted((SRC / "passes").rglob("*.py")):
        known = {i for i in imports(path) if within(i, {"sprue"})}
        assert {i for i in known if not within(i, allowed)} == set(), path.name


def test_no_file_imports_a_backend_by_name() -> None:
    backends = {f"sprue.targets.{name}" for name in names()}
    for path in [*sorted(SRC.rglob("*.py")), *sorted(TARGETS.rglob("*.py"))]:
        own = ".".join(module(path).split(".")[:3])
        others = backends - {own}
        assert {i for i in imports(path) if within(i, others)} == set(), path.name


def test_bundle_and_registry_know_files_and_digests_only() -> None:
    allowed = {
        f"sprue.{n}"
        for n in (
            "bundle",
            "canonical",
            "durable",
            "errors",
            "load",
            "machine",
            "registry",
            "toml",
            "__version__",
        )
    }
    for folder in ("bundle", "registry"):
        for path in sorted((SRC / folder).rglob("*.py")):
            known = {i for i in imports(path) if within(i, {"sprue"})}
            assert {i for i in known if not within(i, allowed)} == set(), path.name


def test_the_remote_cache_knows_the_engine_and_registries_and_nothing_above() -> None:
    for path in sorted((SRC / "remote").rglob("*.py")):
        known = {i for i in imports(path) if within(i, {"sprue"})}
        allowed = MAY_BE_IMPORTED_BY_THE_ENGINE | {"sprue.registry", "sprue.remote", "sprue.trust.keys"}
        assert {i for i in known if not within(i, allowed)} == set(), path.name


def test_every_file_can_be_held_in_the_head() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in PYTHON}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_every_file_is_named_for_what_it_holds() -> None:
    vague = ("utils", "util", "helpers", "common", "misc")
    assert [str(p.relative_to(ROOT)) for p in PYTHON if p.stem in vague] == []
