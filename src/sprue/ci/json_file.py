"""JSON files that one CI job leaves for another: canonical JSON, validated when read, bounded."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sprue.canonical import canonical, parse
from sprue.durable import write_file

MAX_BYTES = 256 * 2**20

File = TypeVar("File", bound=BaseModel)


def write_json(path: Path, value: BaseModel) -> None:
    write_file(path, canonical(value.model_dump(mode="json", by_alias=True)) + b"\n")


def read_json(kind: type[File], path: Path) -> File:
    """Raises ValueError that says what is wrong with the file, and OSError."""
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    try:
        return kind.model_validate(parse(data))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
