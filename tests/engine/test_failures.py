"""Whatever an action does, it fails alone, with a reason and a log; what does not need it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.job import ActionFailed, Request
from sprue.engine.pool import Pool
from sprue.engine.run import Event, Outcome, run

Make = Callable[..., Action]
Build = Callable[..., dict[str, Outcome]]
Read = Callable[[Outcome, str], str]


@pytest.fixture(autouse=True)
def nothing_left(cache: Cache) -> Iterator[None]:
    """No test of this file leaves a work folder."""
    yield
    work = cache.folder / "work"
    assert not work.exists() or list(work.iterdir()) == []


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that its new parent has not fetched yet has ended too."""
    for _ in range(3000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("how", "reason", "bug", "refused"),
    [
        ("sprue", "x.toml: the file is wrong\n  put it right", False, False),
        ("check", "too slow", False, True),
        ("exception", "KeyError: 'no such thing'", True, False),
        ("memory", "MemoryError: (no message)", True, False),
        ("abort", "its process was ended by SIGABRT", False, False),
        ("kill", "its process was ended by SIGKILL, perhaps for want of memory", False, False),
        ("exit", "its process ended with exit code 3", False, False),
        ("segfault", "its process was ended by SIGSEGV", False, False),
        ("hang", "it took longer than 1 s and was stopped\n  allow more with --timeout", False, False),
        ("stop", "it took longer than 1 s and was stopped\n  allow more with --timeout", False, False),
        ("fork-and-die", "its process was ended by SIGKILL, perhaps for want of memory", False, False),
        ("unserialisable", "\udcff is no character", False, False),
    ],
)
def test_every_kind_of_failure_fails_one_action(
    build: Build, make: Make, tmp_path: Path, how: str, reason: str, bug: bool, refused: bool
) -> None:
    ran = tmp_path / "ran"
    timeout = 1.0 if how in ("hang", "stop") else 60.0
    actions = [
        make("bad", "fail", params={"how": how, "ran": str(ran)}, timeout=timeout),
        make("needs it", inputs={"half": Output("bad", "half")}),
        make("needs that", inputs={"x": Output("needs it", "joined"), "y": Output("good", "joined")}),
        make("good"),
        make("after good", inputs={"good": Output("good", "joined")}),
    ]
    outcomes = build(*actions)
    assert {n: o.state for n, o in outcomes.items()} == {
        "bad": "failed",
        "needs it": "skipped",
        "needs that": "skipped",
        "good": "done",
        "after good": "done",
    }
    failure = outcomes["bad"].failure
    assert failure is not None
    assert str(failure).startswith(reason)
    assert (bool(failure.bug), failure.refused) == (bug, refused)
    assert failure.log is not None
    assert failure.log.name.startswith("bad-")
    assert failure.log.read_text().startswith("about to fail\n")
    assert ("Traceback" in failure.log.read_text()) == bug
    assert outcomes["needs that"].failure == outcomes["needs it"].failure == failure
    again = build(*actions)
    assert {n: o.state for n, o in again.items() if n.endswith("good")} == {
        "good": "cached",
        "after good": "cached",
    }
    assert again["bad"].state == "failed"
    assert ran.read_text() == "x\nx\n"


def test_a_success_after_a_failure_is_cached_and_the_log_is_gone(
    build: Build, make: Make, cache: Cache
) -> None:
    failed = build(make("a", "fail", params={"how": "kill"}))["a"].failure
    assert failed is not None
    assert failed.log is not None
    assert failed.log.is_file()
    assert build(make("a"))["a"].state == "done"
    assert not failed.log.exists()
    assert build(make("a"))["a"].state == "cached"


def test_an_old_log_is_not_shown_for_a_failure_that_printed_nothing(
    build: Build, make: Make, tmp_path: Path
) -> None:
    build(make("a", "fail", params={"how": "kill"}))
    outcomes = build(make("a", "odd", params={"what": "link"}))
    assert outcomes["a"].failure is not None
    assert outcomes["a"].failure.log is None


