"""The action key: the whole truth about staleness.

A key is the sha256 of canonical JSON of named parts. An action is done if its key is in the cache.
Each part is kept, so that `explain` can say which part of a key changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from sprue.canonical import canonical, digest, file_digest
from sprue.engine.action import Action, Output
from sprue.errors import SprueError

FORMAT = 1

Parts = dict[str, str]


def parts(action: Action, inputs: Mapping[str, str]) -> Parts:
    """The named parts of the key. `inputs` holds the digest of each input."""
    named = {"format": str(FORMAT), "function": action.function, "version": str(action.version)}
    named |= {f"param:{name}": canonical(value).decode() for name, value in action.params.items()}
    named |= {f"input:{name}": inputs[name] for name in action.inputs}
    named |= {f"name:{name}": _file_name(i) for name, i in action.inputs.items()}
    named |= {f"tool:{name}": version for name, version in action.tools.items()}
    return named


def _file_name(source: Path | Output) -> str:
    """The name under which an action sees a file: its ending may decide how it is read. "" for a folder."""
    if isinstance(source, Output):
        return PurePosixPath(source.path).name
    return "" if source.is_dir() else source.name


def key(named: Parts) -> str:
    return digest(canonical(named))


def tree_digest(files: Mapping[str, str]) -> str:
    """The digest of a folder: of its relative paths and their files' digests, and nothing else."""
    return digest(canonical(files))


def path_digest(path: Path) -> str:
    """The digest of a source file, or of all files in a source folder. Raises SprueError if absent."""
    try:
        if path.is_dir():
            return tree_digest({name: file_digest(path / name) for name in source_files(path)})
        return file_digest(path)
    except OSError as error:
        raise SprueError(f"cannot read it: {error.strerror}", where=str(path)) from error


def source_files(folder: Path) -> list[str]:
    """The files that count as the content of a source folder: not hidden ones, nor Python's byte code."""
    kept = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(p.startswith(".") or p == "__pycache__" for p in parts):
            kept.append("/".join(parts))
    return kept


def changes(before: Parts, after: Parts) -> list[str]:
    """What differs between two keys of one action, a line each."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            lines.append(f"{name}: {_short(old)} -> {_short(new)}")
    return lines


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= 60 else f"{value[:12]}…"
