"""The folder `targets/`: target descriptions (*.toml) and one backend per file or folder.

It stands at the root of a checkout and inside the wheel as `sprue/_targets`; the `__path__` line makes its
modules importable as `sprue.targets.<name>` from either. `SPRUE_TARGETS` names further folders of the same
kind, separated as in PATH: a user's own boards and backends. They add to what sprue ships, and hide nothing.
"""

import os
from pathlib import Path

from sprue.errors import SprueError

VARIABLE = "SPRUE_TARGETS"
SHIPPED = Path(__file__).with_name("_targets")
CHECKOUT = Path(__file__).resolve().parents[2] / "targets"
FOLDER = SHIPPED if SHIPPED.is_dir() else CHECKOUT
OWN = tuple(Path(p).resolve() for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p)
__path__ = [str(folder) for folder in (FOLDER, *OWN)]


def folders() -> tuple[Path, ...]:
    """sprue's own folder, then the user's. Raises SprueError when one of those does not exist."""
    for folder in OWN:
        if not folder.is_dir():
            what = f"{VARIABLE} names it, but there is no such folder"
            raise SprueError(what, where=str(folder), remedy=f"put right or unset {VARIABLE}")
    return FOLDER, *OWN
