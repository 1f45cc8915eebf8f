"""TOML files with places: where each key stands, and what is said of each kind of mistake."""

from __future__ import annotations

import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprue.errors import SprueError
from sprue.recipe import RecipeFile
from sprue.target_file import TargetFile
from sprue.toml import MAX_BYTES, locate, read_toml, validate

NAMES = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=6)
QUOTED = st.text(st.sampled_from("ab.=[]#'\" \t\\é"), max_size=5)
KEYS = NAMES | QUOTED
TEXTS = st.text(st.sampled_from("ab =[]{}#'\"\n\t\\é."), max_size=12)
SCALARS = st.integers(-9, 9) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS


def basic(text: str) -> str:
    escaped = "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 else c for c in text)
    return f'"{escaped}"'


def multi_line(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"""', '""\\"').removesuffix('"') + '"""'


def written_key(key: str, bare: bool) -> str:
    if bare and key and set(key) <= set(string.ascii_letters + string.digits + "-_"):
        return key
    return f"'{key}'" if "'" not in key and "\t" not in key else basic(key)


@st.composite
def values(draw: st.DrawFn) -> str:
    """A value as TOML text: scalars, strings of all kinds, arrays over several lines, inline tables."""
    kind = draw(st.sampled_from(["scalar", "basic", "literal", "multi", "array", "inline"]))
    if kind == "array":
        items = draw(st.lists(values(), max_size=3))
        comment = draw(st.sampled_from(["", " # ] \" ''' k = 1"]))
        return "[" + "".join(f"{comment}\n  {item},{comment}" for item in items) + "\n]"
    if kind == "inline":
        return "{ k = 1, 'x y' = [ \"]\" ] }"
    text = draw(TEXTS)
    if kind == "basic":
        return basic(text)
    if kind == "literal":
        return "'''\n" + text.replace("'", "") + "'''"
    if kind == "multi":
        return multi_line(text)
    scalar = draw(st.integers(-9, 9) | st.booleans())
    return str(scalar).lower()


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[str, ...], int]]:
    """TOML text, and the line on which each key that it sets is written."""
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}

    def note(path: tuple[str, ...]) -> None:
        for depth in range(1, len(path) + 1):
            expected.setdefault(path[:depth], len("\n".join([*lines, ""]).split("\n")))

    for number in range(draw(st.integers(0, 3)) + 1):
        table: tuple[str, ...] = ()
        if number:
            table = (f"t{number}", *draw(st.lists(KEYS, max_size=2)))
            note(table)
            dots = draw(st.sampled_from([".", " . "]))
            header = dots.join(written_key(k, draw(st.booleans())) for k in table)
            lines.append(f"[{header}]" + draw(st.sampled_from(["", " # [no] k = 1"])))
        for key in draw(st.lists(KEYS, max_size=4, unique=True)):
            lines.extend(draw(st.lists(st.sampled_from(["", "# k = 1", "  # [x]"]), max_size=2)))
            dotted = draw(st.booleans())
            path = (*table, key, "deep") if dotted else (*table, key)
            if any(
                path[: len(known)] == known or known[: len(path)] == path
                for known in expected
                if known not in {table[:d] for d in range(len(table) + 1)}
            ):
                continue
            note(path)
            inner = ".".join(written_key(k, draw(st.booleans())) for k in path[len(table) :])
            indent = draw(st.sampled_from(["", "  ", "\t"]))
            end = draw(st.sampled_from(["", " # a = '''"]))
            lines.append(f"{indent}{inner} = {draw(values())}{end}")
    return "\n".join([*lines, ""]), expected


@settings(max_examples=60, deadline=None)
@given(documents())
def test_every_key_path_is_found_on_its_line(document: tuple[str, dict[tuple[str, ...], int]]) -> None:
    text, expected = document
    tomllib.loads(text)
    assert locate(text) == expected


@settings(max_examples=40, deadline=None)
@given(documents())
def test_every_key_that_tomllib_reads_has_a_place(document: tuple[str, Any]) -> None:
    text, _ = document
    found = locate(text)

    def walk(value: Any, path: tuple[str, ...]) -> None:
        for key, inner in value.items():
            if (*path, key) in found and isinstance(inner, dict):
                walk(inner, (*path, key))
            assert (*path, key) in found or path in found

    walk(tomllib.loads(text), ())


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_locating_any_text_ends(text: str) -> None:
    assert isinstance(locate(text), dict)


def said(path: Path, text: str, kind: type[Any] = RecipeFile) -> str:
    path.write_text(text)
    with pytest.raises(SprueError) as caught:
        validate(kind, read_toml(path))
    return str(caught.value)


RECIPE = 'model = "m"\n[accept]\nmax_drop = 0.1\n[target.server-cpu]\nprecision = "float32"\n'


