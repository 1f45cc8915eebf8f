"""Run a graph of actions: look each up by its key, do what is not there, and never stop at the first failure.

The main thread decides and talks to the cache; one thread per worker process waits for its answer. Actions
that measure time run alone. A failure is never cached, and fails only what needs it.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from sprue.engine.action import Action, Output, graph
from sprue.engine.cache import Cache, Corrupt, Entry
from sprue.engine.key import Parts, key, parts, path_digest, source_files
from sprue.engine.pool import ActionFailed, Executor, Request
from sprue.engine.shared import Shared
from sprue.errors import SprueError

State = Literal["cached", "done", "failed", "skipped"]


@dataclass(frozen=True)
class Failure:
    """Why an action failed. `log` is the file that holds what it printed; `refused`: its answer is no."""

    action: str
    what: str
    where: str = ""
    remedy: str = ""
    bug: str = ""
    log: Path | None = None
    refused: bool = False

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.remedy}" if self.remedy else ""
        log = f"\n  log: {self.log}" if self.log else ""
        return f"{place}{self.what}{advice}{log}"


@dataclass(frozen=True)
class Outcome:
    """How an action ended: with an `entry`, or with the `failure` of itself or of one that it needs."""

    action: Action
    state: State
    entry: Entry | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Event:
    """For progress: "planned", "started", a warning in `text` ("note"), or how the action ended."""

    action: str
    state: Literal["planned", "started", "note", "cached", "done", "failed", "skipped"]
    text: str = ""
    seconds: float = 0.0


Listener = Callable[[Event], None]


def run(
    actions: Iterable[Action],
    cache: Cache,
    pool: Executor,
    listen: Listener = lambda _: None,
    known: Mapping[str, Outcome] = MappingProxyType({}),
    *,
    fail_fast: bool = False,
    shared: Shared | None = None,
) -> dict[str, Outcome]:
    """Run all actions; the outcome of each by name, those `known` from an earlier run among them.

    `fail_fast`: once an action has failed, no other is started. An interrupt closes the pool, which kills its
    workers, and is raised again. `shared`: where to look for what is not in the cache, and to give what is
    made here. Raises SprueError when the cache cannot be written.
    """
    with cache.in_use():
        return _run(graph(actions, known), cache, pool, listen, known, fail_fast, shared)


def _run(
    todo: dict[str, Action],
    cache: Cache,
    pool: Executor,
    listen: Listener,
    known: Mapping[str, Outcome],
    fail_fast: bool,
    shared: Shared | None,
) -> dict[str, Outcome]:
    build = _Build(todo, cache, listen, known)
    executor = ThreadPoolExecutor(max_workers=pool.size)
    running: dict[Future[Outcome], Action] = {}
    workspace = _Workspace(cache)

    def start(action: Action, named: Parts) -> None:
        listen(Event(action.name, "started"))
        job = _Job(action, named, build.input_paths(action), workspace.folder())
        running[executor.submit(_execute, job, cache, pool, shared)] = action

    def fill() -> None:
        while build.queued and len(running) < pool.size:
            start(*build.queued.popleft())

    cache.sweep()
    for name in build.left():
        listen(Event(name, "planned"))
    try:
        while build.unsettled():
            while build.ready:
                action = build.ready.popleft()
                if (named := build.missing(action)) is None:
                    continue
                (build.alone if action.alone else build.queued).append((action, named))
                fill()
            fill()
            if not running and build.alone:
                start(*build.alone.popleft())
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                running.pop(future)
                outcome = future.result()
                for text in shared.notes() if shared is not None else ():
                    listen(Event("remote cache", "note", text))
                build.finish(outcome)
                if fail_fast and outcome.failure is not None:
                    build.stop(outcome.failure)
    except BaseException:
        pool.close()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        workspace.close()
    return build.outcomes


class _Build:
    """What is left to do, and what came of the rest. Touched by the main thread only."""

    def __init__(
        self, todo: dict[str, Action], cache: Cache, listen: Listener, known: Mapping[str, Outcome]
    ) -> None:
        self.outcomes = dict(known)
        self.stopped: Failure | None = None
        blocked = {name: len(action.needs() - known.keys()) for name, action in todo.items()}
        self.ready = deque(a for a in todo.values() if not blocked[a.name])
        self.queued: deque[tuple[Action, Parts]] = deque()
        self.alone: deque[tuple[Action, Parts]] = deque()
        self._cache = cache
        self._listen = listen
        self._left = len(todo)
        self._blocked = blocked
        self._dependents: dict[str, list[Action]] = {name: [] for name in todo}
        for action in todo.values():
            for name in action.needs() - known.keys():
                self._dependents[name].append(action)
        self._digests: dict[Path, str] = {}
        self._making: dict[str, list[Action]] = {}
        self._key_of: dict[str, str] = {}

    def stop(self, failure: Failure) -> None:
        """Start nothing more: what has not begun is skipped for this failure."""
        self.stopped = failure
        for waiting in (self.queued, self.alone):
            self.ready.extend(action for action, _ in waiting)
            waiting.clear()

    def unsettled(self) -> int:
        return self._left

    def left(self) -> list[str]:
        return list(self._blocked)

    def finish(self, outcome: Outcome) -> None:
        self._left -= 1
        self.outcomes[outcome.action.name] = outcome
        text = outcome.failure.what if outcome.failure else ""
        self._listen(
            Event(outcome.action.name, outcome.state, text, outcome.entry.seconds if outcome.entry else 0.0)
        )
        self.ready.extend(self._making.pop(self._key_of.pop(outcome.action.name, ""), ()))
        for dependent in self._dependents[outcome.action.name]:
            self._blocked[dependent.name] -= 1
            if self._blocked[dependent.name] == 0:
                self.ready.append(dependent)

    def missing(self, action: Action) -> Parts | None:
        """The parts of the key of an action that must run; None if it is settled without running."""
        failures = (self.outcomes[n].failure for n in sorted(action.needs()))
        broken = next((f for f in failures if f is not None), self.stopped)
        if broken is not None:
            self.finish(Outcome(action, "skipped", failure=broken))
            return None
        try:
            named = parts(action, {name: self._digest(i) for name, i in action.inputs.items()})
        except SprueError as error:
            failure = Failure(action.name, error.what, error.where, error.remedy)
            self.finish(Outcome(action, "failed", failure=failure))
            return None
        ident = key(named)
        entry = self._look_up(action, ident)
        if entry is not None:
            self.finish(Outcome(action, "cached", entry))
            return None
        if ident in self._making:  # by an action of another name: look again when that has ended
            self._making[ident].append(action)
            return None
        self._making[ident] = []
        self._key_of[action.name] = ident
        return named

    def _look_up(self, action: Action, key: str) -> Entry | None:
        try:
            return self._cache.find(key)
        except Corrupt as error:
            self._listen(Event(action.name, "note", f"{error.what}: made again"))
            self._cache.discard(key)
            return None

    def input_paths(self, action: Action) -> dict[str, Path | tuple[Entry, str]]:
        """For each input the source path, or the entry and the path in it that hold it."""
        return {
            name: i if isinstance(i, Path) else (self._entry(i), i.path) for name, i in action.inputs.items()
        }

    def _digest(self, source: Path | Output) -> str:
        if isinstance(source, Output):
            return self._entry(source).digest_of(source.path)
        if source not in self._digests:
            self._digests[source] = path_digest(source)
        return self._digests[source]

    def _entry(self, output: Output) -> Entry:
        entry = self.outcomes[output.action].entry
        assert entry is not None, f"{output.action} failed"
        return entry


class _Workspace:
    """A folder for each action of this run; on disk only once something must run."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._open = ExitStack()
        self._root: Path | None = None
        self._count = 0

    def folder(self) -> Path:
        if self._root is None:
            self._root = self._open.enter_context(self._cache.workspace())
        self._count += 1
        return self._root / str(self._count)

    def close(self) -> None:
        self._open.close()


