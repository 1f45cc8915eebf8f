"""TOML files that people write: read with line numbers, validated with errors that name file, line and key.

`tomllib` gives values without places, so `locate` scans the text once more for the keys. It follows the TOML
grammar only as far as keys need: headers, dotted and quoted keys, multi-line strings and arrays are skipped.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from sprue.canonical import digest
from sprue.errors import SprueError, did_you_mean, refused

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    AnyModel = TypeVar("AnyModel", bound=BaseModel)

MAX_BYTES = 1 << 20

Key = tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A parsed file: its values, and for each key path the place (`file:line`) where it was written."""

    path: Path
    data: dict[str, Any]
    places: Mapping[Key, str]
    sha256: str

    def place(self, key: Iterable[object]) -> str:
        """The place of `key`, or of its nearest table that has one."""
        path = tuple(str(k) for k in key)
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, str(self.path))


def read_toml(path: Path) -> Document:
    """Raises SprueError when the file is missing, too large, not UTF-8 or not TOML."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise SprueError("there is no such file", where=str(path), remedy=near(path)) from error
    except IsADirectoryError as error:
        raise SprueError("a folder, and no file", where=str(path), remedy=_beside("", path)) from error
    except OSError as error:
        raise refused("cannot read it", error, path) from error
    except ValueError as error:  # a NUL in the path
        raise SprueError(f"cannot read it: {error}", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise SprueError(f"larger than {MAX_BYTES} bytes: not a file that a person wrote", where=str(path))
    try:
        text = raw.decode()
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise SprueError(
            f"not UTF-8 at byte {error.start}", where=str(path), remedy="save it as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise SprueError(f"not valid TOML: {error}", where=where) from error
    except RecursionError as error:
        raise SprueError("nested too deeply", where=str(path)) from error
    return Document(path, data, {key: f"{path}:{line}" for key, line in locate(text).items()}, digest(raw))


def near(path: Path) -> str:
    """What may be meant instead of a TOML file that is not there."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    return _beside(path.name, path.parent)


def _beside(name: str, folder: Path) -> str:
    files = [p.name for p in folder.glob("*.toml")]
    return did_you_mean(name, files, none=f"there is no .toml file in {folder}")


def validate(kind: type[AnyModel], document: Document) -> AnyModel:
    """`document` as a `kind`. Raises SprueError for the first mistake, naming file, line, key and remedy."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(document.data)
    except ValidationError as error:
        raise _explain(kind, document, error.errors()) from None


def locate(text: str) -> dict[Key, int]:
    """Key path -> line number, 1-based, for every table header and key of valid TOML `text`."""
    found: dict[Key, int] = {}
    table: Key = ()
    position, line = 0, 1
    while position < len(text):
        start = position
        if match := _HEADER.match(text, position):
            table = _split(match[1])
            _note(found, table, line)
            position = match.end()
        elif match := _KEY.match(text, position):
            _note(found, (*table, *_split(match[1])), line)
            position = _skip_value(text, match.end())
        position = _next_line(text, position)
        line += text.count("\n", start, position)
    return found


_PART = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]\]?")
_KEY = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=[ \t]*")
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|'
    + r"'''.*?'{3,5}|"
    + r'"(?:[^"\\\n]|\\.)*"|'
    + r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]",
    re.DOTALL,
)


def _split(dotted: str) -> Key:
    return tuple(_unquote(part) for part in re.findall(_PART, dotted))


def _unquote(part: str) -> str:
    if part.startswith('"'):
        return str(tomllib.loads(f"k = {part}")["k"])
    return part.strip("'")


def _note(found: dict[Key, int], key: Key, line: int) -> None:
    for depth in range(1, len(key) + 1):
        found.setdefault(key[:depth], line)


def _skip_value(text: str, position: int) -> int:
    """The end of the value at `position`: a newline outside brackets and strings, or the text's end."""
    depth = 0
    for token in _TOKEN.finditer(text, position):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.start()
    return len(text)


def _next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _explain(kind: type[BaseModel], document: Document, errors: list[ErrorDetails]) -> SprueError:
    # An unknown key is the likeliest cause of whatever else is wrong: report it first.
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    path = _without_union_tags(first["loc"], document.data)
    key = ".".join(str(part) for part in path)
    where = document.place(path)
    if first["type"] == "extra_forbidden":
        return SprueError(
            f"unknown key '{key}'", where=where, remedy=did_you_mean(str(path[-1]), _keys(kind, path[:-1]))
        )
    if first["type"] == "missing":
        return SprueError(f"the key '{key}' is missing", where=where, remedy=_to_add(kind, path))
    if first["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
        return SprueError(
            f"'{key}' is {first['input']!r}", where=where, remedy=did_you_mean(str(first["input"]), allowed)
        )
    if wanted := _WANTED.get(first["type"]):
        table = f"write [{key}.NAME]" if first["type"] == "dict_type" else f"write [{key}]"
        what = f"'{key}' is {first['input']!r}, and should be {wanted}"
        return SprueError(what, where=where, remedy=table if wanted == _TABLE else "")
    message = first["msg"].removeprefix("Value error, ")
    what = f"'{key}' is {first['input']!r}: {message[:1].lower()}{message[1:]}"
    example = _example(kind, path)
    return SprueError(what, where=where, remedy=f"such as {example}" if example else "")


_TABLE = "a table"
_WANTED = {
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "list_type": "a list",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
}
"""What pydantic says of a value of another type, in the words of TOML."""


def _to_add(kind: type[BaseModel], path: list[int | str]) -> str:
    key = ".".join(str(part) for part in path)
    if _table(kind, path) is not None:
        return f"add a table [{key}]"
    return f"add {path[-1]} = {_example(kind, path) or '...'}"


def _example(kind: type[BaseModel], path: list[int | str]) -> str:
    field = _field(kind, path)
    return json.dumps(field.examples[0]) if field is not None and field.examples else ""


def _field(kind: type[BaseModel], path: list[int | str]) -> FieldInfo | None:
    table = _table(kind, path[:-1])
    fields = {} if table is None else table.model_fields
    return next((f for n, f in fields.items() if path[-1] in (n, f.alias)), None)


def _without_union_tags(loc: Iterable[int | str], data: Any) -> list[int | str]:
    """The path without the names of union members that pydantic puts into it."""
    kept: list[int | str] = []
    value = data
    for part in loc:
        if isinstance(value, dict):
            kept.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            kept.append(part)
            value = value[part]
    return kept


def _keys(kind: type[BaseModel], path: list[int | str]) -> list[str]:
    """The keys that the table at `path` may have."""
    table = _table(kind, path)
    return [] if table is None else [f.alias or n for n, f in table.model_fields.items()]


def _table(kind: type[BaseModel], path: list[int | str]) -> type[BaseModel] | None:
    """What validates the table at `path`; None where that is no table with keys of its own."""
    from pydantic import BaseModel

    current: Any = kind
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = next((f for n, f in current.model_fields.items() if part in (n, f.alias)), None)
            current = field.annotation if field else None
        else:
            current = next((a for a in reversed(get_args(current)) if a is not type(None)), None)
        while current is not None and not (isinstance(current, type) and issubclass(current, BaseModel)):
            arms = [a for a in get_args(current) if a is not type(None)]
            if getattr(current, "__origin__", None) is dict or not arms:
                break
            current = arms[0]
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None
