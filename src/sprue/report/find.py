"""What a command line names: a recipe by its file, or a bundle by its folder or reference."""

from __future__ import annotations

from pathlib import Path

from sprue.bundle.reference import order
from sprue.bundle.store import Store, Stored
from sprue.report.data import Report
from sprue.report.read import from_bundle, from_last_build


def find_report(place: str, cache: Path, store: Store) -> Report:
    """The report of a recipe's last build, or of a bundle. Raises SprueError when there is none."""
    if place.endswith(".toml"):
        return from_last_build(cache, Path(place))
    return from_bundle(find_bundle(place, store))


def find_bundle(place: str, store: Store) -> Path:
    """The folder of a bundle. Raises SprueError when there is none."""
    return Path(place) if (Path(place) / "manifest.json").exists() else store.find(place).folder


def previous(report: Report, store: Store) -> Stored | None:
    """The latest bundle of the highest version below this one's; None if the store has none."""
    older = [
        s for s in store.named(report.name) if s.latest and order(s.manifest.version) < order(report.version)
    ]
    return older[-1] if older else None
