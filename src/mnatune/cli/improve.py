"""`mnatune improve`: one round of the feedback loop."""

import typer


def register(cli: typer.Typer) -> None:
    """Add the command."""
