"""`[gate]` in recipes: shares as people write them, and the targets that have their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprue.errors import SprueError
from sprue.history.allowance import Gate
from sprue.quantity import parse_share
from sprue.recipe import load_recipe


@pytest.mark.parametrize(
    ("text", "share"),
    [("2 %", 0.02), ("0.5%", 0.005), (" 150 % ", 1.5), (0.02, 0.02), (3, 3.0), ("0 %", 0.0)],
)
def test_a_share_is_a_percentage_or_a_number(text: object, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["2", "% 2", "-2 %", "two %", "2 KiB", "", True, None, ["2 %"]])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r'a share is written "2 %" or 0\.02'):
        parse_share(text)


def gates(project: Path, text: str) -> dict[str, Gate]:
    path = project / "recipes" / "tiny.toml"
    path.write_text(f'model = "tiny"\n{text}')
    return {c.target.id: c.gate for c in load_recipe(path).choices}


def test_there_are_defaults_and_a_target_can_have_its_own(project: Path) -> None:
    text = '[gate]\nsize = "5 %"\nmetric = 0.01\n[target.server-cpu]\n[target.mobile.gate]\nsize = 0\n'
    assert gates(project, text) == {
        "server-cpu": Gate(metric=0.01, size=0.05, latency=0.1, cost=0.1),
        "mobile": Gate(metric=0.01, size=0.0, latency=0.1, cost=0.1),
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('size = "2 KiB"', 'a share is written "2 %"'),
        ("size = -0.1", "greater than or equal to 0"),
        ("latency = nan", "finite"),
        ('metric = "1 %"', "gate.metric"),
        ("ram = 0.1", "unknown key 'gate.ram'"),
    ],
)
def test_a_wrong_allowance_is_named_with_its_line(project: Path, line: str, said: str) -> None:
    with pytest.raises(SprueError, match=said) as error:
        gates(project, f"[gate]\n{line}\n[target.server-cpu]\n")
    assert "tiny.toml:3" in str(error.value)
