"""What the README shows must be what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from sprue.cli import commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_recipe_in_the_readme_is_the_recipe_in_the_repository() -> None:
    shown = next(block for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "digits" in block)
    assert tomllib.loads(shown) == tomllib.loads((ROOT / "recipes" / "digits.toml").read_text())


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`sprue ([a-z]+)", README))))
def test_a_command_that_the_readme_names_exists(name: str) -> None:
    assert CliRunner().invoke(commands, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_a_file_that_the_readme_links_to_exists(link: str) -> None:
    assert (ROOT / link).exists()
