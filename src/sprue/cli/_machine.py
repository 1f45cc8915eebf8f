"""`--for-this-machine`, which `pull` and `bundle install` share: the artifact that suits a machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from sprue.bundle.manifest import Manifest
    from sprue.bundle.select import Selection

Result = TypeVar("Result")


@dataclass(frozen=True)
class Wanted:
    """`machine`: a file that describes one; None: this one. `family` "": any."""

    asked: bool
    machine: Path | None
    family: str

    def select(self, manifest: Manifest) -> Selection | None:
        """None if nobody asked. Raises CheckError with every reason when nothing suits the machine."""
        if not self.asked:
            return None
        from sprue.bundle.select import machine_for, read_machine, select

        there = machine_for(manifest.targets) if self.machine is None else read_machine(self.machine)
        found = select(manifest.targets, there, self.family)
        _ = found.best
        return found


def chooses(run: Callable[..., Result]) -> Callable[..., Result]:
    """Adds --for-this-machine, --machine and --family to a command, which gets them as one `wanted`."""

    @click.option("--for-this-machine", "here", is_flag=True, help="The target that suits this machine best.")
    @click.option(
        "--machine",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Or another one, as `python3 load.py --machine` describes it.",
    )
    @click.option("--family", default="", help="Choose among the targets of this family only.")
    @functools.wraps(run)
    def with_wanted(*args: Any, here: bool, machine: Path | None, family: str, **others: Any) -> Result:
        asked = here or machine is not None
        if family and not asked:
            raise click.UsageError("--family needs --for-this-machine or --machine")
        return run(*args, wanted=Wanted(asked, machine, family), **others)

    return with_wanted


def say(found: Selection) -> None:
    """On standard error: what was chosen, and why nothing else was."""
    best = found.best
    click.echo(f"{best.id} suits the machine best ({best.variant}, {best.state})", err=True)
    for name, reasons in found.refused.items():
        click.echo(f"  not {name}: {'; '.join(reasons)}", err=True)
