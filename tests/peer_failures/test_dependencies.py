"""Peer: a fresh install lacks a package that it imports (requests, by way of its telemetry)."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {canonicalize_name(Requirement(r).name) for r in PROJECT["dependencies"]}
OPTIONAL = {
    canonicalize_name(Requirement(r).name)
    for extra, requirements in PROJECT["optional-dependencies"].items()
    for r in requirements
    if extra != "dev"
}
BROUGHT = {
    "botocore": "boto3",
    "flatbuffers": "ai-edge-litert",
    "ml-dtypes": "onnx",
    "packageurl-python": "cyclonedx-python-lib",
    "pydantic-core": "pydantic",
}
"""Packages that we import and that another one brings, which we declare."""

FOREIGN = {ROOT / "targets" / "tflite" / name for name in ("elsewhere_main.py", "deployed.py")}
"""Run by another interpreter, or where a bundle is used, which has another runtime: that is their purpose."""

DEFERRED = {ROOT / "targets" / "tflite" / "sharing.py"}
"""Loaded by functions only: they derive classes from those of a package that an extra brings."""


def test_what_modules_import_when_they_are_loaded_is_a_dependency() -> None:
    always, late = imported()
    assert provided_by(always) - DECLARED == set()
    assert DECLARED - provided_by(always | late) == set(), "dependencies that nothing imports"


def test_what_functions_import_is_in_an_extra_at_least() -> None:
    _, late = imported()
    assert provided_by(late) - DECLARED - OPTIONAL - BROUGHT.keys() == set()


@pytest.mark.parametrize("deferred", DEFERRED, ids=lambda path: path.stem)
def test_what_only_functions_load_is_loaded_by_no_module(deferred: Path) -> None:
    users = 0
    for path in deferred.parent.rglob("*.py"):
        for node, waits in walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level and node.module == deferred.stem:
                assert waits, path
                users += 1
    assert users


@pytest.mark.parametrize("package", BROUGHT)
def test_what_another_package_brings_is_among_its_requirements(package: str) -> None:
    assert BROUGHT[package] in DECLARED | OPTIONAL
    try:
        needed = [Requirement(r) for r in requires(BROUGHT[package]) or ()]
    except PackageNotFoundError:
        pytest.skip(f"{BROUGHT[package]} is not installed")
    plain = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert package in {canonicalize_name(r.name) for r in plain}


@cache
def imported() -> tuple[set[str], set[str]]:
    """Top-level modules that src/ and targets/ import when a module is loaded, and later if at all."""
    always, late = set[str](), set[str]()
    for folder in ("src", "targets"):
        for path in sorted(set((ROOT / folder).rglob("*.py")) - FOREIGN):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node, waits in walk(tree, waits=path in DEFERRED):
                (late if waits else always).update(names(node))
    return always, late


def walk(node: ast.AST, waits: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below, and whether they wait for a call or a condition."""
    for child in ast.iter_child_nodes(node):
        yield child, waits
        yield from walk(child, waits or is_late(child))


def is_late(node: ast.AST) -> bool:
    """Functions, `if TYPE_CHECKING`, and what an `except ImportError` answers for."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in identifiers(node.test)
    if isinstance(node, ast.Try):
        return any("ImportError" in identifiers(h.type) for h in node.handlers if h.type)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def identifiers(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.partition(".")[0]}
    return set()


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def provided_by(modules: set[str]) -> set[str]:
    """The packages that install these modules, but for Python's own and ours.

    Where several install a module, one that is declared answers for it. A module that is not installed here
    is taken for a package of its own name.
    """
    installed = distributions()
    found = set[str]()
    for module in modules - sys.stdlib_module_names - {"sprue"}:
        candidates = [canonicalize_name(d) for d in installed.get(module, [module])]
        found.add(next((c for c in candidates if c in DECLARED | OPTIONAL), candidates[0]))
    return found
