"""Work folders serve one action after the other; none sees anything of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Pool
from sprue.engine.run import Outcome, run

Make = Callable[..., Action]
Read = Callable[[Outcome, str], str]


@pytest.fixture
def single() -> Iterator[Pool]:
    """One worker, which does all jobs in one folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        with Pool(1, 1) as opened:
            yield opened


def test_what_an_action_leaves_in_its_folder_is_gone_for_the_next(
    make: Make, cache: Cache, single: Pool, read: Read
) -> None:
    actions = [
        make("first"),
        make("untidy", "litter", inputs={"before": Output("first", "joined")}),
        make("next", "look_around", inputs={"given": Output("untidy", "sub/litter")}),
    ]
    outcomes = run(actions, cache, single)
    assert outcomes["untidy"].entry is not None
    assert set(outcomes["untidy"].entry.files) == {"sub/litter"}
    seen = ["inputs", "inputs/given", "inputs/given/litter", "log", "out"]
    assert read(outcomes["next"], "seen").splitlines() == seen


def test_a_log_holds_nothing_that_another_action_printed(make: Make, cache: Cache, single: Pool) -> None:
    untidy = make("untidy", "litter", inputs={})
    silent = make("silent", "absent", inputs={"before": Output("untidy", "sub/litter")})
    failure = run([untidy, silent], cache, single)["silent"].failure
    assert failure is not None
    assert failure.log is not None
    assert "said by the one before" not in failure.log.read_text()


def test_an_input_that_is_lost_meanwhile_fails_its_action_without_the_log_of_another(
    make: Make, cache: Cache, single: Pool
) -> None:
    def lose(event: object) -> None:
        for blob in cache.folder.glob("blobs/*/*"):
            blob.unlink()

    untidy = make("untidy", "litter", inputs={})
    needs = make("needs it", inputs={"before": Output("untidy", "sub/litter")})
    failure = run([untidy, needs], cache, single, lose)["needs it"].failure
    assert failure is not None
    assert "is missing" in failure.what
    assert "run the build again" in failure.remedy
    assert failure.log is None
    assert {o.state for o in run([untidy, needs], cache, single).values()} == {"done"}


def test_what_an_action_left_running_does_not_reach_the_output_of_the_next(
    make: Make, cache: Cache, single: Pool
) -> None:
    actions = [make("lingers", "linger")]
    actions += [
        make(f"n{i}", "sleep", {"before": Output("lingers", "made")}, {"seconds": 0.1, "i": i})
        for i in range(3)
    ]
    outcomes = run(actions, cache, single)
    entries = [outcomes[f"n{i}"].entry for i in range(3)]
    assert [set(e.files) for e in entries if e is not None] == [{"span"}] * 3
