"""`mnatune judge-estimate` and `mnatune judge-calibrate`: what judging costs, and whether the judge can be trusted."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .journey import Out, RecipeArg, Set, load

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Labels = Annotated[Path, typer.Argument(help="CSV with the columns question, answer, score (0-100) by people.")]
OptionalRecipe = Annotated[str, typer.Option("--recipe", help="Recipe whose judge is calibrated.")]
PLANS = {
    "all": "every row",
    "prefiltered": "rows with a term of the lexicon",
    "cascade_least": "cascade, at least",
    "cascade_most": "cascade, at most",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("judge-estimate")(estimate)
    app.command("judge-calibrate")(calibrate)


def estimate(recipe: RecipeArg, out: Out = None, set_: Set = None, as_json: AsJson = False) -> None:
    """Rows, tokens, cost and hours of judging, before the first call. Needs the run's curate stage."""
    from ..stages.judge import estimate as work
    from ..workspace import Run

    loaded, folder = load(recipe, set_, out)
    facts = work(loaded, Run(folder))
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    typer.echo(
        f"{facts['rows']:,} rows, {facts['tokens_per_prompt']:,.0f} tokens a prompt,"
        f" {facts['tokens_per_reply']} a reply ({facts['sampled']:,} prompts measured, tokenizer: {facts['tokenizer']})"
    )
    typer.echo(f"  {'':<32} {'calls':>11} {'tokens in':>15} {'tokens out':>13} {'cost':>10} {'hours':>8}")
    for name, plan in facts["plans"].items():
        typer.echo(
            f"  {PLANS[name]:<32} {plan['calls']:>11,} {plan['tokens_in']:>15,} {plan['tokens_out']:>13,}"
            f" {plan['cost']:>10,.2f} {plan['hours']:>8.2f}"
        )
    typer.echo("  cost by endpoint.price_in and price_out; hours by the limits per minute alone")


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
