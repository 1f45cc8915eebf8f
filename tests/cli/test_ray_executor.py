"""`sprue build --executor ray`, whole, on a cluster on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engine import ray_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a busy machine takes minutes to start a cluster, or to say that it cannot
    pytest.mark.skipif(find_spec("ray") is None, reason="the Ray executor needs the extra sprue[ray]"),
]

ROOT = Path(__file__).resolve().parents[2]
ONE = ("--target", "server-cpu", "--variant", "onnxruntime-int8-static")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a head that runs nothing, and two nodes with one core each, and no backends but sprue's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SPRUE_")}
    with ray_cluster.cluster(kept) as found:
        yield found


@pytest.fixture
def build(sprue: Run, tmp_path: Path) -> Run:
    """`build(name, *arguments, **environment)`: with a cache and a store of that name.

    It builds a copy: in a checkout the bundle's id changes with each commit.
    """
    for folder in ("recipes", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        own = ("--cache", f"{name}/cache", "--store", f"{name}/store")
        plain = {"SPRUE_TARGETS": "", "SOURCE_DATE_EPOCH": "1700000000", **environment}
        return sprue(tmp_path, "build", "recipes/digits.toml", *own, *arguments, **plain)

    return run


def test_a_cluster_freezes_the_same_bundle_as_this_machine(build: Run, address: str) -> None:
    here = build("here", *ONE, "--json")
    there = build("there", *ONE, "--json", "--executor", "ray", "--ray-address", address)
    assert here.returncode == 0, here.stderr
    assert there.returncode == 0, there.stderr
    one, other = json.loads(here.stdout), json.loads(there.stdout)
    assert set(one["actions"].values()) == set(other["actions"].values()) == {"done"}
    assert one["actions"].keys() == other["actions"].keys()
    assert one["bundle"]["id"] == other["bundle"]["id"]


def test_what_a_cluster_made_is_cached_for_this_machine(build: Run, address: str) -> None:
    there = build("shared", *ONE, "--json", "--no-freeze", "--executor", "ray", "--ray-address", address)
    here = build("shared", *ONE, "--json")
    assert (there.returncode, here.returncode) == (0, 0)
    assert set(json.loads(here.stdout)["actions"].values()) == {"cached"}


def test_a_node_without_the_same_backends_is_refused(build: Run, address: str) -> None:
    own = str(ROOT / "tests" / "backends")
    done = build("refused", *ONE, "--executor", "ray", "--ray-address", address, SPRUE_TARGETS=own)
    assert done.returncode == 2
    assert "not like the machine that builds" in done.stderr
    assert "targets: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_needs_the_executor(build: Run) -> None:
    done = build("confused", "--ray-address", "auto")
    assert done.returncode == 2
    assert "--ray-address is for --executor ray" in done.stderr


def test_an_interrupt_stops_the_build_and_the_next_one_goes_on(
    build: Run, address: str, tmp_path: Path
) -> None:
    arguments = ("--executor", "ray", "--ray-address", address)
    own = ("--cache", "stopped/cache", "--store", "stopped/store")
    with subprocess.Popen(
        [sys.executable, "-m", "sprue", "build", "recipes/digits.toml", *own, *arguments],
        cwd=tmp_path,
        env={**os.environ, "SPRUE_TARGETS": "", "SOURCE_DATE_EPOCH": "1700000000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("done"))
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.communicate(timeout=60)
    print(f"\nstopped after {time.monotonic() - started:.2f} s (aim: 2)")
    assert process.returncode == 130
    after = build("stopped", *ONE, "--json", *arguments)
    assert after.returncode == 0
    assert json.loads(after.stdout)["actions"]["digits/source"] == "cached"
