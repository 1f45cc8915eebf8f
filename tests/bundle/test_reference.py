"""How bundles are called."""

from __future__ import annotations

import pytest

from sprue.bundle.reference import Reference, read_reference
from sprue.errors import SprueError


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("digits", Reference("digits", None, None, "")),
        ("digits@1.2.0-rc.1", Reference("digits", "1.2.0-rc.1", None, "")),
        ("digits:prod", Reference("digits", None, "prod", "")),
        ("digits@prod", Reference("digits", None, "prod", "")),
        ("digits@prod#0123ab", Reference("digits", None, "prod", "0123ab")),
    ],
)
def test_a_version_begins_with_a_digit_and_a_tag_with_a_letter(text: str, reference: Reference) -> None:
    assert read_reference(text) == reference


@pytest.mark.parametrize(
    "text", ["", "@prod", "digits@", "digits:1.0.0", "digits@Prod", "digits@1.0.0@prod", "a#12"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SprueError, match="is not a bundle's name"):
        read_reference(text)
