"""The Ray executor on a real cluster: several node processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.job import ActionFailed, Job
from sprue.engine.pool import Pool
from sprue.engine.ray_pool import RETRIES, RayPool
from sprue.engine.run import Outcome, run
from sprue.errors import SprueError
from tests.engine import ray_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a busy machine takes minutes to start a cluster, or to say that it cannot
    pytest.mark.skipif(find_spec("ray") is None, reason="the Ray executor needs the extra sprue[ray]"),
]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mark:
    """A start of an action: see ray_actions.py."""

    name: str
    pid: int
    node: str


@pytest.fixture(autouse=True, scope="module")
def actions_are_found() -> Iterator[None]:
    """By their module's name, as on the nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a head that runs nothing, and two nodes with one core each."""
    with ray_cluster.cluster({**os.environ, "PYTHONPATH": str(HERE)}) as found:
        yield found


@pytest.fixture
def cluster(address: str) -> Iterator[RayPool]:
    import ray_actions

    with RayPool(address, facts=ray_actions.facts) as pool:
        yield pool


@pytest.fixture
def marks(tmp_path: Path) -> Callable[[], list[Mark]]:
    folder = tmp_path / "marks"
    folder.mkdir()

    def read() -> list[Mark]:
        found = (p.name.split() for p in sorted(folder.iterdir()))
        return [Mark(name, int(pid), node) for name, pid, node in found]

    return read


def action(name: str, function: str, *, timeout: float = 60.0, alone: bool = False, **params: Any) -> Action:
    return Action(name, f"ray_actions:{function}", 1, {"name": name, **params}, timeout=timeout, alone=alone)


def mixing(tmp_path: Path, **params: Any) -> list[Action]:
    """Six actions that need source files, folders, and parts of what others make."""
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "a.bin").write_bytes(bytes(range(256)) * 4096)
    (source / "inner" / "empty").touch()
    first = [
        Action(
            f"first{i}",
            "ray_actions:mix",
            1,
            {"name": f"first{i}", "blocks": 1 << i, **params},
            {"folder": source, "file": source / "a.bin"},
        )
        for i in range(4)
    ]
    inputs: Mapping[str, Path | Output] = {a.name: Output(a.name) for a in first}
    inputs = {**inputs, "part": Output("first2", "deep"), "file": Output("first3", "bytes.bin")}
    names = ("second", "third")
    return [*first, *(Action(n, "ray_actions:mix", 1, {"name": n, "blocks": 3}, inputs) for n in names)]


def files(outcomes: Mapping[str, Outcome]) -> dict[str, Mapping[str, str]]:
    return {name: o.entry.files for name, o in outcomes.items() if o.entry is not None}


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether there is such a process, zombies apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_node(raylet: int) -> None:
    """End a node as a power cut would: Ray's daemon there first, then all that it has started."""
    doomed, parents = [raylet], {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    for pid in doomed:
        doomed += [child for child, parent in parents.items() if parent == pid]
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_cluster_makes_the_same_digests_as_this_machine(tmp_path: Path, cluster: RayPool) -> None:
    actions = mixing(tmp_path)
    there = run(actions, Cache(tmp_path / "there"), cluster)
    with Pool(2, 1) as pool:
        here = run(actions, Cache(tmp_path / "here"), pool)
    assert {o.state for o in there.values()} == {"done"}
    assert files(there) == files(here)
    assert {n: o.entry.key for n, o in there.items() if o.entry} == {
        n: o.entry.key for n, o in here.items() if o.entry
    }


def test_a_cluster_has_as_many_slots_as_cores(cluster: RayPool) -> None:
    assert cluster.size == 2


def test_only_what_measures_time_runs_on_this_machine(tmp_path: Path, cluster: RayPool) -> None:
    actions = [action("timed", "process", alone=True), action("plain", "process")]
    cache = Cache(tmp_path / "cache")
    outcomes = run(actions, cache, cluster)
    parents = {
        n: int(cache.read(o.entry.files["parent.txt"])) for n, o in outcomes.items() if o.entry is not None
    }
    assert parents["timed"] == os.getpid()
    assert parents["plain"] != os.getpid()


def test_an_action_that_crashes_fails_once_and_alone(
    tmp_path: Path, cluster: RayPool, marks: Callable[[], list[Mark]]
) -> None:
    actions = [action("crash", "abort", marks=str(tmp_path / "marks")), *mixing(tmp_path)]
    outcomes = run(actions, Cache(tmp_path / "cache"), cluster)
    assert [n for n, o in outcomes.items() if o.state != "done"] == ["crash"]
    failure = outcomes["crash"].failure
    assert failure is not None
    assert failure.what == "its process was ended by SIGABRT"
    assert failure.log is not None
    assert "these are my last words" in failure.log.read_text()
    assert len(marks()) == 1


def test_what_an_action_says_is_wrong_keeps_its_words(tmp_path: Path, cluster: RayPool) -> None:
    actions = [action(name, name) for name in ("user_error", "refusal", "bug", "link")]
    outcomes = run(actions, Cache(tmp_path / "cache"), cluster)
    wrong, refused, bug, link = (outcomes[a.name].failure for a in actions)
    assert wrong is not None
    assert refused is not None
    assert bug is not None
    assert link is not None
    assert (wrong.what, wrong.where, wrong.remedy) == ("the label is wrong", "data.csv:7", "write a number")
    assert not wrong.refused
    assert not wrong.bug
    assert (refused.what, refused.remedy, refused.refused) == ("it is too large", "prune it", True)
    assert bug.what == "ZeroDivisionError: by zero"
    assert "Traceback" in bug.bug
    assert "link, which is no plain file" in link.what


def test_an_action_that_takes_too_long_is_stopped_there(
    tmp_path: Path, cluster: RayPool, marks: Callable[[], list[Mark]]
) -> None:
    slow = action("slow", "sleep", timeout=1.0, marks=str(tmp_path / "marks"))
    outcomes = run([slow], Cache(tmp_path / "cache"), cluster)
    failure = outcomes["slow"].failure
    assert failure is not None
    assert failure.what == "it took longer than 1 s and was stopped"
    (mark,) = marks()
    until(lambda: not alive(mark.pid))
    assert {o.state for o in run(mixing(tmp_path), Cache(tmp_path / "cache"), cluster).values()} == {"done"}


def test_closing_stops_what_runs_on_the_nodes_and_their_children(
    tmp_path: Path, cluster: RayPool, marks: Callable[[], list[Mark]]
) -> None:
    params = {"name": "long", "marks": str(tmp_path / "marks")}
    places = str(tmp_path / "job"), str(tmp_path / "cache"), None
    job = Job("0" * 64, "long", {}, "ray_actions:sleep", params, {}, *places)
    ended: list[BaseException] = []

    def ask() -> None:
        try:
            cluster.run(job)
        except BaseException as error:
            ended.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: len(marks()) == 1)
    started = time.monotonic()
    cluster.close()
    asking.join(timeout=60.0)
    assert time.monotonic() - started < 60, "it waited for the action"
    assert [(type(e), str(e)) for e in ended] == [(ActionFailed, "the build was stopped")]
    (mark,) = marks()
    until(lambda: not alive(mark.pid))