def test_names_that_are_long_or_alike_have_logs_of_their_own(build: Build, make: Make) -> None:
    names = ["a/b", "a-b", "x" * 300, "x" * 299]
    outcomes = build(*(make(n, "fail", params={"how": "sprue", "n": n}) for n in names))
    logs = {o.failure.log for o in outcomes.values() if o.failure is not None}
    assert None not in logs
    assert len(logs) == 4


def test_a_function_that_is_not_there_is_a_bug_with_its_name(build: Build, make: Make) -> None:
    outcomes = build(make("a", "absent"), make("b"))
    assert outcomes["b"].state == "done"
    assert outcomes["a"].failure is not None
    assert "has no attribute 'absent'" in outcomes["a"].failure.what


def test_fail_fast_starts_nothing_more(build: Build, make: Make) -> None:
    outcomes = build(
        make("bad", "fail", params={"how": "sprue"}),
        *(make(f"slow {i}", "sleep", params={"seconds": 0.2, "i": i}) for i in range(6)),
        make("alone", alone=True),
        fail_fast=True,
    )
    states = [o.state for o in outcomes.values()]
    assert states.count("failed") == 1
    assert states.count("skipped") >= 5
    assert outcomes["alone"].state == "skipped"
    assert outcomes["alone"].failure == outcomes["bad"].failure


@pytest.mark.parametrize("what", ["link", "folder link", "dangling link", "fifo", "name"])
def test_an_output_that_is_no_plain_file_fails_its_action_only(build: Build, make: Make, what: str) -> None:
    outcomes = build(make("odd", "odd", params={"what": what}), make("b"))
    assert {n: o.state for n, o in outcomes.items()} == {"odd": "failed", "b": "done"}
    assert "which is no plain file" in str(outcomes["odd"].failure)
    assert build(make("odd", "odd", params={"what": what}))["odd"].state == "failed"


def test_a_hard_link_is_taken_as_a_copy(build: Build, make: Make, tmp_path: Path, read: Read) -> None:
    outside = tmp_path / "outside"
    outside.write_text("before")
    outcome = build(make("a", "hard_link", params={"file": str(outside)}))["a"]
    assert outside.stat().st_mode & 0o200
    outside.write_text("after")
    assert read(outcome, "linked") == "before"


def test_what_an_action_prints_disturbs_nothing(build: Build, make: Make, read: Read) -> None:
    actions = [make(f"n{i}", "noise", params={"i": i}) for i in range(6)]
    outcomes = build(*actions)
    assert all(read(o, "said") == "enough" for o in outcomes.values())


