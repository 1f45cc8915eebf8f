"""What the README shows must be what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
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


def _shown() -> list[tuple[str, str]]:
    """(file, command line after `sprue`), in code blocks and between backticks; prose may follow."""
    found = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        blocks = "".join(re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE))
        lines = re.findall(r"^(?:\$ |\S*bin/)?sprue ([a-z][^`\n]*)", blocks, re.MULTILINE)
        lines += re.findall(r"`sprue ([a-z][^`]*)`", text)
        found += [(path.name, line) for line in lines]
    return found


def test_every_command_and_option_that_the_docs_show_exists() -> None:
    context = click.Context(commands)
    wrong = []
    for name, line in _shown():
        words = line.split()
        command: click.Command | None = commands.get_command(context, words[0])
        if isinstance(command, click.Group) and len(words) > 1 and words[1].isalpha():
            command = command.get_command(context, words[1])
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} if command else set()
        used = {o for word in words for o in re.findall(r"(?<![\w-])--[a-z][a-z-]*", word)} - {"--help"}
        if command is None or used - options:
            wrong.append((name, line, sorted(used - options)))
    assert wrong == []


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_a_file_that_the_readme_links_to_exists(link: str) -> None:
    assert (ROOT / link).exists()
