"""The commands of `sprue bundle` that compare, move, tag and remove, as people and machines use them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sprue.bundle.check import check_bundle

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

RECIPE = "recipes/tiny.toml"


@pytest.fixture(scope="session")
def two(template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store holds tiny@1.0.0 and tiny@1.1.0, built by the null backend. Nobody changes it."""
    project = shutil.copytree(template, tmp_path_factory.mktemp("two") / "project")
    for version, threads in (("1.0.0", 1), ("1.1.0", 2)):
        text = f'model = "tiny"\nversion = "{version}"\n[target.null]\nthreads = {threads}\n'
        (project / RECIPE).write_text(text)
        done = sprue(project, "build", RECIPE)
        assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def place(two: Path, tmp_path: Path) -> Path:
    """A copy of the project, without the links between its bundles."""
    return shutil.copytree(two, tmp_path / "place")


@pytest.fixture
def ask(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """ask(*arguments): `sprue bundle ...` in this process and in `place`."""
    import sys

    from sprue.cli import main

    def run(*arguments: str | Path) -> Done:
        monkeypatch.chdir(place)
        monkeypatch.delenv("SPRUE_STORE", raising=False)
        monkeypatch.setattr(sys, "argv", ["sprue", "bundle", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return Done(arguments, int(left.value.code or 0), out, err)

    return run


def told(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_diff_says_what_changed_in_words_and_figures(ask: Run) -> None:
    done = ask("diff", "tiny@1.0.0", "tiny@1.1.0")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("- tiny@1.0.0#")
    assert lines[1].startswith("+ tiny@1.1.0#")
    assert "  version: 1.0.0 -> 1.1.0" in lines
    assert "  target.null.threads: 1 -> 2" in lines
    assert any(line.startswith("  latency: ") and line.endswith(("%)", "noise)")) for line in lines)
    assert ask("diff", "tiny@1.0.0", "tiny@1.0.0").stdout.splitlines()[2:] == ["no difference"]


def test_diff_in_json_has_both_ids_and_every_change(ask: Run) -> None:
    said = told(ask("diff", "tiny@1.0.0", "tiny@1.1.0", "--json"))
    assert [said[k]["version"] for k in ("before", "after")] == ["1.0.0", "1.1.0"]
    threads = {"part": "recipe", "what": "target.null.threads", "before": "1", "after": "2", "unit": ""}
    assert threads in said["changes"]


def test_export_and_import_move_a_bundle_to_another_store(ask: Run, place: Path) -> None:
    wrote = told(ask("export", "tiny@1.0.0", "a.tar", "--json"))
    first = (place / "a.tar").read_bytes()
    assert wrote["bytes"] == len(first)
    assert ask("export", "tiny@1.0.0", "a.tar").stdout.startswith("wrote tiny@1.0.0 to a.tar, ")
    assert (place / "a.tar").read_bytes() == first
    said = told(ask("import", "a.tar", "--store", "other", "--json", "--id", wrote["id"]))
    assert (said["reference"], said["id"], said["new"], said["latest"]) == (
        "tiny@1.0.0", wrote["id"], True, True,
    )  # fmt: skip
    assert check_bundle(place / said["folder"]).id == wrote["id"]
    assert ask("import", "a.tar", "--store", "other").stdout.startswith("already there: tiny@1.0.0\n")
    assert ask("verify", "tiny@1.0.0", "--store", "other").returncode == 0
    assert not list(place.glob(".*.part"))


def test_export_and_import_work_through_a_pipe(two: Path, sprue: Run, tmp_path: Path) -> None:
    import os
    import sys

    script = (
        f"{sys.executable} -m sprue bundle export tiny@1.1.0 - --store {two / 'bundles'}"
        f" | {sys.executable} -m sprue bundle import - --store store"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("imported tiny@1.1.0\n")


def test_a_folder_can_be_imported(ask: Run, place: Path) -> None:
    folder = next((place / "bundles" / "tiny").glob("1.0.0-*"))
    assert ask("import", folder, "--store", "other").stdout.startswith("imported tiny@1.0.0\n")


def test_a_damaged_bundle_leaves_the_archive_that_was_there(ask: Run, place: Path) -> None:
    (place / "a.tar").write_text("older")
    model = next((place / "bundles" / "tiny").glob("1.0.0-*")) / "model" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"x" * model.stat().st_size)
    done = ask("export", "tiny@1.0.0", "a.tar")
    assert done.returncode == 1
    assert "model/model.onnx is damaged" in done.stderr
    assert (place / "a.tar").read_text() == "older"
    assert not list(place.glob(".*.part"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["import", "absent.tar"], 2, "absent.tar: cannot read it: No such file"),
        (["import", RECIPE], 1, "it ends after"),
        (["import", "recipes"], 1, "not a bundle"),
        (["export", "tiny@9.9.9", "a.tar"], 2, "there is no bundle 'tiny@9.9.9'"),
        (["export", "tiny@1.0.0", "absent/a.tar"], 2, "absent/"),
        (["export", "tiny@1.0.0", "-", "--json"], 2, "cannot both go"),
        (["diff", "tiny@1.0.0", "tiny:prod"], 2, "there is no tag 'tiny:prod'"),
        (["tag"], 2, "name a bundle and a tag"),
        (["tag", "tiny@1.0.0"], 2, "name a bundle and a tag"),
        (["tag", "tiny@1.0.0", "1.0"], 2, "'1.0' cannot be a tag"),
        (["tag", "tiny@1.0.0", "Prod"], 2, "cannot be a tag"),
        (["tag", "tiny@1.2.0", "prod"], 2, "there is no bundle 'tiny@1.2.0'"),
        (["tag", "--history"], 2, "which tag?"),
        (["tag", "--history", "tiny"], 2, "which tag?"),
        (["tag", "--history", "tiny:prod"], 2, "there is no tag 'tiny:prod'"),
        (["tag", "--remove", "tiny:prod"], 2, "there is no tag 'tiny:prod'"),
        (["tag", "--list", "../x"], 2, "not the name of bundles"),
        (["tag", "--list", "--remove", "x"], 2, "exclude each other"),
        (["rollback", "tiny", "prod"], 2, "there is no tag 'tiny:prod'"),
        (["rollback", "../..", "prod"], 2, "not the name of bundles"),
        (["rm", "tiny@9.0.0"], 2, "there is no bundle"),
        (["rm"], 2, "Missing argument"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(
    ask: Run, arguments: list[str], code: int, words: str
) -> None:
    done = ask(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_tag_moves_is_listed_and_goes_back(ask: Run, place: Path) -> None:
    assert ask("tag", "--list").stdout.startswith("no tags; ")
    assert ask("tag", "tiny@1.0.0", "prod").stdout.startswith("tiny:prod means tiny@1.0.0#")
    assert told(ask("tag", "tiny@1.1.0", "prod", "--json"))["version"] == "1.1.0"
    assert told(ask("show", "tiny:prod", "--json"))["version"] == "1.1.0"
    assert [(t["tag"], t["version"]) for t in told(ask("tag", "--list", "--json"))] == [("prod", "1.1.0")]
    assert ask("rollback", "tiny", "prod").stdout.startswith("tiny:prod means tiny@1.0.0#")
    assert told(ask("show", "tiny:prod", "--json"))["version"] == "1.0.0"
    done = ask("rollback", "tiny:prod")
    assert (done.returncode, "it was moved once only" in done.stderr) == (2, True)
    history = told(ask("tag", "--history", "tiny:prod", "--json"))
    assert [(m["kind"], m["version"]) for m in history] == [
        ("move", "1.0.0"), ("move", "1.1.0"), ("rollback", "1.0.0"),
    ]  # fmt: skip
    assert len(ask("tag", "--history", "tiny:prod").stdout.splitlines()) == 5
    assert ask("tag", "--remove", "tiny:prod").stdout == "tiny:prod means nothing\n"
    assert ask("show", "tiny:prod").returncode == 2


def test_a_tag_is_not_moved_to_a_damaged_bundle(ask: Run, place: Path) -> None:
    ask("tag", "tiny@1.0.0", "prod")
    ask("tag", "tiny@1.1.0", "prod")
    model = next((place / "bundles" / "tiny").glob("1.0.0-*")) / "model" / "model.onnx"
    model.unlink()
    for arguments in (["rollback", "tiny", "prod"], ["tag", "tiny@1.0.0", "canary"]):
        done = ask(*arguments)
        assert (done.returncode, "model/model.onnx is missing" in done.stderr) == (1, True), done.stderr
    assert told(ask("show", "tiny:prod", "--json"))["version"] == "1.1.0"


def test_a_tag_whose_bundle_is_gone_says_so(ask: Run, place: Path) -> None:
    ask("tag", "tiny@1.0.0", "prod")
    shutil.rmtree(next((place / "bundles" / "tiny").glob("1.0.0-*")))
    done = ask("show", "tiny:prod")
    assert done.returncode == 1
    assert "'tiny:prod' means a bundle that is gone: 1.0.0#" in done.stderr


def test_rm_and_gc_free_what_nobody_else_holds(ask: Run, place: Path) -> None:
    ask("tag", "tiny@1.0.0", "prod")
    done = ask("rm", "tiny@1.0.0")
    assert done.returncode == 2
    assert "'tiny@1.0.0' is tagged prod" in done.stderr
    ask("tag", "--remove", "tiny:prod")
    assert ask("rm", "tiny@1.0.0").stdout.startswith("removed tiny@1.0.0#")
    assert ask("show", "tiny@1.0.0").returncode == 2
    would = told(ask("gc", "--dry-run", "--json"))
    assert told(ask("gc", "--json")) == would
    assert ask("gc").stdout == "removed 0 blobs, 0 B\n"
    assert ask("verify", "tiny@1.1.0").returncode == 0


def test_two_builds_share_their_files(two: Path) -> None:
    one, other = (next((two / "bundles" / "tiny").glob(f"{v}-*")) for v in ("1.0.0", "1.1.0"))
    for path in ("model/model.onnx", "data/evaluation.npz"):
        assert (one / path).samefile(other / path)


def test_verify_names_the_other_bundles_of_a_damaged_file(two: Path, sprue: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    subprocess.run(["cp", "-a", two / "bundles", store], check=True)  # keeps the links
    one, other = (next((store / "tiny").glob(f"{v}-*")) for v in ("1.0.0", "1.1.0"))
    (one / "model" / "model.onnx").chmod(0o644)
    (one / "model" / "model.onnx").write_bytes(b"damage")
    done = sprue(tmp_path, "bundle", "verify", "tiny@1.1.0", "--store", "store")
    assert done.returncode == 1
    assert f"the same damaged file is in tiny@1.0.0#{one.name[-12:]}" in done.stderr
    assert other.name.startswith("1.1.0")
