"""The matrix as CI systems want it, and the workflow files around it: renderings, nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jinja2 import Environment

    from sprue.ci.matrix_file import JobEntry, MatrixFile

System = Literal["github", "gitlab"]

DEFAULT_RUNNER = ("ubuntu-latest",)
"""Where GitHub runs a job whose target asks for nothing."""


@dataclass(frozen=True)
class Setting:
    """What a workflow file is filled in with. `runners`: "LABELS=LABELS" as for `--runner`."""

    recipes: tuple[str, ...]
    push: str
    runners: tuple[str, ...] = ()


def github(matrix: MatrixFile) -> str:
    """Two lines for $GITHUB_OUTPUT: `matrix`, which `fromJSON` reads, and `jobs`, how many there are."""
    include = [
        {
            "name": job.name,
            "target": job.target,
            "shard": f"{job.shard}/{job.of}",
            "file": f"{job.target}-{job.shard}-of-{job.of}",
            "runner": job.runner or list(DEFAULT_RUNNER),
        }
        for job in matrix.jobs
    ]
    said = json.dumps({"include": include}, separators=(",", ":"), ensure_ascii=True)
    return f"matrix={said}\njobs={len(matrix.jobs)}\n"


def gitlab(matrix: MatrixFile) -> str:
    """The child pipeline: a job for each shard, and one that seals."""
    return _environment().get_template("gitlab-child.yml.j2").render(jobs=matrix.jobs)


def workflow(system: System, setting: Setting) -> str:
    """The file that a user copies: .github/workflows/models.yml or .gitlab-ci.yml."""
    return _environment().get_template(f"{system}.yml.j2").render(vars(setting))


def summary(matrix: MatrixFile) -> str:
    """The jobs as a table in Markdown, for a job summary."""
    if not matrix.jobs:
        return f"Nothing to build: {len(matrix.unaffected)} recipes are not affected.\n"
    lines = ["| job | runner | recipes | expected | why |", "|---|---|---|---|---|"]
    lines += [_line(job) for job in matrix.jobs]
    count = len(matrix.recipes)
    return "\n".join([*lines, "", f"{count} recipes affected, {len(matrix.unaffected)} not.", ""])


def _line(job: JobEntry) -> str:
    expected = f"{job.seconds:.0f} s" if job.seconds else ""
    cells = (job.name, ", ".join(job.runner), str(len(job.recipes)), expected, "; ".join(job.reasons))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


@cache
def _environment() -> Environment:
    """GitHub's own expressions are `${{ ... }}`, so ours are not: [[ value ]] and [% statement %]."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("sprue.ci"),
        undefined=StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # YAML: values go through `yaml`, which quotes them as JSON does
    )
    made.filters["yaml"] = _yaml
    return made


def _yaml(value: str | list[str] | Mapping[str, str]) -> str:
    """JSON is YAML: whatever a name holds, it stays one value."""
    return json.dumps(value, ensure_ascii=True)
