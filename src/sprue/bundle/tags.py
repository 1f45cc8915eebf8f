"""Tags: names such as `prod` that move from bundle to bundle, and remember where they were.

<store>/<name>/tags/<tag>.json, canonical JSON; moves are only added. See docs/format.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from sprue.bundle.manifest import Sha256, Strict
from sprue.bundle.reference import check_name, check_tag
from sprue.canonical import canonical, read_json
from sprue.durable import locked, write_file
from sprue.errors import CheckError, SprueError, did_you_mean

SCHEMA = "sprue-tag/1"
FOLDER = "tags"
MAX_BYTES = 16 * 2**20

Kind = Literal["move", "rollback", "remove"]


class Move(Strict):
    """`id`, `version`: what the tag means from then on; None after it was removed."""

    at: Annotated[str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$")]
    id: Sha256 | None
    kind: Kind
    version: str | None


class _TagFile(Strict):
    schema_: Literal["sprue-tag/1"] = Field(alias="schema")
    moves: list[Move]


@dataclass(frozen=True)
class Tag:
    """`stack`: the moves that are not undone, the last one being what the tag means."""

    name: str
    tag: str
    moves: tuple[Move, ...]

    @property
    def stack(self) -> tuple[Move, ...]:
        left: list[Move] = []
        for move in self.moves:
            if move.kind == "move":
                left.append(move)
            elif move.kind == "rollback":
                left.pop()
            else:
                left.clear()
        return tuple(left)

    @property
    def current(self) -> Move | None:
        return self.stack[-1] if self.stack else None


def read_tag(store: Path, name: str, tag: str) -> Tag:
    """The tag as it is; without moves when there is none. Raises CheckError for a damaged file."""
    path = _path(store, name, tag)
    try:
        read = Tag(name, tag, tuple(_TagFile.model_validate(read_json(path, MAX_BYTES)).moves))
        _check_history(read)
    except FileNotFoundError:
        return Tag(name, tag, ())
    except OSError as error:
        raise CheckError(f"cannot read the tag: {error.strerror}", where=str(path)) from error
    except (ValidationError, ValueError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise CheckError(
            f"not a valid tag: {said}", where=str(path), remedy="restore the file, or delete it and tag again"
        ) from error
    return read


def read_tags(store: Path, name: str | None = None) -> list[Tag]:
    """All tags that mean something, of one name or of all."""
    names = [check_name(name)] if name is not None else sorted(p.name for p in store.glob("*") if p.is_dir())
    return [t for n in names if not n.startswith(".") for t in all_tags(store, n) if t.current is not None]


def all_tags(store: Path, name: str) -> Iterator[Tag]:
    """Every tag of a name, removed ones with them."""
    for path in sorted((store / name / FOLDER).glob("*.json")):
        yield read_tag(store, name, check_tag(path.stem))


def move_tag(store: Path, name: str, tag: str, ident: str, version: str) -> Tag:
    """Let a tag mean another bundle from now on. One that means it already is left as it is."""
    with locked(store / name):
        known = read_tag(store, name, check_tag(tag))
        if known.current is not None and known.current.id == ident:
            return known
        return _add(store, known, "move", ident, version)


def roll_back(store: Path, name: str, tag: str, expected: Tag) -> Tag:
    """Undo the last move. `expected`: as it was read; raises CheckError when somebody moved it since."""
    with locked(store / name):
        known = read_tag(store, name, tag)
        if known.moves != expected.moves:
            raise CheckError(f"'{name}:{tag}' was moved meanwhile", remedy="look at it again")
        before = previous(known)
        return _add(store, known, "rollback", before.id, before.version)


def previous(tag: Tag) -> Move:
    """What a rollback would lead to. Raises SprueError when there is nothing."""
    if len(tag.stack) < 2:
        known = "it was moved once only" if tag.stack else "there is no such tag"
        raise SprueError(
            f"'{tag.name}:{tag.tag}' cannot be rolled back: {known}",
            remedy=f"sprue bundle tag --history {tag.name}:{tag.tag}",
        )
    return tag.stack[-2]


def remove_tag(store: Path, name: str, tag: str) -> Tag:
    """Let a tag mean nothing any more; its history stays. Raises SprueError when there is none."""
    known = existing_tag(store, name, tag)
    with locked(store / name):
        known = read_tag(store, name, tag)
        return _add(store, known, "remove", None, None)


def existing_tag(store: Path, name: str, tag: str) -> Tag:
    """A tag that means something. Raises SprueError with the nearest one otherwise."""
    found = read_tag(store, check_name(name), check_tag(tag))
    if found.current is None:
        names = [f"{t.name}:{t.tag}" for t in read_tags(store)]
        remedy = did_you_mean(f"{name}:{tag}", names, none=f"sprue bundle tag {name}@VERSION {tag} sets it")
        raise SprueError(f"there is no tag '{name}:{tag}'", where=str(store), remedy=remedy)
    return found


def _check_history(tag: Tag) -> None:
    """Raises ValueError for moves that cannot have been."""
    left: list[str | None] = []
    for move in tag.moves:
        if move.kind == "move" and move.id is not None:
            left.append(move.id)
        elif move.kind == "rollback" and len(left) > 1:
            left.pop()
        elif move.kind == "remove" and left:
            left.clear()
        else:
            raise ValueError(f"a {move.kind} of nothing")
        if move.id != (left[-1] if left else None) or (move.id is None) != (move.version is None):
            raise ValueError(f"a {move.kind} to what was not there")


def _add(store: Path, tag: Tag, kind: Kind, ident: str | None, version: str | None) -> Tag:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    moves = (*tag.moves, Move(at=at, id=ident, kind=kind, version=version))
    value = {"schema": SCHEMA, "moves": [m.model_dump(mode="json") for m in moves]}
    write_file(_path(store, tag.name, tag.tag), canonical(value))
    return Tag(tag.name, tag.tag, moves)


def _path(store: Path, name: str, tag: str) -> Path:
    return store / name / FOLDER / f"{tag}.json"
