"""`mnatune sweep`: a small grid of recipes, compared."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .stages import AsJson, RecipeArg, Set, tell


def sweep(
    recipe: RecipeArg,
    over: Annotated[list[str], typer.Option("--over", help="A key and its values: train.r=8,16,32. Repeatable.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the runs; by default runs/<name of the recipe file>-sweep.")
    ] = None,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Run every combination of values, and compare each with the first; what comes before them is done once.

    Run it again to continue after an interruption. Writes sweep.json, sweep.txt and sweep.html.
    """
    import json

    from ..runs.recipe import find_recipe
    from ..service.sweep import combinations, sweep_text
    from ..service.sweep import sweep as work

    runs = combinations(recipe, set_ or [], over)
    folder = out or Path("runs") / f"{find_recipe(recipe).stem}-sweep"

    def nothing(*told: Any) -> None:
        pass

    def announce(name: str) -> None:
        typer.echo(str(folder / name))

    found = work(runs, folder, *((nothing, nothing) if as_json else (announce, tell)))
    typer.echo(json.dumps(found, ensure_ascii=False) if as_json else f"\n{sweep_text(found)}\n{folder / 'sweep.html'}")
