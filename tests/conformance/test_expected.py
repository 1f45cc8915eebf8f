"""What is committed of a backend: reading it back, and holding what came out against it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.conformance.actions import Listed, Ran
from sprue.conformance.expected import Expected, expected_text, read_expected, surprises
from sprue.conformance.table import table
from sprue.errors import SprueError

CASES = st.from_regex(r"test_[a-z0-9_]{1,20}-(fed|constant)", fullmatch=True)
FOUND = st.dictionaries(
    CASES,
    st.builds(
        Ran,
        st.sampled_from(["matched", "refused", "wrong"]),
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=200),
    ),
)
VERSIONS = {"onnx": "1.23.0", "runtime": "2.0"}


@given(found=FOUND)
def test_what_was_written_is_expected_again(
    found: dict[str, Ran], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("expected") / "null.txt"
    path.write_text(expected_text("null", found, VERSIONS), encoding="utf-8")
    expected = read_expected(path)
    assert {case: expected.of(case) for case in found} == {case: ran.kind for case, ran in found.items()}
    assert expected.versions == VERSIONS
    assert surprises(expected, found, VERSIONS) == []


def test_an_unexpected_pass_is_a_surprise_as_an_unexpected_failure_is() -> None:
    expected = Expected({"a": "refused", "b": "wrong"}, versions=VERSIONS)
    found = {"a": Ran("matched", ""), "b": Ran("matched", ""), "c": Ran("wrong", "off by 3")}
    assert [str(s) for s in surprises(expected, found, VERSIONS)] == [
        "a is matched, expected refused",
        "b is matched, expected wrong",
        "c is wrong, expected matched: off by 3",
    ]


def test_with_other_versions_only_a_wrong_answer_is_a_surprise() -> None:
    found = {"a": Ran("matched", ""), "b": Ran("refused", "new"), "c": Ran("wrong", "off by 3")}
    newer = {**VERSIONS, "runtime": "2.1"}
    expected = Expected({"a": "refused"}, versions=VERSIONS)
    assert [s.case for s in surprises(expected, found, newer)] == ["c"]


@pytest.mark.parametrize("line", ["passed test_x-fed", "refused", "wrong ", "refused a\nrefused a"])
def test_a_line_of_another_form_is_refused_with_its_place(line: str, tmp_path: Path) -> None:
    path = tmp_path / "null.txt"
    path.write_text(f"# heading\n{line}\n")
    with pytest.raises(SprueError, match="is not one of") as caught:
        read_expected(path)
    assert str(path) in caught.value.where


def test_a_backend_without_a_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SprueError) as caught:
        read_expected(tmp_path / "null.txt")
    assert "--update" in caught.value.remedy


def test_a_test_counts_as_passed_if_one_form_matches_and_none_is_wrong() -> None:
    cases = [Listed(f"{test}-{form}", test, "Op") for test in "xyz" for form in ("fed", "constant")]
    expected = Expected({"x-fed": "refused", "y-fed": "refused", "y-constant": "refused", "z-fed": "wrong"})
    row = next(line for line in table(cases, {"null": expected}).splitlines() if line.startswith("| Op "))
    assert row == "| Op | 3 | 1 (1 wrong) |"
