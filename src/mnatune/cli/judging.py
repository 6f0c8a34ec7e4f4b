"""`mnatune judge-calibrate`: agreement of the judge with people."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .stages import AsJson, Set, load

Labels = Annotated[Path, typer.Argument(help="CSV with the columns question, answer, score (0-100) by people.")]
OptionalRecipe = Annotated[str, typer.Option("--recipe", help="Recipe whose judge is calibrated.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("judge-calibrate")(calibrate)


def calibrate(labels: Labels, recipe: OptionalRecipe = "quickstart", set_: Set = None, as_json: AsJson = False) -> None:
    """Compare the judge with human labels: Spearman, quadratic kappa, and the confusion at the threshold."""
    from ..stages.judge import calibrate as work

    facts = work(load(recipe, set_, None)[0], labels)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    failed = sum(facts["failed"].values())
    typer.echo(f"{facts['rows']} rows judged by {facts['judge']}, {failed} without a usable reply")
    for name in ("spearman", "quadratic_kappa"):
        value, low, high = (facts[name][part] for part in ("value", "low", "high"))
        shown = "undefined" if value is None else f"{value:.3f} ({low:.3f}-{high:.3f})"
        typer.echo(f"  {name:<16} {shown}")
    for name in ("precision", "recall", "agreement"):
        typer.echo(f"  {name:<16} {'undefined' if facts[name] is None else format(facts[name], '.3f')}")
    counts = facts["confusion"]
    typer.echo(
        f"  above {facts['keep_above']}: both {counts['both']}, only the judge {counts['judge_only']},"
        f" only people {counts['human_only']}, neither {counts['neither']}"
    )
