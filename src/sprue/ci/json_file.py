"""JSON files that one CI job leaves for another: canonical JSON, validated when read, bounded."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sprue import canonical
from sprue.durable import write_file

MAX_BYTES = 256 * 2**20

File = TypeVar("File", bound=BaseModel)


def write_json(path: Path, value: BaseModel) -> None:
    write_file(path, canonical.canonical(value.model_dump(mode="json", by_alias=True)) + b"\n")


def read_json(kind: type[File], path: Path) -> File:
    """Raises ValueError that says what is wrong with the file, and OSError."""
    value = canonical.read_json(path, MAX_BYTES)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from error
