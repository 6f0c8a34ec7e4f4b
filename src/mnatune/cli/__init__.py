"""The command line. Every command is a thin skin over one function; heavy imports happen inside commands only."""

import os
import signal
import sys
import warnings
from types import FrameType

import typer

from ..runs.errors import Interrupted, MnatuneError, UsageError, from_system
from ..runs.output_language import LANGUAGES, VARIABLE
from . import ask, doctor, exports, improving, init, laws, models, packs, ratings, runs, serving, stages, sweeping

app = typer.Typer(
    name="mnatune",
    help="Make a Korean M&A, finance and law expert model, and prove that it is better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    lang: str = typer.Option("", "--lang", help="Language of the output: ko or en; by default the system's."),
) -> None:
    """Options that stand before the command."""
    if lang and lang not in LANGUAGES:
        raise UsageError(f"--lang is one of {', '.join(LANGUAGES)}, not {lang!r}")
    if lang:
        os.environ[VARIABLE] = lang


for command in (
    *stages.COMMANDS,
    sweeping.sweep,
    runs.runs,
    ask.ask,
    ask.chat,
    doctor.doctor,
    init.init,
    stages.judge_calibrate,
    serving.serve,
    improving.improve,
):
    app.command()(command)
for name, group in {
    "pack": packs.app,
    "law": laws.app,
    "export": exports.app,
    "keys": serving.app,
    "models": models.app,
    "feedback": ratings.app,
}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 usage, 3 data, 4 environment, 130 interrupted."""
    signal.signal(signal.SIGINT, _interrupt)
    warnings.simplefilter("ignore", FutureWarning)  # other packages' deprecations are no help to a user
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # hides its retries; a final failure is reported by mnatune
    try:
        app()
    except MnatuneError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        told = from_system(error)
        if told is None:
            raise
        typer.echo(f"error: {told}", err=True)
        sys.exit(told.exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("interrupted; what was finished is kept", next_step="run the same command again: it continues")
