"""The command line. Every command is a thin skin over one function; heavy imports happen inside commands only."""

import errno
import signal
import sys
import warnings
from types import FrameType

import typer

from ..runs.errors import EnvironmentFault, Interrupted, MnatuneError
from . import ask, doctor, init, models
from . import exports as export
from . import improving as improve
from . import judging as judge
from . import laws as law
from . import packs as pack
from . import ratings as feedback
from . import serving as serve
from . import stages as journey

app = typer.Typer(
    name="mnatune",
    help="Make a Korean M&A, finance and law expert model, and prove that it is better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"mnatune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options before the command."""


for module in (journey, ask, doctor, init, pack, law, judge, export, serve, models, feedback, improve):
    module.register(app)


def main() -> None:
    """Run the command line and exit with the codes of design: 0 done, 2 usage, 3 data, 4 environment, 130 interrupted."""
    signal.signal(signal.SIGINT, _interrupt)
    warnings.simplefilter("ignore", FutureWarning)  # what other packages are going to rename helps nobody here
    try:
        app()
    except MnatuneError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        typer.echo(
            f"error: the disk is full\n  where: {error.filename}\n  next:  free some space and run again", err=True
        )
        sys.exit(EnvironmentFault.exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("interrupted; what was finished is kept", next_step="run the same command again: it continues")