def test_what_c_keeps_in_its_buffer_goes_to_the_log_of_its_own_action(make: Make, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, Pool(1, 1) as pool:
        patch.syspath_prepend(str(Path(__file__).parent))
        for name in ("noise", "nothing"):
            (tmp_path / name / "out").mkdir(parents=True)
            log = tmp_path / name / "log"
            request = Request(f"sample_actions:{name}", {}, {}, str(tmp_path / name / "out"), str(log))
            pool.call(request, 30)
    assert (tmp_path / "noise" / "log").read_text().count('"what": "no"') == 5
    assert (tmp_path / "nothing" / "log").read_text() == ""


def test_a_child_that_comes_back_into_the_worker_disturbs_nothing(
    build: Build, make: Make, read: Read
) -> None:
    outcomes = build(*(make(f"n{i}", "fork_and_return", params={"i": i}) for i in range(4)))
    assert {read(o, "made-by-x") for o in outcomes.values()} == {"something"}


def test_an_action_that_closes_its_output_can_still_fail_properly(build: Build, make: Make) -> None:
    outcomes = build(make("a", "fail", params={"how": "close-stdout"}), make("b"), make("c"))
    assert outcomes["a"].failure is not None
    assert outcomes["a"].failure.what == "KeyError: 'with nothing to print to'"
    assert {outcomes[n].state for n in "bc"} == {"done"}


def test_actions_run_in_their_work_folder_whatever_the_one_before_did(
    build: Build, make: Make, cache: Cache, read: Read
) -> None:
    outcomes = build(*(make(f"n{i}", "wander", params={"i": i}) for i in range(4)))
    places = {read(o, "was") for o in outcomes.values()}
    assert len(places) == 4
    assert all(p.startswith(f"{cache.folder}/work/") for p in places)


def test_modules_in_the_current_folder_do_not_shadow_libraries(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "sprue.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with Pool(1, 1) as pool:
        assert run([make("a")], Cache(Path("relative")), pool)["a"].state == "done"


def test_the_children_of_a_stopped_action_are_gone(build: Build, make: Make, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    for timeout in (1.0, 4.0, 16.0, 64.0):  # until it is enough to start a child, on a busy machine too
        assert build(make("a", "spawn", params={"pid": str(pid)}, timeout=timeout))["a"].state == "failed"
        if pid.exists():
            break
    assert gone(int(pid.read_text()))


def test_a_worker_that_died_idle_is_replaced_and_fails_nobody(make: Make, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, Pool(1, 1) as pool:
        patch.syspath_prepend(str(Path(__file__).parent))
        for i in range(3):
            cache = Cache(tmp_path / "cache")
            assert run([make(f"n{i}")], cache, pool)[f"n{i}"].state == "done"
            worker = next(iter(pool._all))
            worker.kill()
            os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)


def test_actions_that_measure_run_alone(build: Build, make: Make, read: Read) -> None:
    actions = [make(f"n{i}", "sleep", params={"seconds": 0.05, "i": i}, alone=i % 3 == 0) for i in range(9)]
    outcomes = build(*actions)
    spans = {n: tuple(float(t) for t in read(o, "span").split()) for n, o in outcomes.items()}
    alone = [spans[a.name] for a in actions if a.alone]
    for began, ended in alone:
        others = [s for s in spans.values() if s != (began, ended)]
        assert all(e <= began or b >= ended for b, e in others)


def test_others_run_at_the_same_time(build: Build, make: Make, tmp_path: Path) -> None:
    """Each waits for the other to have begun."""
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    params = ({"mine": here, "other": there}, {"mine": there, "other": here})
    outcomes = build(*(make(f"n{i}", "meet", params=p) for i, p in enumerate(params)))
    assert {o.state for o in outcomes.values()} == {"done"}


def test_events_tell_the_truth(make: Make, cache: Cache, pool: Pool) -> None:
    heard: list[Event] = []
    actions = [make("bad", "fail", params={"how": "sprue"}), make("skipped", inputs={"bad": Output("bad")})]
    actions += [make(f"n{i}", "sleep", params={"seconds": 0.02, "i": i}) for i in range(8)]
    run(actions, cache, pool, heard.append)
    running = 0
    for event in heard:
        running += (event.state == "started") - (event.state in ("done", "failed"))
        assert 0 <= running <= 2
    ended = {e.action: e.state for e in heard if e.state in ("done", "failed", "skipped", "cached")}
    assert ended == {"bad": "failed", "skipped": "skipped"} | {f"n{i}": "done" for i in range(8)}
    assert sorted(e.action for e in heard if e.state == "planned") == sorted(a.name for a in actions)


def test_a_listener_that_raises_stops_the_build_and_its_workers(make: Make, tmp_path: Path) -> None:
    def listen(event: Event) -> None:
        if event.state == "started":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, Pool(2, 1) as pool:
        patch.syspath_prepend(str(Path(__file__).parent))
        with pytest.raises(KeyboardInterrupt):
            run([make("a", "sleep", params={"seconds": 600})], Cache(tmp_path / "c"), pool, listen)
        with pytest.raises(ActionFailed, match="the build was stopped"):
            pool.call(Request("sample_actions:nothing", {}, {}, str(tmp_path), str(tmp_path / "log")), 1)
