"""Which recipes a command line names, and their TOML.

Reads no more of them than it must: there may be ten thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from sprue.errors import SprueError
from sprue.toml import Document, read_toml


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
    return not {"model", "extends"} & read_recipe(path).data.keys()


def read_recipe(path: Path) -> Document:
    """The TOML of a recipe. Raises SprueError, with what to name instead, for another kind of file."""
    if not path.exists():
        named = Path("recipes", f"{path.stem}.toml")
        if named.is_file():
            raise SprueError("there is no such file", where=str(path), remedy=f"did you mean {named}?")
    elif path.is_file() and path.suffix != ".toml":
        raise SprueError("not a recipe", where=str(path), remedy="name a TOML file, such as recipes/x.toml")
    document = read_toml(path)
    if "source" in document.data and "model" not in document.data:
        remedy = f'name a recipe that says model = "{path.absolute().parent.name}"'
        raise SprueError("this describes a model, and is no recipe", where=str(path), remedy=remedy)
    return document
