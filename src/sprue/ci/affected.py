"""Which recipes a change concerns, and why.

A bundle is of a whole recipe, and its parts must be of one revision: so it is recipes that are affected, with
all their targets. A recipe depends on its TOML files, its model's files (on all of the folder if its source
is Python, which may read anything there), its candidates' backends, sprue itself where it lies in the
checkout, and the files that say which packages are installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sprue.targets
from sprue.backend import homes
from sprue.ci.changes import Changes
from sprue.judging.metric import is_own
from sprue.recipe import Recipe

TOOLCHAIN = ("pyproject.toml", "requirements*.txt", "constraints*.txt", "*.lock", "Dockerfile")
"""Files at the top of a project or of its checkout that commonly say which packages are installed."""


@dataclass(frozen=True)
class Dependency:
    """A file or a folder, and what it is to a recipe. `names`: only those files in it that fit a pattern."""

    path: Path
    what: str
    names: str = ""


def reasons(recipe: Recipe, changes: Changes) -> tuple[str, ...]:
    """Why a recipe must be built again, by dependency; nothing if it need not."""
    found = ((d.what, changes.of(d.path, d.names)) for d in dependencies(recipe, changes.root))
    return tuple(dict.fromkeys(f"{_listed(paths)} changed: {what}" for what, paths in found if paths))


def dependencies(recipe: Recipe, root: Path) -> Iterator[Dependency]:
    """All that lies in files and decides what is built. `root`: the top of the checkout."""
    model = recipe.model
    yield Dependency(recipe.path, "the recipe")
    if recipe.base is not None:
        yield Dependency(recipe.base, "the recipe that it extends")
    if model.function or is_own(model.metric):
        yield Dependency(model.folder, f"the model '{model.name}', part of which is Python")
    else:
        files = (model.document.path, model.source, model.evaluation, model.calibration, *model.files)
        yield from (Dependency(f, f"the model '{model.name}'") for f in files if f is not None)
    others = {recipe.path, recipe.base, model.document.path, *model.files}
    yield from (Dependency(f, f"the target '{f.stem}'") for f in sorted(recipe.files) if f not in others)
    for name in dict.fromkeys(v.backend for c in recipe.choices for v in c.variants):
        yield from _backend(name)
    yield Dependency(Path(sprue.__file__).parent, "sprue itself")
    for place in dict.fromkeys((recipe.project.resolve(), root)):
        yield from (Dependency(place, "it may bring other packages", names) for names in TOOLCHAIN)


def _backend(name: str) -> Iterator[Dependency]:
    home = homes()[name]
    yield Dependency(home / name if (home / name).is_dir() else home / f"{name}.py", f"the backend '{name}'")
    for place in dict.fromkeys((sprue.targets.FOLDER, home)):
        yield Dependency(place, "backends share it", "_*.py")


def _listed(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
