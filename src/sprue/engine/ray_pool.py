"""An executor on a Ray cluster: the same actions and the same worker processes, on other machines.

Ray places, moves and retries; there is no scheduler here. Files travel by content through Ray's object
store, so the nodes share no file system. A killed node loses nothing but time: Ray runs its tasks again
elsewhere. An action that measures time runs on this machine, because its key names this machine.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sprue.engine.cache import Entry
from sprue.engine.job import ActionFailed, Job, Request, failing, lay_out, take_in
from sprue.engine.pool import Pool
from sprue.engine.ray_task import (
    Answer,
    Facts,
    Task,
    Tree,
    differences,
    perform,
    read_tree,
    unlike,
    write_files,
)
from sprue.errors import SprueError

RETRIES = 3
"""How often Ray runs a task again whose node or process was lost. An action that fails is an answer."""
SHELF = 1 << 30
"""Bytes of inputs that are kept in the object store for the next action that reads them."""
STARTING = 120.0
"""Seconds that a node may take to say what it is: it starts a Python process and imports sprue for it."""
DESERTED = 60.0
"""Seconds without any node to run on, after which waiting is given up."""
LOOK = 0.5
"""Seconds after which a task without an answer is looked after."""
ASKED, FORCED = 0.8, 0.5
"""Seconds that tasks have to end when they are asked to, and when they are killed."""


class RayPool:
    """A pool with as many slots as the cluster has cores (or `jobs`, if that is less).

    `facts` says what must be the same on all machines; it is called here and on every node, and must be
    importable there. Raises SprueError when Ray is not installed, when there is no cluster at `address`
    ("auto" or "host:port"), and when a node is not like this machine. One at a time in a process.
    """

    def __init__(self, address: str, *, facts: Facts, threads: int = 1, jobs: int | None = None) -> None:
        self._ray = _connect(address)
        try:
            self._facts, self._expected = facts, dict(facts())
            _check_nodes(self._ray, facts, self._expected)
            self.size = _slots(self._ray, threads, jobs)
            self._perform = self._ray.remote(num_cpus=threads, max_retries=RETRIES)(perform)
        except BaseException:
            self._ray.shutdown()
            raise
        self._threads = threads
        self._here = Pool(1, threads)
        self._shelf = _Shelf(self._ray.put, SHELF)
        self._running: set[Any] = set()
        self._changed = threading.Condition()
        self._closed = False

    def run(self, job: Job) -> Entry:
        """Do a job. Raises ActionFailed. Called from several threads at once."""
        if job.alone:
            return self._here.run(job)
        cache = job.open_cache()
        with failing():
            request = lay_out(job, cache)
        answer = self._ask(request, job.timeout)
        with failing():
            if answer.failure is not None:
                job.log.write_bytes(answer.log)
                raise answer.failure
            write_files(answer.files, Path(request.out))
            return take_in(job, cache, answer.seconds)

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what runs, first by asking, so that nothing is left on nodes, then by force; disconnect."""
        self._here.close()
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for force, seconds in ((False, ASKED), (True, FORCED)):
                for task in self._running:
                    self._ray.cancel(task, force=force)
                if self._changed.wait_for(lambda: not self._running, timeout=seconds):
                    break
        self._ray.shutdown()

    def _ask(self, request: Request, timeout: float) -> Answer:
        task = Task(
            request.function,
            tuple(request.inputs),
            request.params,
            timeout,
            self._threads,
            self._facts,
            self._expected,
        )
        trees = [read_tree(Path(path)) for path in request.inputs.values()]
        with self._changed:
            if self._closed:
                raise ActionFailed("the build was stopped")
            running = self._perform.remote(task, *(self._shelf.put(tree) for tree in trees))
            self._running.add(running)
        try:
            return self._wait(running)
        finally:
            with self._changed:
                self._running.discard(running)
                self._changed.notify_all()

    def _wait(self, task: Any) -> Answer:
        try:
            self._look_after(task)
            answer: Answer = self._ray.get(task)
        except ActionFailed:
            raise
        except Exception as error:
            raise self._explained(error) from error
        return answer

    def _look_after(self, task: Any) -> None:
        """Return when there is an answer. Raises ActionFailed when no node is left that could give one."""
        seen = time.monotonic()
        while not self._ray.wait([task], timeout=LOOK)[0]:
            if self._ray.cluster_resources().get("CPU", 0) >= self._threads:
                seen = time.monotonic()
            elif time.monotonic() - seen > DESERTED:
                self._ray.cancel(task)
                raise ActionFailed("no node is left in the Ray cluster", remedy="add a node, and build again")

    def _explained(self, error: Exception) -> ActionFailed:
        """What it means for an action that Ray raised `error` instead of giving its answer."""
        errors = self._ray.exceptions
        if self._closed or isinstance(error, errors.TaskCancelledError):
            return ActionFailed("the build was stopped")
        if isinstance(error, errors.RayTaskError):
            return ActionFailed(f"it cannot run there: {_first_line(error)}", bug=str(error))
        return ActionFailed(
            f"the cluster lost it, and ran it {RETRIES} times more in vain: {_first_line(error)}",
            remedy="see the logs of Ray on its nodes",
        )


