"""A target: a place where an artifact runs. Data, not code: a new board is a new TOML file.

`TargetFile` (target_file.py) is what a person writes in `targets/<id>.toml`; `Target` is what the rest of
sprue passes around.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import sprue.targets
from sprue.errors import SprueError, did_you_mean
from sprue.toml import Document, read_toml, validate

Precision = Literal["float32", "float16", "int8-dynamic", "int8-static", "int8-weights"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Target:
    """Limits in bytes, `clock` in hertz; None: no limit, not known. `family`: "" if it stands alone."""

    id: str
    description: str
    backends: tuple[str, ...]
    os: str
    arch: str
    family: str = ""
    cpu: str = ""
    features: tuple[str, ...] = ()
    limit_ram: int | None = None
    limit_flash: int | None = None
    clock: int | None = None
    runner: tuple[str, ...] = ()

    def seconds(self, cycles: int | None) -> float | None:
        """How long so many cycles take at its clock."""
        return None if cycles is None or self.clock is None else float(f"{cycles / self.clock:.6g}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Target:
        tuples = {k: tuple(v) for k, v in data.items() if isinstance(v, list)}
        return cls(**{**data, **tuples})


def target_files(project: Path | None = None) -> dict[str, Path]:
    """Target id -> its file. The folders in SPRUE_TARGETS and a project's own `targets/` add to the shipped
    ones and redefine none: raises SprueError when two files of one name differ.
    """
    found: dict[str, Path] = {}
    for folder in (*sprue.targets.folders(), *([project / "targets"] if project is not None else [])):
        for path in sorted(folder.glob("*.toml")):
            known = found.setdefault(path.stem, path)
            if path.read_bytes() != known.read_bytes():
                raise SprueError(
                    f"target '{path.stem}' is defined twice, here and in {known}",
                    where=str(path),
                    remedy=f"rename the file, for example {path.stem}-mine.toml",
                )
    return found


def refuse_name(name: str, kind: str, path: Path) -> None:
    """Bundles, and the folders in them, are called after recipes and targets. Raises SprueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise SprueError(
            f"'{name}' cannot be the name of a {kind}",
            where=str(path),
            remedy="rename the file: letters, digits, '.', '_' and '-', a letter or digit first",
        )


def load_target(name: str, project: Path | None = None, *, where: str = "") -> Target:
    """Read and validate one target. Raises SprueError naming file, line and key."""
    return read_target(name, project, where=where)[0]


def read_target(name: str, project: Path | None = None, *, where: str = "") -> tuple[Target, Document]:
    """A target and the file that it was read from. Raises SprueError as `load_target` does."""
    from sprue.target_file import TargetFile

    files = target_files(project)
    if name not in files:
        raise SprueError(f"there is no target '{name}'", where=where, remedy=did_you_mean(name, files))
    refuse_name(name, "target", files[name])
    document = read_toml(files[name])
    data = validate(TargetFile, document)
    target = Target(
        id=name,
        description=data.description,
        backends=tuple(data.backends),
        os=data.platform.os,
        arch=data.platform.arch,
        family=data.family or "",
        cpu=data.platform.cpu,
        features=tuple(data.platform.features),
        limit_ram=data.limit.ram,
        limit_flash=data.limit.flash,
        clock=data.platform.clock,
        runner=tuple(data.runner),
    )
    return target, document
