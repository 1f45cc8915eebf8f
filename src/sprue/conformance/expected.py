"""What is committed of each backend: what becomes of each case. An unexpected pass fails as a failure does.

A text file a backend, `<folder>/<backend>.txt`: comments with the versions that it was made with, then a line
for each case that does not match what ONNX expects, `refused <case>` or `wrong <case> <why>`, sorted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sprue.conformance.actions import Ran
from sprue.errors import SprueError

KINDS = ("refused", "wrong")
VERSIONS = "# made with: "


@dataclass(frozen=True)
class Expected:
    """`kinds`: case -> "refused" or "wrong"; a case that is not in it matches. `versions` by package."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def of(self, case: str) -> str:
        return self.kinds.get(case, "matched")


@dataclass(frozen=True)
class Surprise:
    """A case that came out otherwise than was committed."""

    case: str
    expected: str
    found: Ran

    def __str__(self) -> str:
        why = f": {self.found.why}" if self.found.why else ""
        return f"{self.case} is {self.found.kind}, expected {self.expected}{why}"


def expected_file(folder: Path, backend: str) -> Path:
    return folder / f"{backend}.txt"


def read_expected(path: Path) -> Expected:
    """Raises SprueError for a file that is not there, or a line that is not of the format."""
    if not path.is_file():
        raise SprueError(
            "nothing is committed of this backend", where=str(path), remedy="write it with --update"
        )
    kinds: dict[str, str] = {}
    reasons: dict[str, str] = {}
    versions: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith(VERSIONS):
            pairs = (item.rpartition(" ") for item in line.removeprefix(VERSIONS).split(", "))
            versions = {name: version for name, _, version in pairs}
        if line.startswith("#") or not line:
            continue
        kind, _, rest = line.partition(" ")
        case, _, why = rest.partition(" ")
        if kind not in KINDS or not case or case in kinds:
            raise SprueError(
                f"{line!r} is not one of: refused CASE, wrong CASE WHY; each case once",
                where=f"{path}:{number}",
                remedy="write it again with --update",
            )
        kinds[case] = kind
        reasons[case] = why
    return Expected(kinds, reasons, versions)


def expected_text(backend: str, found: Mapping[str, Ran], versions: Mapping[str, str]) -> str:
    """The file's text. Deterministic: reasons are kept of wrong answers only, in which no digits vary."""
    lines = [
        f"# What becomes of ONNX's node tests in the backend '{backend}'; those that are not here match.",
        "# Written by: sprue conformance --backend " + backend + " --expected FOLDER --update",
        VERSIONS + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    ]
    for case in sorted(found):
        kind, why = found[case].kind, found[case].why
        if kind == "refused":
            lines.append(f"refused {case}")
        elif kind == "wrong":
            lines.append(f"wrong {case} {why[:120]}".rstrip())
    return "\n".join(lines) + "\n"


def merged(old: Expected, found: Mapping[str, Ran]) -> dict[str, Ran]:
    """What is committed, with what was found now in its place."""
    kept = {case: Ran(kind, old.reasons[case]) for case, kind in old.kinds.items()}
    return {**kept, **found}


def surprises(expected: Expected, found: Mapping[str, Ran], versions: Mapping[str, str]) -> list[Surprise]:
    """What came out otherwise than expected.

    With other versions than those that the file was made with, only a wrong answer is one: what a release
    learns or refuses is its own affair, and is written down by the next update.
    """
    same = dict(expected.versions) == dict(versions)
    return [
        Surprise(case, expected.of(case), ran)
        for case, ran in sorted(found.items())
        if ran.kind != expected.of(case) and (same or ran.kind == "wrong")
    ]


def counts(found: Iterable[str]) -> dict[str, int]:
    """How many matched, were refused, are wrong."""
    kinds = list(found)
    return {kind: kinds.count(kind) for kind in ("matched", *KINDS)}
