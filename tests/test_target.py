"""Targets: sizes, and what a target file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.errors import SprueError
from sprue.quantity import parse_frequency, parse_size
from sprue.target import Target, load_target, target_files
from sprue.targets import FOLDER

FACTORS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
BOARD = 'description = "a board"\nbackends = ["c"]\n[platform]\nos = "none"\narch = "armv7em"\n'


@given(st.integers(0, 10**15), st.sampled_from(sorted(FACTORS)), st.sampled_from(["", " ", "  "]))
def test_a_size_is_its_number_times_its_unit_exactly(number: int, unit: str, space: str) -> None:
    assert parse_size(f"{number}{space}{unit}") == number * FACTORS[unit]
    assert parse_size(f" {number} ") == parse_size(number) == number


@given(st.integers(0, 10**6), st.integers(0, 999))
def test_a_size_may_have_a_fraction(whole: int, thousandths: int) -> None:
    assert parse_size(f"{whole}.{thousandths:03} KB") == whole * 1000 + thousandths


@given(
    st.text() | st.floats() | st.integers(max_value=-1) | st.booleans() | st.none() | st.lists(st.integers())
)
def test_a_size_is_read_or_refused_with_its_units(value: object) -> None:
    try:
        assert parse_size(value) >= 0
    except ValueError as error:
        assert "KB, MB, GB, KiB, MiB, GiB" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "text", ["64 kib", "1e3", "-1", "1 000", "0x10", "9" * 400 + " GiB", "٣ KiB", "", "KiB", "1."]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is a number and a unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "hertz"),
    [("120 MHz", 120_000_000), ("32.768kHz", 32_768), ("1.2 GHz", 1_200_000_000)],
)
def test_a_clock_is_read_in_hertz(text: str, hertz: int) -> None:
    assert parse_frequency(text) == hertz


@pytest.mark.parametrize("text", ["120", 120, "120 mhz", "0 MHz", "-1 MHz", "", None, "MHz"])
def test_what_is_no_clock_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a clock is a number and a unit"):
        parse_frequency(text)


def test_cycles_take_seconds_only_at_a_known_clock(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "board.toml").write_text(BOARD + 'clock = "80 MHz"\n')
    target = load_target("board", tmp_path)
    assert target.clock == 80_000_000
    assert target.seconds(4_000_000) == 0.05
    assert target.seconds(None) is None
    assert load_target("gpu").seconds(4_000_000) is None


def test_every_target_that_ships_is_read_and_survives_json() -> None:
    for name in target_files():
        target = load_target(name)
        assert target.id == name
        assert target.backends
        assert Target.from_json(target.to_json()) == target


def test_a_project_adds_targets_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "my-board.toml").write_text(BOARD + '[limit]\nram = "32 KiB"\n')
    target = load_target("my-board", tmp_path)
    assert (target.os, target.limit_ram, target.limit_flash) == ("none", 32768, None)
    assert set(target_files(tmp_path)) - set(target_files()) == {"my-board"}


def test_a_project_does_not_redefine_a_target(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    shipped = (FOLDER / "mobile.toml").read_bytes()
    (tmp_path / "targets" / "mobile.toml").write_bytes(shipped)
    assert load_target("mobile", tmp_path) == load_target("mobile")
    (tmp_path / "targets" / "mobile.toml").write_bytes(shipped + b"\n")
    with pytest.raises(SprueError, match="target 'mobile' is defined twice") as caught:
        target_files(tmp_path)
    assert "mobile-mine.toml" in caught.value.remedy


def test_an_unknown_target_is_answered_with_the_nearest_and_the_place_that_names_it() -> None:
    with pytest.raises(SprueError) as caught:
        load_target("mobil", where="r.toml:3")
    assert str(caught.value).startswith(
        "r.toml:3: there is no target 'mobil'\n  did you mean 'mobile'? allowed: cortex"
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('os = "none"', 'os = "nome"', "t.toml:4: 'platform.os' is 'nome'\n  did you mean 'none'?"),
        ('["c"]', "[]", "t.toml:2: 'backends' is []"),
        (
            "[platform]",
            "[limit]\nrom = 1\n[platform]",
            "t.toml:4: unknown key 'limit.rom'\n  did you mean 'ram'?",
        ),
    ],
)
def test_a_mistake_in_a_target_file_is_placed(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "t.toml").write_text(BOARD.replace(old, new))
    with pytest.raises(SprueError) as caught:
        load_target("t", tmp_path)
    assert words in str(caught.value)
