"""The command line. One file per command: parse, call, print; the work is done elsewhere.

A command's module is imported when the command is named, or for the list in `--help`: none imports anything
heavy at its top.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import sys
import traceback

import click

import sprue
from sprue.errors import SprueError, advice, did_you_mean


class Commands(click.Group):
    """The modules of this package whose names do not begin with an underscore."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"{error.message} ({did_you_mean(args[0], self.list_commands(ctx))})"
            ) from error

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # of which click makes 1, as if a check had failed
            raise _ReaderGoneError from error


class _ReaderGoneError(Exception):
    """Whoever read what we print has gone."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sprue.__version__, prog_name="sprue")
def commands() -> None:
    """sprue builds, proves and freezes trained models: one recipe, every target, one bundle."""


def main() -> None:
    """Run the command line. Exit codes: 0 all holds, 1 a check failed, 2 the question was wrong."""
    try:
        # Commands return nothing; click turns an `Exit` that they raise into the value returned here.
        code = commands.main(standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        _say_as_json(SprueError(error.format_message()))
        code = 2
    except SprueError as error:
        _say(error)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        code = 130
    except _ReaderGoneError:
        # Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        said = error.strerror or str(error)
        _say(SprueError(said, where=str(error.filename or ""), remedy=advice(error)))
        code = SprueError.exit_code
    except Exception as error:
        code = _say_unexpected(error)
    gc.freeze()  # the collection at exit would go through all that was imported, for a tenth of a short run
    sys.exit(code)


def _say_unexpected(error: Exception) -> int:
    """Names of files that this locale has no letters for, or a bug of ours. The exit code."""
    encoding = sys.getfilesystemencoding()
    if isinstance(error, UnicodeEncodeError) and encoding != "utf-8":
        what = f"a file's name has other letters than {encoding}, as which Python reads names here"
        _say(SprueError(what, remedy="set PYTHONUTF8=1"))
        return SprueError.exit_code
    traceback.print_exception(error)
    click.echo("this is a bug in sprue; please report it with the lines above", err=True)
    return 70


def _say(error: SprueError) -> None:
    with contextlib.suppress(OSError):  # on a full disk the exit code must do
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        _say_as_json(error)


def _say_as_json(error: SprueError) -> None:
    """For machines, whose standard output is always JSON when they ask for it."""
    if "--json" in sys.argv:
        said = {"what": error.what, "where": error.where, "remedy": error.remedy}
        click.echo(json.dumps({"ok": False, "error": said}, indent=2))
