"""Price files: read, and refused with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprue.errors import SprueError
from sprue.measuring.price import Price, read_prices

RIGHT = """[price.server-cpu]
amount = 0.16
currency = "USD"
per = "instance-hour"
cores = 4

[price.edge]
amount = 0.01
currency = "EUR"
per = "core-hour"
"""


def read(folder: Path, text: str) -> dict[str, Price]:
    (folder / "prices.toml").write_text(text)
    return dict(read_prices(folder / "prices.toml")[0])


def test_an_instance_is_its_cores(tmp_path: Path) -> None:
    assert read(tmp_path, RIGHT) == {"server-cpu": Price(0.04, "USD"), "edge": Price(0.01, "EUR")}


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (
            '"core-hour"',
            '"core-minute"',
            10,
            "'price.edge.per' is 'core-minute'\n  did you mean 'core-hour'?",
        ),
        ('"instance-hour"', '"month"', 4, "'price.server-cpu.per' is 'month'"),
        ('"EUR"', '"euro"', 9, "'price.edge.currency' is 'euro'"),
        ("0.01", "-1.0", 8, "'price.edge.amount' is -1.0"),
        ("0.01", "nan", 8, "'price.edge.amount' is nan"),
        ("cores = 4", "", 1, "'price.server-cpu' needs the key 'cores'"),
        ('per = "core-hour"', 'per = "core-hour"\ncores = 2', 11, "leave out 'cores'"),
        ("cores", "core", 5, "unknown key 'price.server-cpu.core'\n  did you mean 'cores'?"),
        ('currency = "EUR"', "", 7, "the key 'price.edge.currency' is missing"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(SprueError) as caught:
        read(tmp_path, RIGHT.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'prices.toml'}:{line}: ")
    assert said in str(caught.value)


def test_a_missing_file_is_named_where_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SprueError, match=r"r\.toml:3: there is no price file .*prices\.toml"):
        read_prices(tmp_path / "prices.toml", where="r.toml:3")