@pytest.mark.parametrize(
    ("added", "line", "key", "near"),
    [
        ('modell = "x"\n' + RECIPE, 1, "modell", "model"),
        (RECIPE.replace("max_drop", "max_drp"), 3, "accept.max_drp", "max_drop"),
        (RECIPE.replace("precision", "precison"), 5, "target.server-cpu.precison", "precision"),
        (RECIPE + "accept.max_dropp = 1.0\n", 6, "target.server-cpu.accept.max_dropp", "max_drop"),
        (RECIPE + "[target.server-cpu.limit]\nrm = 1\n", 7, "target.server-cpu.limit.rm", "ram"),
        (RECIPE + "limit = { falsh = 1 }\n", 6, "target.server-cpu.limit.falsh", "flash"),
        (RECIPE + "[acept]\n", 6, "acept", "accept"),
    ],
)
def test_an_unknown_key_is_refused_at_every_level_with_the_nearest_one(
    tmp_path: Path, added: str, line: int, key: str, near: str
) -> None:
    words = said(tmp_path / "r.toml", added)
    assert words.startswith(f"{tmp_path / 'r.toml'}:{line}: unknown key '{key}'")
    assert f"did you mean '{near}'? allowed: " in words


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (RECIPE.replace('"float32"', '"float31"'), 5, "did you mean 'float32'?"),
        (
            RECIPE.replace('"float32"', '["float32", "int9"]'),
            5,
            "allowed: auto, float16, float32, int8-dynamic",
        ),
        (RECIPE + 'prefer = "latenzy"\n', 6, "did you mean 'latency'? allowed: cost, latency, metric, size"),
        (
            RECIPE + 'threads = "2"\n',
            6,
            "'target.server-cpu.threads' is '2', and should be a whole number",
        ),
        (RECIPE + "threads = 0\n", 6, "greater than or equal to 1"),
        (RECIPE.replace("0.1", "-0.1"), 3, "greater than or equal to 0"),
        (RECIPE.replace("0.1", "inf"), 3, "finite number"),
        (RECIPE.replace("0.1", "nan"), 3, "'accept.max_drop' is nan"),
        (RECIPE.replace("0.1", '"0.1"'), 3, "should be a number"),
        (RECIPE + "precision = []\n", 6, "not valid TOML"),
        (RECIPE.replace('"float32"', "[]"), 5, "at least 1 item"),
        (RECIPE + 'limit.ram = "64 Kb"\n', 6, 'such as "64 KiB"; units: B, KB, MB, GB, KiB, MiB, GiB'),
        (RECIPE + 'limit.ram = "' + "9" * 400 + ' GiB"\n', 6, "a size is a number and a unit"),
        (RECIPE + "limit.ram = -1\n", 6, "a size is a number and a unit"),
        (RECIPE + "limit.ram = true\n", 6, "a size is a number and a unit"),
        ('version = "1.0"\n' + RECIPE, 1, '\n  such as "1.4.0"'),
        ("target = 3\n", 1, "'target' is 3, and should be a table\n  write [target.NAME]"),
        ("model = 1979-05-27\n", 1, "and should be text in quotes"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    answer = said(tmp_path / "r.toml", text)
    assert answer.startswith(f"{tmp_path / 'r.toml'}:{line}: ")
    assert words in answer


def test_a_missing_key_is_named_with_its_table(tmp_path: Path) -> None:
    text = 'description = "x"\nbackends = ["null"]\n[platform]\nos = "linux"\n'
    assert (
        said(tmp_path / "t.toml", text, TargetFile)
        == f"{tmp_path}/t.toml:3: the key 'platform.arch' is missing\n  add arch = ..."
    )


def test_a_key_of_a_list_item_and_an_unknown_key_of_a_target_file_are_placed(tmp_path: Path) -> None:
    text = 'description = "x"\nbackends = [\n  "null",\n  3,\n]\n[platform]\nos = "linux"\narch = "any"\n'
    assert said(tmp_path / "t.toml", text, TargetFile).startswith(f"{tmp_path}/t.toml:2: 'backends.1' is 3")
    text = text.replace("3", '"c"').replace("arch", "arhc")
    assert "t.toml:8: unknown key 'platform.arhc'\n  did you mean 'arch'?" in said(
        tmp_path / "t.toml", text, TargetFile
    )


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"model = \xff", "not UTF-8 at byte 8"),
        (b"model = \n", ":1: not valid TOML"),
        (b"a = 1\na = 2\n", ":2: not valid TOML"),
        (b"\xef\xbb\xbfmodel = 1\n", "not valid TOML"),
        (b"#" * (MAX_BYTES + 1), "larger than"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "r.toml").write_bytes(raw)
    with pytest.raises(SprueError) as caught:
        read_toml(tmp_path / "r.toml")
    assert str(caught.value).startswith(str(tmp_path / "r.toml"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rr.toml", "rr.toml: there is no such file\n  did you mean 'r.toml'? allowed: r.toml, s.toml"),
        ("absent/r.toml", "absent/r.toml: there is no such file\n  there is no folder "),
        (".", ": a folder, and no file\n  allowed: r.toml, s.toml"),
        ("r.toml/x", "cannot read it: Not a directory\n  a file is there: name a folder"),
        ("with\0nul", "cannot read it: embedded null byte"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_there_is(tmp_path: Path, name: str, words: str) -> None:
    for there in ("r.toml", "s.toml"):
        (tmp_path / there).touch()
    with pytest.raises(SprueError) as caught:
        read_toml(tmp_path / name)
    assert words in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=60))
def test_any_bytes_are_toml_or_refused(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(raw)
    try:
        validate(RecipeFile, read_toml(path))
    except SprueError as error:
        assert str(path) in str(error)  # noqa: PT017
