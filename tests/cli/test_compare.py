"""`sprue compare` of two recipes for one model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_two_recipes_are_compared_as_text_json_and_page(project: Path, sprue: Run) -> None:
    recipes = project / "recipes"
    loose = '[accept]\nmax_drop = 1\natol = 1000\n[target.null]\nbackend = "worse"\n'
    (recipes / "worse.toml").write_text(f'model = "tiny"\n{loose}')
    for name in ("tiny", "worse"):
        assert sprue(project, "build", recipes / f"{name}.toml").returncode == 0
    said = sprue(project, "compare", "recipes/tiny.toml", "recipes/worse.toml", "-o", "both.html")
    assert said.returncode == 0, said.stderr
    assert "null-float32  worse-float32" in said.stdout
    assert "-0.0500 (95 %: " in said.stdout
    assert (project / "both.html").read_text().startswith("<!doctype html>")

    found = json.loads(sprue(project, "compare", "recipes/tiny.toml", "worse@0.1.0", "--json").stdout)
    rows = {row["figure"]: row for row in found["rows"]}
    assert rows["metric"]["worse"] == pytest.approx(0.05)
    assert rows["metric"]["margin"] is None
    assert rows["latency"]["worse"] > 0

    other = project / "models" / "other"
    (project / "models" / "tiny").rename(other)
    with np.load(other / "evaluation.npz") as file:
        arrays = {name: file[name][:10] for name in file.files}
    np.savez(other / "evaluation.npz", allow_pickle=False, **arrays)
    (recipes / "other.toml").write_text('model = "other"\n[target.null]\n')
    assert sprue(project, "build", recipes / "other.toml").returncode == 0
    refused = sprue(project, "compare", "tiny", "recipes/other.toml", "-o", "refused.html")
    assert refused.returncode == 2
    assert "tiny and other cannot be compared: the evaluation data differ" in refused.stderr
    assert not (project / "refused.html").exists()
