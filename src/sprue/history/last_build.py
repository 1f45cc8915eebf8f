"""What the last build of each recipe found on this machine, for `report`, `compare` and `ratchet`.

    <cache>/reports/<2 hex>/<recipe>-<part>.json

The digests of the recipe's path and of the part that was asked for, in case it was one. Whatever came of the
build is kept: a sha256 in the first line, of the JSON in the second. It is a hint: without it, build again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sprue.canonical import canonical, digest, parse
from sprue.durable import write_file
from sprue.engine.key import path_digest
from sprue.errors import SprueError
from sprue.toml import near

FOLDER = "reports"
FORMAT = 1


def keep(cache: Path, recipe: Path, part: Sequence[Sequence[str]], found: dict[str, Any]) -> None:
    """Keep what a build found, if there is room. `part`: the targets and variants that were asked for."""
    said = canonical({"format": FORMAT, **found})
    with contextlib.suppress(OSError):
        write_file(_path(cache, recipe, part), digest(said).encode() + b"\n" + said, durable=False)


def is_kept(cache: Path, recipe: Path, part: Sequence[Sequence[str]]) -> bool:
    """Whether there is something of such a build; from now on it counts as the last one."""
    try:
        os.utime(_path(cache, recipe, part))
    except OSError:
        return False
    return True


def last_build(cache: Path, recipe: Path) -> dict[str, Any]:
    """What the last build found. Raises SprueError when there is nothing, or its files have changed since."""
    folder, name = _place(cache, recipe)
    kept = sorted(folder.glob(f"{name}-*.json"), key=lambda p: p.stat().st_mtime_ns)
    remedy = f"sprue build {recipe}"
    if not recipe.is_file():
        raise SprueError("there is no such file", where=str(recipe), remedy=near(recipe))
    if not kept:
        raise SprueError("it has not been built here", where=str(recipe), remedy=remedy)
    try:
        sha, _, said = kept[-1].read_bytes().partition(b"\n")
        if digest(said).encode() != sha:
            raise ValueError("it is damaged")
        found: dict[str, Any] = parse(said)
        if found["format"] != FORMAT:
            raise ValueError("another version of sprue wrote it")
        inputs = {Path(name): sha for name, sha in found["inputs"].items()}
    except (OSError, ValueError, KeyError) as error:
        kept[-1].unlink(missing_ok=True)
        what = f"what is known of its last build cannot be used: {error}"
        raise SprueError(what, where=str(recipe), remedy=remedy) from error
    changed = [p.name for p, sha in inputs.items() if not p.exists() or path_digest(p) != sha]
    if changed:
        what = f"changed since it was built: {', '.join(sorted(changed))}"
        raise SprueError(what, where=str(recipe), remedy=remedy)
    return found


def action_seconds(cache: Path, recipe: Path) -> dict[str, float]:
    """What each action took in the last builds of the recipe and its parts; files may have changed since."""
    folder, name = _place(cache, recipe)
    seconds: dict[str, float] = {}
    for path in sorted(folder.glob(f"{name}-*.json"), key=lambda p: p.stat().st_mtime_ns):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            sha, _, said = path.read_bytes().partition(b"\n")
            if digest(said).encode() == sha:
                seconds |= parse(said)["measurements"]["actions"]
    return seconds


def _path(cache: Path, recipe: Path, part: Sequence[Sequence[str]]) -> Path:
    """One string made into a path: a build of ten thousand recipes asks for each."""
    folder, name = _place(cache, recipe)
    return Path(f"{folder}/{name}-{digest(canonical(part))[:12]}.json")


def _place(cache: Path, recipe: Path) -> tuple[Path, str]:
    name = digest(os.fsencode(os.path.abspath(recipe)))[:40]  # noqa: PTH100  # keeps links
    return Path(f"{cache}/{FOLDER}/{name[:2]}"), name
