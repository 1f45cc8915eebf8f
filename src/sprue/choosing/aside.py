"""Where no variant passed: the one that came nearest is kept aside, to be looked at and never to be shipped.

<cache>/aside/<recipe>/<target>/<variant>/      its artifact, as it was built
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sprue.build import Build, TargetBuild
from sprue.engine.cache import Cache, Corrupt

FOLDER = "aside"


def keep_aside(build: Build, cache: Cache) -> Mapping[str, Path]:
    """Target -> the folder with the artifact that came nearest; what an earlier build kept there goes."""
    kept = {}
    for target in build.targets:
        place = cache.folder / FOLDER / build.recipe.name / target.choice.target.id
        with suppress(OSError):
            shutil.rmtree(place, ignore_errors=True)
        if (folder := _kept(target, cache, place)) is not None:
            kept[target.choice.target.id] = folder
    return kept


def _kept(target: TargetBuild, cache: Cache, place: Path) -> Path | None:
    best = target.nearest
    if best is None or best.artifact is None:
        return None
    folder = place / best.planned.variant.id
    try:
        cache.take(best.artifact.files, folder)
    except (OSError, Corrupt):  # it is a favour: a full disk is no reason to say less
        shutil.rmtree(place, ignore_errors=True)
        return None
    return folder