def test_a_process_of_ray_that_is_lost_each_time_is_given_up(
    tmp_path: Path, cluster: RayPool, marks: Callable[[], list[Mark]]
) -> None:
    lost = action("lost", "kill_ray", marks=str(tmp_path / "marks"))
    outcomes = run([lost, *mixing(tmp_path)], Cache(tmp_path / "cache"), cluster)
    assert [n for n, o in outcomes.items() if o.state != "done"] == ["lost"]
    failure = outcomes["lost"].failure
    assert failure is not None
    assert failure.what.startswith(f"the cluster lost it, and ran it {RETRIES} times more in vain")
    assert len(marks()) == 1 + RETRIES


def test_what_is_too_large_to_travel_is_refused(
    tmp_path: Path, cluster: RayPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprue.engine.ray_task.LARGEST", 1000)
    outcomes = run(mixing(tmp_path), Cache(tmp_path / "cache"), cluster)
    failure = outcomes["first0"].failure
    assert failure is not None
    assert failure.what == "1,048,576 bytes are too many to travel between machines: at most 1,000"


def test_a_node_that_differs_is_refused_by_name(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray_actions

    monkeypatch.setenv("SPRUE_TEST_COLOUR", "blue")
    with pytest.raises(SprueError) as caught:
        RayPool(address, facts=ray_actions.facts)
    lines = caught.value.what.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert address.rpartition(":")[0] in line
        assert "not like the machine that builds: colour: none instead of blue" in line


def test_a_node_without_the_code_is_refused_by_name(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def facts(): return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]  # it was written just now

    with pytest.raises(SprueError, match=r"cannot run sprue: .*No module named 'only_here'"):
        RayPool(address, facts=only_here.facts)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1:1"])
def test_an_address_without_a_cluster_is_an_error_of_the_user(address: str) -> None:
    import ray_actions

    with pytest.raises(SprueError) as caught:
        RayPool(address, facts=ray_actions.facts)
    assert address in str(caught.value)
    assert "ray start" in caught.value.remedy


def test_a_build_survives_the_death_of_a_node(
    tmp_path: Path, cluster: RayPool, marks: Callable[[], list[Mark]]
) -> None:
    """The tests after this one have one node less."""
    actions = mixing(tmp_path, seconds=2.0, marks=str(tmp_path / "marks"))
    killed: list[str] = []

    def kill_one() -> None:
        until(lambda: len({m.node for m in marks()}) == 2)
        killed.append(marks()[0].node)
        kill_node(int(killed[0]))

    killing = threading.Thread(target=kill_one)
    killing.start()
    there = run(actions, Cache(tmp_path / "there"), cluster)
    killing.join()
    starts = marks()
    interrupted = {m.name for m in starts if m.node == killed[0]}
    with Pool(2, 1) as pool:
        here = run(actions, Cache(tmp_path / "here"), pool)
    assert {name: str(o.failure) for name, o in there.items() if o.failure is not None} == {}
    assert files(there) == files(here)
    again = {m.name for m in starts if m.node != killed[0]}
    assert len(interrupted) >= 1
    assert interrupted & again, "nothing that the killed node had begun was run again elsewhere"
    until(lambda: not any(alive(m.pid) for m in starts if m.node == killed[0]))


def test_a_cluster_that_has_lost_all_nodes_is_given_up(
    tmp_path: Path,
    cluster: RayPool,
    marks: Callable[[], list[Mark]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last test of this cluster."""
    monkeypatch.setattr("sprue.engine.ray_pool.DESERTED", 1.0)
    long = action("long", "sleep", timeout=600.0, marks=str(tmp_path / "marks"))
    outcomes: dict[str, Outcome] = {}
    building = threading.Thread(target=lambda: outcomes.update(run([long], Cache(tmp_path / "c"), cluster)))
    building.start()
    killed: set[str] = set()

    def kill_next() -> bool:
        """Kill the node of the newest start. Whether the build has ended."""
        for node in {m.node for m in marks()} - killed:
            killed.add(node)
            kill_node(int(node))
        return not building.is_alive()

    until(kill_next, 90.0)
    failure = outcomes["long"].failure
    assert failure is not None
    assert failure.what == "no node is left in the Ray cluster"
