"""Which recipes a command line names. Reads no more of them than it must: there may be ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from sprue.errors import SprueError
from sprue.toml import read_toml


def recipe_files(places: Sequence[str]) -> list[Path]:
    """The recipes that files, folders and patterns such as "recipes/*.toml" name, each once, in order.

    Raises SprueError for a place that names none.
    """
    found: dict[Path, None] = {}
    for place in places:
        path = Path(place)
        if path.is_dir():
            files = sorted(path.glob("*.toml"))
        elif any(c in place for c in "*?["):
            files = sorted(Path(p) for p in glob(place, recursive=True))  # noqa: PTH207  # absolute patterns too
        else:
            files = [path]
        if not files:
            raise SprueError(
                "there are no recipes", where=place, remedy="name a file, or a folder of *.toml files"
            )
        found |= dict.fromkeys(files)
    return list(found)


def is_base(path: Path) -> bool:
    """Whether a recipe names no model and extends none: it can only be there to be extended."""
    return not {"model", "extends"} & read_toml(path).data.keys()
