"""What counts as changed since a revision: asked of a real git."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.ci.changes import Changes, changes_since, head
from sprue.errors import SprueError

Git = Callable[..., str]


def test_committed_uncommitted_added_and_removed_files_are_changes(project: Path, git: Git) -> None:
    first = git("rev-parse", "HEAD")
    (project / "recipes" / "tiny.toml").write_text('model = "tiny"\n[target.null]\n')
    git("commit", "-q", "-a", "-m", "second")
    (project / "models" / "tiny" / "model.toml").write_text('source = "tiny.onnx"\n')
    (project / "models" / "tiny" / "neü.py").write_text("")
    (project / "models" / "tiny" / "calibration.npz").unlink()
    found = changes_since(project, first)
    assert found.root == project.resolve()
    assert found.paths == {
        "recipes/tiny.toml",
        "models/tiny/model.toml",
        "models/tiny/neü.py",
        "models/tiny/calibration.npz",
    }
    assert changes_since(project / "models", "HEAD").paths == found.paths - {"recipes/tiny.toml"}


def test_nothing_is_changed_since_now_and_ignored_files_are_no_changes(project: Path, git: Git) -> None:
    (project / ".gitignore").write_text("bundles/\n")
    git("add", "--all")
    git("commit", "-q", "-m", "ignore")
    (project / "bundles").mkdir()
    (project / "bundles" / "one").write_text("")
    assert changes_since(project, "HEAD").paths == frozenset()


def test_a_renamed_file_is_a_change_of_both_names(project: Path, git: Git) -> None:
    git("mv", "models/tiny/tiny.onnx", "models/tiny/other.onnx")
    assert changes_since(project, "HEAD").paths == {"models/tiny/tiny.onnx", "models/tiny/other.onnx"}


@pytest.mark.parametrize("revision", ["v9", "--help", "0" * 40, "", "HEAD:recipes"])
def test_an_unknown_revision_is_refused_with_what_to_do(project: Path, git: Git, revision: str) -> None:
    with pytest.raises(SprueError, match="git knows no revision") as raised:
        changes_since(project, revision)
    assert "fetch-depth" in raised.value.remedy


def test_a_folder_that_is_no_checkout_is_refused(project: Path) -> None:
    with pytest.raises(SprueError, match="not in a git checkout"):
        changes_since(project, "HEAD")
    assert head(project) is None


def test_head_is_the_commit_that_is_checked_out(project: Path, git: Git) -> None:
    assert head(project / "recipes") == git("rev-parse", "HEAD")


def test_a_folder_is_changed_by_what_lies_in_it_and_by_a_submodule_above(tmp_path: Path) -> None:
    changes = Changes(tmp_path.resolve(), frozenset({"models/a/train.py", "models/ab.py", "vendored"}))
    assert changes.of(tmp_path / "models" / "a") == ("models/a/train.py",)
    assert changes.of(tmp_path / "vendored" / "recipes" / "x.toml") == ("vendored",)
    assert changes.of(tmp_path / "models", "*.py") == ("models/ab.py",)
    assert changes.of(tmp_path, "*") == ("vendored",)
    assert len(changes.of(tmp_path)) == 3
    assert changes.of(tmp_path.parent / "elsewhere") == ()
