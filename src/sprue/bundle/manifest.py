"""The manifest: one canonical JSON file that names every file of a bundle by its sha256. Its own is the id.

Times are in no file that the manifest names: they differ from run to run, and the id must not. They stand in
`evidence/measurements.json`, which SHA256SUMS covers but the id does not.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sprue.canonical import canonical, digest, parse
from sprue.errors import CheckError

SCHEMA = "sprue-bundle/1"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
MEASUREMENTS = "evidence/measurements.json"
OUTSIDE = (MANIFEST, SUMS, MEASUREMENTS)
"""Files of a bundle that its manifest does not name."""

MAX_MANIFEST_BYTES = 16 * 2**20
MAX_FILES = 100_000
MAX_FILE_BYTES = 2**40

Role = Literal["model", "data", "artifact", "golden", "loader", "evidence"]


def safe_path(text: str) -> str:
    """A relative path with / that stays in its folder on every system. Raises ValueError if not."""
    parts = PurePosixPath(text).parts
    normal = "/".join(parts)
    if not text or text != normal or text.startswith("/") or ".." in parts or len(text.encode()) > 1024:
        raise ValueError("a path must be relative, in normal form, without '..' and at most 1024 bytes")
    if any(c in text for c in '\\:*?"<>|') or not text.isprintable():
        raise ValueError('a path must not hold control or invisible characters, or any of \\ : * ? " < > |')
    if any(part.endswith((".", " ")) or part.startswith(" ") for part in parts):
        raise ValueError("no part of a path may begin with a space, or end with a space or a dot")
    return text


SafePath = Annotated[str, AfterValidator(safe_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Versions = Annotated[
    str, Field(pattern=r"^(>=|<|==)[0-9]+(\.[0-9]+)*(,(>=|<|==)[0-9]+(\.[0-9]+)*)*$", max_length=200)
]
"""A range of versions, such as ">=1.32,<2"; all of its parts must hold."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class File(Strict):
    path: SafePath
    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Sha256
    role: Role
    mediaType: str  # noqa: N815  # the format's own spelling, as in OCI
    target: str | None = None


class ContractEntry(Strict):
    """What must hold where an artifact is loaded, besides os and arch; its loader checks the same.

    `runtime`: package -> versions. `engine`: what a compiled engine is bound to, by its exact value.
    """

    features: list[str]
    runtime: dict[str, Versions]
    engine: dict[str, str]


class TargetEntry(Strict):
    """One target: which variant was kept, what it was built with (package -> version), what must hold where
    it is loaded, and the file to open first. Targets of one `family` stand in for each other.
    """

    id: Name
    family: Name
    os: str
    arch: str
    variant: str
    runtime: dict[str, str]
    contract: ContractEntry
    entry: SafePath
    state: Literal["verified", "prepared"]

    def requires(self) -> dict[str, Any]:
        """As load.py's `unmet` wants it."""
        return {"os": self.os, "arch": self.arch, **self.contract.model_dump(mode="json")}


class Source(Strict):
    """`revision`: the commit of the checkout, with "-dirty" if files differ from it; None outside of one."""

    revision: str | None
    digest: Sha256


class Manifest(Strict):
    schema_: Literal["sprue-bundle/1"] = Field(alias="schema")
    name: Name
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$", max_length=128)
    source: Source
    recipe: Sha256
    toolchain: dict[str, str]
    createdAt: str | None  # noqa: N815
    files: list[File] = Field(max_length=MAX_FILES)
    targets: list[TargetEntry]
    metrics: dict[str, dict[str, float]]
    licenses: list[str]
    parents: list[Sha256]

    def to_bytes(self) -> bytes:
        return canonical(self.model_dump(mode="json", by_alias=True))

    def id(self) -> str:
        return digest(self.to_bytes())


def manifest_from(fields: Mapping[str, Any]) -> Manifest:
    """Validate what is to become a manifest; its files sorted by path."""
    made = Manifest.model_validate({**fields, "schema": SCHEMA})
    _check_names(made)
    return made


def read_manifest(data: bytes, where: str) -> Manifest:
    """Read an untrusted manifest. Raises CheckError unless it is exactly what `to_bytes` would write."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise CheckError(f"the manifest is larger than {MAX_MANIFEST_BYTES} bytes", where=where)
    try:
        value = parse(data)
        if isinstance(value, dict) and value.get("schema") != SCHEMA:
            raise CheckError(
                f"the bundle's format is {str(value.get('schema'))[:40]!r}, this sprue reads '{SCHEMA}'",
                where=where,
                remedy="use the version of sprue that made it, or a newer one",
            )
        made = Manifest.model_validate(value)
        _check_names(made)
        canonical_bytes = made.to_bytes()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise CheckError(f"not a valid manifest: {key}: {first['msg']}", where=where) from error
    except (ValueError, RecursionError) as error:
        raise CheckError(f"not a valid manifest: {error}", where=where) from error
    if canonical_bytes != data:
        raise CheckError("the manifest is not in canonical form", where=where)
    return made


def sums(manifest: Manifest, measurements: str | None) -> bytes:
    """The bytes of SHA256SUMS; `measurements` is that file's sha256, None if there is none."""
    lines = {f.path: f.sha256 for f in manifest.files} | {MANIFEST: manifest.id()}
    if measurements is not None:
        lines[MEASUREMENTS] = measurements
    return "".join(f"{lines[path]}  {path}\n" for path in sorted(lines)).encode()


def _check_names(manifest: Manifest) -> None:
    """Raises ValueError for files that some system would take for one, or that lie below one another."""
    paths = [f.path for f in manifest.files]
    if paths != sorted(paths):
        raise ValueError("the files are not sorted by path")
    folded = {_folded(path) for path in [*paths, *OUTSIDE]}
    if len(folded) != len(paths) + len(OUTSIDE):
        raise ValueError("two files have the same path, or paths that differ only by case")
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if _folded(str(parent)) in folded:
                raise ValueError(f"'{parent}' is both a file and a folder")
    if len({t.id for t in manifest.targets}) != len(manifest.targets):
        raise ValueError("two targets have the same id")
    known = {f.path for f in manifest.files}
    for target in manifest.targets:
        if target.entry not in known:
            raise ValueError(
                f"target '{target.id}' names the entry '{target.entry}', which is not among the files"
            )


def _folded(path: str) -> str:
    """Equal for paths that a system without case, or with composed characters only, takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
