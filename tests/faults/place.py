"""A project with a cache and a store of its own, builds of it, and what must hold whatever befell them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sprue.bundle.manifest import OUTSIDE
from sprue.engine.cache import FORMAT, Cache, Corrupt

HERE = Path(__file__).parent
RECIPE = "recipes/tiny.toml"
STEPS = 'model = "tiny"\nversion = "1.2.3"\n[target.steps]\nprecision = "float32"\n'
TARGETS = os.pathsep.join(str(f) for f in (HERE.parent / "backends", HERE / "backends"))
KILLED = -9
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Place:
    """`project`, `cache` and `store` are folders; the last two need not exist."""

    project: Path
    cache: Path
    store: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *recipes: str) -> list[str]:
        return [sys.executable, "-m", "sprue", "build", *recipes, "--json", "--jobs", "1"]

    def variables(self, **more: str) -> dict[str, str]:
        base = {k: os.environ[k] for k in KEPT if k in os.environ}
        places = {"SPRUE_CACHE": str(self.cache), "SPRUE_STORE": str(self.store), "SPRUE_TARGETS": TARGETS}
        return {**base, "HOME": str(self.project), **places, **self.environment, **more}

    def start(self, *before: str, recipes: str = RECIPE, **environment: str) -> subprocess.Popen[str]:
        """`before`: a command that runs the build, such as strace. `recipes`: separated by spaces."""
        return subprocess.Popen(
            [*before, *self.command(*recipes.split())],
            cwd=self.project,
            env=self.variables(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def build(self, *before: str, **environment: str) -> Done:
        with self.start(*before, **environment) as run:
            out, err = run.communicate(timeout=240)
        return Done(run.args, run.returncode, out, err)

    def bundles(self) -> dict[str, str]:
        """The digests, by path, of all files in the store that an id covers, and of the latest id's name."""
        return {
            p.relative_to(self.store).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(self.store.rglob("*"))
            if p.is_file() and not hidden(p.relative_to(self.store)) and not timed(p.relative_to(self.store))
        }

    def leftovers(self) -> list[Path]:
        """What a build that ended well leaves of the work of those before it: nothing."""
        work = [p for n in ("work", "builds") for p in (self.cache / FORMAT / n).glob("build-*")]
        return work + list(self.store.glob(".staging-*"))

    def torn(self) -> list[str]:
        """Blobs that are not what their names say, and entries that are damaged or lack a blob."""
        found = [
            str(p)
            for p in (self.cache / FORMAT / "blobs").rglob("*")
            if p.is_file()
            and not p.name.startswith(".")
            and hashlib.sha256(p.read_bytes()).hexdigest() != p.name
        ]
        for path in (self.cache / FORMAT / "actions").rglob("*.json"):
            try:
                Cache(self.cache).find(path.stem)
            except Corrupt as error:
                found.append(str(error))
        return found


def hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def timed(path: Path) -> bool:
    """Whether a file of a bundle is none of what its id covers: times, and the sums, which cover them too."""
    return "/".join(path.parts[2:]) in OUTSIDE


def wrong(place: Place, done: Done, expected: dict[str, str]) -> str:
    """What is wrong with how a disturbed build ended; "" if it made the right bytes or failed clearly."""
    said = done.stdout + done.stderr
    if "Traceback" in said or "bug in sprue" in said:
        return f"a traceback:\n{said}"
    if fault := spoilt(place, expected):
        return fault
    if done.returncode == 0:
        lacking = expected.keys() - place.bundles().keys()
        return f"exit code 0, but {lacking} were not made" if lacking else ""
    if done.returncode not in (1, 2):
        return f"exit code {done.returncode}:\n{said}"
    return "" if told(done) else f"exit code {done.returncode} without a reason:\n{said}"


def spoilt(place: Place, expected: dict[str, str]) -> str:
    """What is wrong with the store; "" if it holds nothing, or whole bundles of the right bytes."""
    found = place.bundles()
    if strange := [n for n, sha in found.items() if expected.get(n) != sha]:
        return f"wrong files in the store: {strange}"
    folders = [p for p in place.store.glob("*/*/") if not hidden(p.relative_to(place.store))]
    lacking = {n for n in expected if n.count("/") > 1} - found.keys() if folders else set()
    return f"a bundle that is not whole: it lacks {lacking}" if lacking else ""


def told(done: Done) -> bool:
    """Whether a failed build says why: an error, or a variant's reason."""
    if "error: " in done.stderr:
        return True
    try:
        targets = json.loads(done.stdout)["targets"]
    except (ValueError, KeyError):
        return False
    return any(v["reason"] for t in targets for v in t["variants"])


def unhealed(place: Place, expected: dict[str, str]) -> str:
    """What is wrong with an undisturbed build after a disturbed one; "" if all is as if nothing had been."""
    done = place.build()
    if done.returncode != 0:
        return f"the next build failed with {done.returncode}:\n{done.stdout}{done.stderr}"
    if said := wrong(place, done, expected):
        return f"the next build: {said}"
    if torn := place.torn():
        return f"the cache is torn: {torn}"
    return f"left over: {left}" if (left := place.leftovers()) else ""


def fresh(origin: Place, folder: Path, *, cache: str) -> Place:
    """A copy of a built project without its bundle.

    `cache`: "none"; "empty", but there; "unmeasured", as a build has left it that was stopped
    before it timed anything; "whole", with all but the settled answer.
    """
    made = Place(folder / "project", folder / "cache", folder / "store", origin.environment)
    shutil.copytree(origin.project, made.project)
    if cache == "none":
        return made
    (made.cache / FORMAT).mkdir(parents=True)
    if cache != "empty":
        for name in ("blobs", "actions"):
            shutil.copytree(origin.cache / FORMAT / name, made.cache / FORMAT / name)
        shutil.copy2(origin.cache / FORMAT / "last", made.cache / FORMAT)
    if cache == "unmeasured":
        for path in (made.cache / FORMAT / "actions").rglob("*.json"):
            if json.loads(path.read_bytes())["entry"]["name"].endswith(("/measure", "/parity")):
                path.unlink()
    return made
