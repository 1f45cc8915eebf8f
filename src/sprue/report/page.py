"""A report as one HTML page that needs nothing else, and as Markdown for a CI job's summary.

The page has no script and loads nothing; its policy forbids both. The same report gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from sprue.report.compare import Compared
from sprue.report.data import Report, TargetReport
from sprue.report.figures import (
    BYTES_MOVED,
    CYCLES,
    ENERGY,
    ESTIMATE,
    INSTRUCTIONS,
    LATENCY,
    Figure,
    figures,
    known,
)
from sprue.report.plot import Plot, plots
from sprue.report.reasons import reason
from sprue.report.versus import Versus

FIGURES = {f.key: f for f in (LATENCY, INSTRUCTIONS, CYCLES, ESTIMATE, BYTES_MOVED, ENERGY)}
"""That templates name."""
TEMPLATES = Path(__file__).with_name("templates")


def html(report: Report, previous: Versus | None = None) -> str:
    """The page. `previous`: the comparison with an earlier version."""
    return _page("report.html.j2", report=report, previous=previous, verdict=verdict(report))


def markdown(report: Report, previous: Versus | None = None) -> str:
    """The same, short, for GitHub's job summaries and the like."""
    made = _environment().get_template("report.md.j2")
    said = made.render(report=report, previous=previous, verdict=verdict(report))
    return re.sub(r"\n{3,}", "\n\n", said).strip() + "\n"


def comparison(compared: Compared) -> str:
    """The page of two models side by side."""
    return _page("compare.html.j2", compared=compared)


def verdict(report: Report) -> str:
    """What came of it, in a sentence or two."""
    if report.error:
        return f"The build stopped: {report.error}"
    lost = [t.id for t in report.targets if t.kept is None]
    kept = [t.kept for t in report.targets if t.kept is not None]
    states = {s: sum(t.state == s for t in kept) for s in ("verified", "prepared")}
    said = []
    if states["verified"]:
        said.append(f"{states['verified']} verified: the artifact ran and gave the right answers")
    if states["prepared"]:
        said.append(f"{states['prepared']} prepared: built, but not executed here")
    how = f" {'; '.join(said)}." if said else ""
    if lost:
        return f"No variant passed for {', '.join(lost)}.{how}"
    return f"Every target has an artifact.{how}"


def _page(template: str, **values: object) -> str:
    style = _dense((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = _environment().get_template(template).render(style=style, style_sha=sha, **values)
    return _dense(page) + "\n"


def _dense(text: str) -> str:
    """Without empty lines. The policy names the style by its digest, so this may not change it twice."""
    return re.sub(r"\n\s*\n+", "\n", text).strip()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(enabled_extensions=("html.j2", "svg.j2"), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"cell": cell, "known": known_figures, "plots": target_plots, "worse_word": worse_word}
    made.globals |= {"reason": reason, "figure": FIGURES}
    return made


def target_plots(target: TargetReport, report: Report) -> tuple[Plot, ...]:
    return plots(target, figures(report))


def known_figures(target: TargetReport, report: Report) -> tuple[Figure, ...]:
    return tuple(f for f in known(figures(report), target.tried) if not f.small)


def worse_word(worse: float | None) -> Literal["", "worse", "better"]:
    if worse is None or worse == 0:
        return ""
    return "worse" if worse > 0 else "better"


def cell(text: object) -> str:
    """Text for a cell of a Markdown table: nothing in it can end the cell, or be taken for markup."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]|~<>&@$]|:(?=\S)|(?<=www)\.)", r"\\\1", flat)
