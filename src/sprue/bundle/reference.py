"""How bundles are called: `name`, `name@version`, `name:tag` or `name@tag`; `#` and an id may follow.

A version begins with a digit and a tag with a letter, so `@` can stand before both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sprue.errors import SprueError

_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_TAG = "[a-z][a-z0-9._-]{0,63}"
_REFERENCE = re.compile(
    rf"(?P<name>{_NAME})(@(?P<version>[0-9][0-9A-Za-z.-]*)|[:@](?P<tag>{_TAG}))?(#(?P<id>[0-9a-f]{{6,64}}))?"
)


@dataclass(frozen=True)
class Reference:
    """At most one of `version` and `tag`. `id`: the first digits, "" for none."""

    name: str
    version: str | None
    tag: str | None
    id: str


def read_reference(text: str) -> Reference:
    """Raises SprueError for what is none."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise SprueError(
            f"'{text}' is not a bundle's name",
            remedy="write name@version, name:tag, or name@version#first-digits-of-id",
        )
    return Reference(match["name"], match["version"], match["tag"], match["id"] or "")


def check_name(text: str) -> str:
    """A bundle's name. Raises SprueError."""
    if re.fullmatch(_NAME, text) is None:
        raise SprueError(f"'{text}' is not the name of bundles", remedy="write the name without a version")
    return text


def check_tag(text: str) -> str:
    """A tag. Raises SprueError."""
    if re.fullmatch(_TAG, text) is None:
        raise SprueError(
            f"'{text}' cannot be a tag",
            remedy="a lower-case letter, then at most 63 of: lower-case letters, digits, '.', '_', '-'",
        )
    return text


def order(version: str) -> tuple[tuple[int, ...], bool, list[tuple[bool, int, str]]]:
    """Semantic versions in their order (semver.org, 11): a pre-release comes before its release, and its
    numbers compare as numbers, before words."""
    core, dash, pre = version.partition("-")
    parts = [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in pre.split(".")]
    return tuple(int(p) for p in core.split(".")), not dash, parts
