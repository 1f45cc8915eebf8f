"""A workflow file run as its CI system would.

Each job runs in a checkout and with a cache of its own, its scripts as they stand in the file, in a shell of
their own. Only `uses:` steps and `pip install` are left out; what artifacts carry from job to job is copied.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sprue.ci.formats import Setting, workflow

Done = subprocess.CompletedProcess[str]


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@dataclass(frozen=True)
class Runner:
    """What all jobs share: the repository, and the environment of the machines. `work`: where they run."""

    repository: Path
    work: Path
    environment: Mapping[str, str]

    def checkout(self, name: str) -> Path:
        """A new clone for a job."""
        place = self.work / name.replace("/", "-").replace(" ", "-")
        subprocess.run(["git", "clone", "-q", self.repository, place], check=True)
        return place

    def shell(self, script: str, folder: Path, **variables: str) -> Done:
        """As GitHub and GitLab run scripts: a shell that stops at the first error."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = {"HOME": str(folder / ".home"), "PATH": path}
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env={**self.environment, **home, **variables},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


class GitHub:
    """The workflow of `sprue matrix --template github`. `values`: what its expressions are."""

    def __init__(self, runner: Runner, setting: Setting, key: str = "") -> None:
        self.runner = runner
        self.file = loaded(workflow("github", setting))
        self.records = runner.work / "records"
        self.matrix_file = runner.work / "matrix.json"
        self._values = {
            "github.event_name != 'pull_request'": "true",
            "github.event.pull_request.base.sha || github.event.before": "0" * 40,
            "github.event_name == 'workflow_dispatch'": "false",
            "secrets.SPRUE_SIGNING_KEY": key,
        }

    def matrix(self) -> list[dict[str, Any]]:
        """The entries of the job matrix, as `fromJSON` reads them."""
        place = self.runner.checkout("matrix")
        done = self._step("matrix", "Plan the jobs", place, {})
        assert done.returncode == 0, done.stderr
        shutil.copy(place / "matrix.json", self.matrix_file)
        outputs = dict(line.partition("=")[::2] for line in (place / "output").read_text().splitlines())
        include: list[dict[str, Any]] = json.loads(outputs["matrix"])["include"]
        assert outputs["jobs"] == str(len(include))
        return include

    def build(self, entry: Mapping[str, Any]) -> Done:
        """One job of the matrix; its record joins the others."""
        place = self.runner.checkout(f"build {entry['name']}")
        shutil.copy(self.matrix_file, place)
        known = {f"matrix.{key}": str(value) for key, value in entry.items()}
        done = self._step("build", "Build, verify, push by digest", place, known)
        if (place / "shards").is_dir():
            shutil.copytree(place / "shards", self.records, dirs_exist_ok=True)
        return done

    def seal(self, name: str = "seal") -> tuple[Done, Path]:
        """The last job, and its checkout."""
        place = self.runner.checkout(name)
        shutil.copy(self.matrix_file, place)
        shutil.copytree(self.records, place / "shards")
        return self._step("seal", "Seal", place, {}), place

    def _step(self, job: str, name: str, place: Path, values: Mapping[str, str]) -> Done:
        made = self.file["jobs"][job]
        step = next(s for s in made["steps"] if s.get("name") == name)
        variables = {**self.file["env"], **made.get("env", {}), **step.get("env", {})}
        known = {**self._values, **values}
        said = {key: self._value(str(text), known) for key, text in variables.items()}
        files = {"GITHUB_OUTPUT": str(place / "output"), "GITHUB_STEP_SUMMARY": str(place / "summary.md")}
        return self.runner.shell(step["run"], place, **said, **files, RUNNER_TEMP=str(place))

    def _value(self, text: str, known: Mapping[str, str]) -> str:
        if not text.startswith("${{"):
            return text
        return known[text.removeprefix("${{").removesuffix("}}").strip()]


class GitLab:
    """The pipelines of `sprue matrix --template gitlab` and `--format gitlab`."""

    def __init__(self, runner: Runner, setting: Setting) -> None:
        self.runner = runner
        self.file = loaded(workflow("gitlab", setting))
        self.place = runner.checkout("matrix")
        self.records = runner.work / "records"
        self._variables = {
            "SPRUE_PUSH": setting.push,
            "CI_COMMIT_BRANCH": "main",
            "CI_DEFAULT_BRANCH": "main",
            "CI_COMMIT_BEFORE_SHA": "0" * 40,
        }

    def matrix(self) -> dict[str, Any]:
        """The child pipeline."""
        done = self._run(self.file["matrix"]["script"], self.place)
        assert done.returncode == 0, done.stderr
        child: dict[str, Any] = loaded((self.place / "models.yml").read_text())
        return child

    def build(self, child: Mapping[str, Any], name: str) -> Done:
        place = self.runner.checkout(f"build {name}")
        shutil.copy(self.place / "matrix.json", place)
        script = child[child[name]["extends"]]["script"]
        done = self._run(script, place, **child[name]["variables"], SPRUE_CACHE=str(place / ".sprue/cache"))
        shutil.copytree(place / "shards", self.records, dirs_exist_ok=True)
        return done

    def seal(self, child: Mapping[str, Any]) -> tuple[Done, Path]:
        place = self.runner.checkout("seal")
        shutil.copy(self.place / "matrix.json", place)
        shutil.copytree(self.records, place / "shards")
        return self._run(child["seal"]["script"], place), place

    def _run(self, script: list[str], place: Path, **variables: str) -> Done:
        lines = [line for line in script if not line.startswith("pip install")]
        return self.runner.shell("\n".join(lines), place, **self._variables, **variables)