class _Shelf:
    """Contents in Ray's object store, each once. Beyond `limit` bytes what was longest unused is let go.

    Ray keeps an object for as long as a reference is held or a task needs it.
    """

    def __init__(self, put: Callable[[Tree], Any], limit: int) -> None:
        self._put = put
        self._limit = limit
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._total = 0

    def put(self, tree: Tree) -> Any:
        """A reference to the tree's content."""
        name, size = _fingerprint(tree), sum(map(len, tree.files.values()))
        if name not in self._held:
            self._held[name] = self._put(tree), size
            self._total += size
        self._held.move_to_end(name)
        reference = self._held[name][0]
        while self._total > self._limit:
            _, (_, freed) = self._held.popitem(last=False)
            self._total -= freed
        return reference


def _fingerprint(tree: Tree) -> str:
    seen = hashlib.sha256(f"{tree.name}\0".encode())
    for name, data in tree.files.items():
        seen.update(f"{name}\0{len(data)}\0".encode() + hashlib.sha256(data).digest())
    return seen.hexdigest()


def _connect(address: str) -> Any:
    """The module `ray`, connected to the cluster."""
    if "://" in address:
        raise SprueError(
            f"'{address}' is no address of a cluster that this machine belongs to",
            remedy="let this machine join (ray start --address=host:port --num-cpus=0), and name host:port",
        )
    # Read when ray is imported. Ray's defaults are to retry for ever a task that takes all memory, to look
    # for a cluster that is gone for a quarter of an hour, and to start another when called after the end.
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    _refuse_silent(address)
    try:
        import ray
    except ImportError as error:
        raise SprueError("--executor ray needs Ray", remedy="pip install 'sprue[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, error) from error
    return ray


def _refuse_silent(address: str) -> None:
    """Ray itself takes long to notice that nobody listens there."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SprueError(f"'{address}' is no address of a Ray cluster", remedy="write auto, or host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> SprueError:
    return SprueError(
        f"no Ray cluster to build on: {_first_line(error)}",
        where=address,
        remedy="start one with: ray start --head, and let other machines join it",
    )


def _slots(ray: Any, threads: int, jobs: int | None) -> int:
    found = sum(int(n["Resources"]["CPU"]) // threads for n in _nodes(ray).values())
    if not found:
        raise SprueError(
            "no node of the Ray cluster has a core for a build",
            remedy="let machines join it: ray start --address=host:port",
        )
    return min(found, jobs or found)


def _nodes(ray: Any) -> dict[str, Mapping[str, Any]]:
    """The nodes that live and may run something, by id."""
    return {n["NodeID"]: n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0)}


def _check_nodes(ray: Any, facts: Facts, expected: Mapping[str, str]) -> None:
    """Ask every node that may run something what it is. Raises SprueError, which names what differs."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(facts)
    asked = {}
    for node in _nodes(ray).values():
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[ask.options(scheduling_strategy=there).remote()] = node
    ray.wait(list(asked), num_returns=max(1, len(asked)), timeout=STARTING)
    wrong = []
    for task, node in asked.items():
        try:
            found = differences(expected, ray.get(task, timeout=0))
        except ray.exceptions.GetTimeoutError:
            ray.cancel(task, force=True)
            trouble = f"{_name(node)} did not answer within {STARTING:g} s"
        except ray.exceptions.RayError as error:
            trouble = f"{_name(node)} cannot run sprue: {_first_line(error)}"
        else:
            difference = unlike(_name(node), found)
            trouble = f"{difference.where}: {difference.what}" if found else ""
        if trouble and node["NodeID"] in _nodes(ray):  # else it died meanwhile, and is no matter
            wrong.append(trouble)
    if wrong:
        raise SprueError("\n  ".join(wrong), remedy="install the same there, or take it out of the cluster")


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _first_line(error: BaseException) -> str:
    """The line of an exception that says what happened: of a remote traceback, the last one."""
    lines: Sequence[str] = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    remote = lines[0].startswith("\x1b[36mray::") or lines[0].startswith("ray::")
    return (lines[-1] if remote else lines[0])[:500]
