"""Whose signature counts: a TOML file of keys, and of which keys may sign bundles of which names.

[keys]
ci = "ci.pub"                        # a file, seen from this one; or the PEM itself
release = "release.pub"

[sign.digits]                        # a bundle's name
keys = ["ci"]
[sign."intent-*"]                    # or a pattern; * is any text
keys = ["ci", "release"]
threshold = 2                        # how many of them must have signed; 1 if it is not said
builders = ["https://ci.example/*"]  # what the signed provenance may name as builder; anything if not said

An exact name counts before patterns, and patterns in the order of the file. A name that nothing matches is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sprue.bundle.manifest import Manifest, Name
from sprue.errors import CheckError, SprueError, did_you_mean
from sprue.toml import Document, read_toml, validate
from sprue.trust.keys import PublicKey, public_from_pem, read_public
from sprue.trust.signature import Signed, not_signed, signatures

Pattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9*][A-Za-z0-9._*-]{0,127}$")]

ONLY_SUCH_KEYS: dict[str, JsonValue] = {"additionalProperties": False}
"""Pydantic leaves it out of the schema of a dictionary whose keys have a pattern."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RuleFile(Strict):
    """Who may sign."""

    keys: list[str] = Field(min_length=1, description="names from [keys]")
    threshold: int = Field(1, ge=1, description="how many of them must have signed")
    builders: list[str] = Field(
        default_factory=list, description="builder ids that the provenance may name; * is any text"
    )


class PolicyFile(Strict):
    """A signing policy."""

    keys: dict[Name, str] = Field(
        min_length=1, description="name -> file of a public key, or its PEM", json_schema_extra=ONLY_SUCH_KEYS
    )
    sign: dict[Pattern, RuleFile] = Field(
        min_length=1, description="bundle name or pattern -> who may sign", json_schema_extra=ONLY_SUCH_KEYS
    )


@dataclass(frozen=True)
class Rule:
    """`where`: the file and line that it stands in."""

    pattern: str
    keys: tuple[PublicKey, ...]
    threshold: int
    builders: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Policy:
    path: Path
    keys: Mapping[str, PublicKey]
    rules: tuple[Rule, ...]

    def rule(self, name: str) -> Rule:
        """The rule for bundles called `name`. Raises CheckError when there is none."""
        exact = [rule for rule in self.rules if rule.pattern == name]
        found = exact + [rule for rule in self.rules if _matches(name, rule.pattern)]
        if not found:
            raise CheckError(
                f"no rule says who may sign '{name}'",
                where=str(self.path),
                remedy=f"add [sign.{name}] with its keys",
            )
        return found[0]

    def require(self, folder: Path, manifest: Manifest) -> list[Signed]:
        """The signatures that count. Raises CheckError when they are too few, or something is wrong."""
        rule = self.rule(manifest.name)
        allowed = {key.id: key for key in rule.keys}
        # All keys of the policy are tried, to tell a signature by the wrong one from no signature.
        found = signatures(folder, manifest, self.keys.values())
        counted = [s for s in found if s.key.id in allowed and _may_build(rule, s.builder)]
        missing = rule.threshold - len({s.key.id for s in counted})
        if missing <= 0:
            return counted
        reasons = [
            f"'{s.key.name}' signed it, but may not sign '{manifest.name}'"
            if s.key.id not in allowed
            else f"'{s.key.name}' signed it as built by '{s.builder[:120]}', which may not build it"
            for s in found
            if s not in counted
        ]
        names = " or ".join(f"'{key.name}'" for key in rule.keys)
        if reasons:
            raise CheckError(
                "; ".join(dict.fromkeys(reasons)),
                where=str(folder),
                remedy=f"{rule.where} wants {rule.threshold} of {names}",
            )
        if counted:
            signed = ", ".join(sorted({s.key.name for s in counted}))
            raise CheckError(
                f"signed by {signed} only, {missing} more of {names} must sign it",
                where=str(folder),
                remedy=f"{rule.where} wants {rule.threshold}",
            )
        raise not_signed(folder, names)


def read_policy(path: Path) -> Policy:
    """Raises SprueError naming file, line and key; CheckError for a file that is no key."""
    document = read_toml(path)
    data = validate(PolicyFile, document)
    keys = {name: _key(document, name, text) for name, text in data.keys.items()}
    _refuse_twins(document, keys)
    rules = tuple(_rule(document, pattern, rule, keys) for pattern, rule in data.sign.items())
    return Policy(path, keys, rules)


def _key(document: Document, name: str, text: str) -> PublicKey:
    where = document.place(("keys", name))
    if text.lstrip().startswith("-----BEGIN"):
        return public_from_pem(text.encode(), name, where)
    try:
        read = read_public(document.path.parent / text)
    except SprueError as error:
        raise type(error)(f"'keys.{name}': {error.what}", where=where, remedy=error.remedy) from error
    return PublicKey(name, read.id, read._key)


def _refuse_twins(document: Document, keys: Mapping[str, PublicKey]) -> None:
    """One key under two names would count as two signers."""
    names: dict[str, str] = {}
    for name, key in keys.items():
        if key.id in names:
            raise SprueError(
                f"'keys.{name}' is the same key as 'keys.{names[key.id]}'",
                where=document.place(("keys", name)),
            )
        names[key.id] = name


def _rule(document: Document, pattern: str, rule: RuleFile, keys: Mapping[str, PublicKey]) -> Rule:
    for name in rule.keys:
        if name not in keys:
            raise SprueError(
                f"'sign.{pattern}.keys' names '{name}', which is not in [keys]",
                where=document.place(("sign", pattern, "keys")),
                remedy=did_you_mean(name, keys),
            )
    if rule.threshold > len(set(rule.keys)):
        raise SprueError(
            f"'sign.{pattern}.threshold' is {rule.threshold}, but only {len(set(rule.keys))} keys may sign",
            where=document.place(("sign", pattern, "threshold")),
        )
    chosen = tuple(keys[name] for name in dict.fromkeys(rule.keys))
    where = document.place(("sign", pattern))
    return Rule(pattern, chosen, rule.threshold, tuple(rule.builders), where)


def _may_build(rule: Rule, builder: str) -> bool:
    return not rule.builders or any(_matches(builder, pattern) for pattern in rule.builders)


def _matches(text: str, pattern: str) -> bool:
    """Only * is special: a builder's id may hold ? and [."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
