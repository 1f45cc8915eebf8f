"""A short run of the fuzzer, the same each time; `python tests/fuzz/run.py` is for long ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from properties import PROPERTIES  # noqa: E402  # run.py imports it so, without the tests' packages

SEEDS = [(name, path) for name in PROPERTIES for path in sorted((HERE / "seeds" / name).iterdir())]
RUNS = {"manifest": 20_000, "archive": 1_000, "envelope": 20_000}


@pytest.mark.parametrize(("name", "path"), SEEDS, ids=[f"{n}-{p.name}" for n, p in SEEDS])
def test_every_kept_seed_is_accepted_or_refused_as_its_name_says(name: str, path: Path) -> None:
    assert PROPERTIES[name](path.read_bytes()) is path.name.startswith("good")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_nothing_that_a_fuzzer_makes_breaks_a_reader(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed")
    command = [sys.executable, str(HERE / "run.py"), name, "--seed=7", f"--runs={RUNS[name]}"]
    done = subprocess.run(
        [*command, f"--out={tmp_path}"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (count,) = re.findall(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert int(count) >= RUNS[name]
    assert list(tmp_path.iterdir()) == []
    print(f"{count} inputs for '{name}', none broke it")
