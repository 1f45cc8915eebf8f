"""Run a graph of actions: look each up by its key, do what is not there, and never stop at the first failure.

The main thread decides; one thread per worker process waits for its answer. Actions that measure time run
alone. A failure is never cached, and fails only what needs it.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from types import MappingProxyType
from typing import Literal

from sprue.engine.action import Action, Output, graph
from sprue.engine.cache import Cache, Corrupt, Entry
from sprue.engine.job import ActionFailed, Job, Source, Stored
from sprue.engine.key import Parts, key, parts, path_digest
from sprue.engine.pool import Executor
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
    running: dict[Future[_Made], tuple[Action, Path]] = {}
    ended: SimpleQueue[Future[_Made]] = SimpleQueue()
    workspace = _Workspace(cache)

    def start(action: Action, named: Parts) -> None:
        listen(Event(action.name, "started"))
        folder = workspace.folder()
        future = executor.submit(_execute, build.job(action, named, folder), cache, pool, shared)
        running[future] = action, folder
        future.add_done_callback(ended.put)

    def fill() -> None:
        while build.queued and len(running) < pool.size:
            start(*build.queued.popleft())
        if build.alone and not running and not build.ready:
            start(*build.alone.popleft())

    def end(future: Future[_Made]) -> None:
        action, folder = running.pop(future)
        outcome = future.result().outcome(action)
        if outcome.entry is not None:
            workspace.give_back(folder)
            cache.remember(outcome.entry)
        for text in shared.notes() if shared is not None else ():
            listen(Event("remote cache", "note", text))
        build.finish(outcome)
        if fail_fast and outcome.failure is not None:
            build.stop(outcome.failure)

    cache.sweep()
    for name in build.left():
        listen(Event(name, "planned"))
    try:
        while build.unsettled():
            if build.ready:
                build.look_up(build.ready.popleft())
            fill()
            while running and (not build.ready or not ended.empty()):  # look-ups keep no worker waiting
                end(ended.get())
                fill()
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
        waits = {name: [n for n in action.needs() if n not in known] for name, action in todo.items()}
        blocked = {name: len(needed) for name, needed in waits.items()}
        self.ready = deque(a for a in todo.values() if not blocked[a.name])
        self.queued: deque[tuple[Action, Parts]] = deque()
        self.alone: deque[tuple[Action, Parts]] = deque()
        self._cache = cache
        self._listen = listen
        self._left = len(todo)
        self._blocked = blocked
        self._dependents: dict[str, list[Action]] = {name: [] for name in todo}
        for action in todo.values():
            for name in waits[action.name]:
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

    def look_up(self, action: Action) -> None:
        """Settle an action without running it, or put it where those wait that must run."""
        if (named := self._missing(action)) is not None:
            (self.alone if action.alone else self.queued).append((action, named))

    def _missing(self, action: Action) -> Parts | None:
        """The parts of the key of an action that must run; None if it is settled, or another makes it."""
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
        entry = self._find(action, ident)
        if entry is not None:
            self.finish(Outcome(action, "cached", entry))
            return None
        if ident in self._making:  # by an action of another name: look again when that has ended
            self._making[ident].append(action)
            return None
        self._making[ident] = []
        self._key_of[action.name] = ident
        return named

    def _find(self, action: Action, key: str) -> Entry | None:
        try:
            return self._cache.find(key)
        except Corrupt as error:
            self._listen(Event(action.name, "note", f"{error.what}: made again"))
            self._cache.discard(key)
            return None

    def job(self, action: Action, named: Parts, folder: Path) -> Job:
        inputs = {name: self._input(i) for name, i in action.inputs.items()}
        places = str(folder), str(self._cache.root), self._cache.began
        what = self._key_of[action.name], action.name, named, action.function, action.params
        return Job(*what, inputs, *places, action.timeout, action.alone)

    def _input(self, source: Path | Output) -> Source | Stored:
        if isinstance(source, Path):
            return Source(str(source.absolute()), self._digest(source))
        files = self._entry(source).files
        if source.path in files:
            name = PurePosixPath(source.path).name
            return Stored({name: files[source.path]}, name)
        return Stored(self._entry(source).below(source.path))

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
    """Folders for jobs; on disk only once something must run. That of a job that went well serves the next.

    Each time under another name: what an earlier action has left running does not find its output any more.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._open = ExitStack()
        self._root: Path | None = None
        self._count = 0
        self._spare: list[Path] = []

    def folder(self) -> Path:
        """A folder for the next job, which need not exist."""
        if self._root is None:
            self._root = self._open.enter_context(self._cache.workspace())
        self._count += 1
        folder = self._root / str(self._count)
        if self._spare:
            with suppress(OSError):
                self._spare.pop().rename(folder)
        return folder

    def give_back(self, folder: Path) -> None:
        self._spare.append(folder)

    def close(self) -> None:
        self._open.close()


@dataclass(frozen=True)
class _Made:
    """What came of a job. `fetched`: others had made it."""

    result: Entry | Failure
    fetched: bool = False

    def outcome(self, action: Action) -> Outcome:
        if isinstance(self.result, Failure):
            return Outcome(action, "failed", failure=self.result)
        return Outcome(action, "cached" if self.fetched else "done", self.result)


def _execute(job: Job, cache: Cache, pool: Executor, shared: Shared | None) -> _Made:
    """Fetch what others have made, or make it here and let others have it. In a thread."""
    fetched = None if shared is None else _fetch(job, cache, shared)
    if fetched is not None:
        return _Made(fetched, fetched=True)
    try:
        made = pool.run(job)
    except ActionFailed as error:
        kept = cache.keep_log(job.name, job.log)
        shutil.rmtree(job.folder, ignore_errors=True)
        words = error.what, error.where, error.remedy, error.bug
        return _Made(Failure(job.name, *words, log=kept, refused=error.refused))
    cache.drop_log(job.name)
    if shared is not None:
        shared.offer(made)
    return _Made(made)


def _fetch(job: Job, cache: Cache, shared: Shared) -> Entry | None:
    """An entry made elsewhere; None if there is none, or if it did not survive being written here."""
    made = Path(job.folder, "fetched")
    try:
        made.mkdir(parents=True)
        found = shared.fetch(job.key, job.parts, made)
        if found is None:
            return None
        entry = cache.add(job.key, job.name, job.parts, made, found.seconds)
        if entry.files == found.files:
            return entry
        cache.discard(entry.key)
    except (OSError, SprueError):
        pass  # if the disk is full, making it here says so
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return None
