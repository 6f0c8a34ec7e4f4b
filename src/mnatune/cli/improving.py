"""`mnatune improve`: one round of the feedback loop."""

from pathlib import Path
from typing import Annotated

import typer

from .models import ROOT, Folder
from .ratings import PACK, URL, Database, open_feedback


def improve(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file or a bundled name.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of this round; the same again continues it.")],
    db: Database = URL,
    models: Folder = ROOT,
    parent: Annotated[
        Path | None, typer.Option("--from", help="Run of the current model; by default what the registry names.")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="Rows of feedback below which nothing is trained.")] = 20,
    replay: Annotated[float, typer.Option(min=0, help="Older rows mixed in for each row of feedback.")] = 3.0,
    unreviewed: Annotated[bool, typer.Option("--unreviewed", help="Take thumbs and picks before review too.")] = False,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Register a better model only.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: section.key=value.")] = None,
) -> None:
    """Export feedback, train on from the current model, compare with it, and promote the better one."""
    from ..model.registry import Registry
    from ..runs.recipe import load_recipe
    from ..runs.workspace import Run
    from ..service.feedback.datasets import Options
    from ..service.improve import Terms
    from ..service.improve import improve as work

    loaded = load_recipe(recipe, set_ or [])
    store = open_feedback(db, loaded.pack or PACK)
    terms = Terms(least, replay, Options(unreviewed=unreviewed), promote=not no_promote)
    start = Run(parent) if parent else None
    outcome = work(loaded, out, store, Registry(models), parent=start, terms=terms, tell=typer.echo)
    for reason in outcome.reasons:
        typer.echo(reason)
    typer.echo(f"{outcome.decision}  {outcome.model}".rstrip())