@dataclass(frozen=True)
class _Job:
    """An action to run in `folder`, with the parts of its key, and where its inputs are."""

    action: Action
    named: Parts
    inputs: Mapping[str, Path | tuple[Entry, str]]
    folder: Path


def _execute(job: _Job, cache: Cache, pool: Executor, shared: Shared | None) -> Outcome:
    """Fetch what others have made, or make it here and let others have it. In a thread."""
    fetched = None if shared is None else _fetch(job, cache, shared)
    if fetched is not None:
        return Outcome(job.action, "cached", fetched)
    made = _make(job, cache, pool)
    if isinstance(made, Failure):
        return Outcome(job.action, "failed", failure=made)
    if shared is not None:
        shared.offer(made)
    return Outcome(job.action, "done", made)


def _fetch(job: _Job, cache: Cache, shared: Shared) -> Entry | None:
    """An entry made elsewhere; None if there is none, or if it did not survive being written here."""
    made = job.folder / "fetched"
    try:
        made.mkdir(parents=True)
        found = shared.fetch(key(job.named), job.named, made)
        if found is None:
            return None
        entry = cache.add(key(job.named), job.action.name, job.named, made, found.seconds)
        if entry.files == found.files:
            return entry
        cache.discard(entry.key)
    except (OSError, SprueError):
        pass  # if the disk is full, making it here says so
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    return None


def _make(job: _Job, cache: Cache, pool: Executor) -> Entry | Failure:
    """Copy the inputs into the work folder, run the action there, take in what it made."""
    name, log = job.action.name, job.folder / "log"
    try:
        job.folder.mkdir()
        paths = {n: str(_lay_out(i, job.folder / "inputs" / n, cache)) for n, i in job.inputs.items()}
        _refuse_changed_sources(job, paths)
        made = job.folder / "out"
        made.mkdir()
        action = job.action
        request = Request(action.function, paths, action.params, str(made), str(log), action.alone)
        seconds = pool.run(request, job.action.timeout)
        entry = cache.add(key(job.named), name, job.named, made, seconds)
        cache.drop_log(name)
        return entry
    except ActionFailed as error:
        kept = cache.keep_log(name, log)
        return Failure(name, error.what, error.where, error.remedy, error.bug, kept, error.refused)
    except SprueError as error:
        return Failure(name, error.what, error.where, error.remedy, log=cache.keep_log(name, log))
    except OSError as error:
        return Failure(name, error.strerror or str(error), where=str(error.filename or cache.folder))
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)


def _lay_out(source: Path | tuple[Entry, str], place: Path, cache: Cache) -> Path:
    """A copy of an input, so that an action can spoil nothing: a folder at `place`, a file below it."""
    place.mkdir(parents=True)
    if isinstance(source, Path):
        if not source.is_dir():
            return shutil.copyfile(source, place / source.name)
        for name in source_files(source):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, place / name)
        return place
    entry, inner = source
    if inner in entry.files:
        cache.take_file(entry.files[inner], place / Path(inner).name)
        return place / Path(inner).name
    cache.take(entry.below(inner), place)
    return place


def _refuse_changed_sources(job: _Job, paths: Mapping[str, str]) -> None:
    """A source edited between hashing and copying would be cached under the wrong key."""
    for name, source in job.inputs.items():
        if isinstance(source, Path) and path_digest(Path(paths[name])) != job.named[f"input:{name}"]:
            raise ActionFailed(
                "it changed while the build ran", where=str(source), remedy="run the build again"
            )
