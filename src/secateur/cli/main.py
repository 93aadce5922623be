"""The command line: `secateur COMMAND --help` says the rest."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from secateur.cli.export import export
from secateur.cli.inspect import inspect
from secateur.cli.latency import latency
from secateur.cli.prune import prune
from secateur.cli.scenes import scenes
from secateur.cli.sensitivity import sensitivity
from secateur.cli.study import demo, report, study
from secateur.errors import SecateurError
from secateur.version import __version__


class _Commands(TyperGroup):
    """The commands; one that is stopped by Ctrl-C says so, and how to go on if it can."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            typer.echo(f"secateur: {stopped if stopped.args else 'stopped'}", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="secateur",
    cls=_Commands,
    help="Cut channels out of convolutional networks, and say honestly whether the cut was right.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Study")(demo)
app.add_typer(study, rich_help_panel="Study")
app.command(rich_help_panel="Study")(report)
app.command(rich_help_panel="One network")(prune)
app.command(rich_help_panel="One network")(inspect)
app.command(rich_help_panel="One network")(sensitivity)
app.command(rich_help_panel="One network")(latency)
app.command(rich_help_panel="One network")(export)
app.add_typer(scenes, rich_help_panel="Data")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Exit codes: 0 done, 1 a result failed its check, 2 wrong use or bad input."""
    del version, debug


def main() -> None:
    """Run the command line; an error of ours is one line on standard error."""
    try:
        app()
    except SecateurError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        typer.echo(f"secateur: {error}", err=True)
        sys.exit(error.exit_code)
