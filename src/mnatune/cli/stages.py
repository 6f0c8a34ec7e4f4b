"""`mnatune run`, a command for each stage, and `mnatune judge-calibrate`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.errors import UsageError
from ..runs.output_language import language, say

if TYPE_CHECKING:
    from ..runs.recipe import Recipe
    from ..runs.workspace import Manifest

RecipeArg = Annotated[str, typer.Argument(help="Recipe: a YAML file or a bundled name such as quickstart.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; by default runs/<name of the recipe file>.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a value: section.key=value. Repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Do the stage again even if it is done.")]

WARNINGS = 8  # of a stage that are shown on the terminal


def load(recipe: str, overrides: list[str] | None, out: Path | None) -> "tuple[Recipe, Path]":
    """The recipe and the run folder that a command works in."""
    from ..runs.recipe import find_recipe, load_recipe

    return load_recipe(recipe, overrides or ()), out or Path("runs") / find_recipe(recipe).stem


def stage_name(stage: str) -> str:
    """A stage in the output's language."""
    from ..reports import korean

    return say(stage, korean.name("stages", stage))


def tell(stage: str, manifest: "Manifest", skipped: bool) -> None:
    """One line for a stage."""
    name = f"  {stage_name(stage):<11}"
    if skipped:
        typer.echo(f"{name} {say('done before, skipped', '이미 끝남, 건너뜀')}")
        return
    dropped = sum(manifest.dropped.values())
    rows = f"{manifest.rows_in:>9,} -> {manifest.rows_out:>9,}"
    lost = say(f", {dropped:,} dropped", f", {dropped:,}행 뺌") if dropped else ""
    spent = f"{manifest.seconds:.1f}"
    typer.echo(f"{name} {rows}{say(' rows', '행')}{lost}  ({say(f'{spent} s', f'{spent}초')})")
    if kept := manifest.facts.get("base_answers"):
        english = f"{kept['reused']:,} answers of the base were taken from {kept['folder']} (it may be removed)"
        korean = (
            f"기반 모델의 답변 {kept['reused']:,}개는 다시 묻지 않고 {kept['folder']}에서 가져왔습니다 (지워도 됩니다)"
        )
        typer.echo(f"    {say(english, korean)}")
    told = [
        warning for facts in (manifest.facts, *manifest.per_source.values()) for warning in facts.get("warnings", ())
    ]
    for warning in told[:WARNINGS]:
        typer.echo(f"    ! {warning}")
    if len(told) > WARNINGS:
        more = len(told) - WARNINGS
        rest = say(f"and {more} more in {stage}'s manifest.json", f"{stage}의 manifest.json에 {more}개 더")
        typer.echo(f"    ! {rest}")


def run(
    recipe: RecipeArg,
    out: Out = None,
    set_: Set = None,
    force: Annotated[list[str] | None, typer.Option("--force", help="Stage to do again. Repeatable.")] = None,
) -> None:
    """Do the whole journey; stages that are done are skipped. Run it again to continue after an interruption."""
    from ..reports.terminal import summarize
    from ..runs import journey
    from ..runs.workspace import Run

    loaded, folder = load(recipe, set_, out)
    typer.echo(f"{loaded.name} -> {folder}")
    journey.run(loaded, folder, force=frozenset(force or ()), tell=tell)
    typer.echo(summarize(Run(folder), language()))


def read(
    recipe: Annotated[str | None, typer.Argument(help="Recipe: a YAML file or a bundled name.")] = None,
    out: Out = None,
    set_: Set = None,
    force: Force = False,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Print what a file or folder would give; write nothing.")
    ] = None,
) -> None:
    """Read archives, QA files, office documents, laws and pages into records."""
    if preview:
        from ..stages.read.preview import preview_text

        typer.echo(preview_text(preview))
    elif recipe is None:
        raise typer.BadParameter("give a recipe, or --preview PATH")
    else:
        _perform("read", recipe, out, set_, force)


def _stage_command(stage: str, meaning: str) -> Callable[..., None]:
    def command(recipe: RecipeArg, out: Out = None, set_: Set = None, force: Force = False) -> None:
        _perform(stage, recipe, out, set_, force)

    command.__name__, command.__doc__ = stage, meaning
    return command


def _perform(stage: str, recipe: str, out: Path | None, set_: list[str] | None, force: bool) -> None:
    from ..reports import korean
    from ..runs import journey
    from ..runs.workspace import Run, in_charge

    loaded, folder = load(recipe, set_, out)
    manifest, skipped = journey.perform(stage, loaded, Run(folder), force=force)
    if not in_charge():  # one of several processes prints
        return
    tell(stage, manifest, skipped)
    for reason, count in sorted(manifest.dropped.items(), key=lambda item: -item[1]):
        typer.echo(f"    {count:>9,}  {say(reason.replace('-', ' '), korean.reason(reason))}")


def judge(
    recipe: RecipeArg,
    out: Out = None,
    set_: Set = None,
    force: Force = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print rows, tokens, cost and hours of each way; ask nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score every row 0-100 for usefulness and keep the best; --estimate prints the price before the first call."""
    if not estimate:
        _perform("judge", recipe, out, set_, force)
        return
    from ..runs.workspace import Run
    from ..stages.judge import estimate as priced
    from ..stages.judge import estimate_table

    loaded, folder = load(recipe, set_, out)
    facts = priced(loaded, Run(folder))
    typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else estimate_table(facts))


def judge_calibrate(
    labels: Annotated[Path, typer.Argument(help="CSV with the columns question, answer, score (0-100) by people.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose judge is calibrated.")] = "quickstart",
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Compare the judge with human labels: Spearman, quadratic kappa, and the confusion at the threshold."""
    from ..stages.judge import calibrate

    facts = calibrate(load(recipe, set_, None)[0], labels)
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


def train(
    recipe: RecipeArg,
    out: Out = None,
    set_: Set = None,
    force: Force = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print memory, steps, tokens and hours; train nothing.")] = False,
    prove_resume: Annotated[
        int,
        typer.Option("--prove-resume", min=0, help="Kill and resume a short training N times; compare the results."),
    ] = 0,
) -> None:
    """Train the LoRA adapter; continues after an interruption."""
    if plan:
        from ..runs.workspace import Run
        from ..stages.train.show import plan_table

        loaded, folder = load(recipe, set_, out)
        typer.echo(plan_table(loaded, Run(folder)))
    elif prove_resume:
        from ..stages.train.proof import prove

        loaded, folder = load(recipe, set_, out)
        typer.echo(prove(loaded, folder, prove_resume))
    else:
        _perform("train", recipe, out, set_, force)


def evaluate(
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECIPE|MODEL", help="Recipe; after --compare the models that are compared."),
    ] = None,
    out: Out = None,
    set_: Set = None,
    force: Force = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Compare models: run folders, adapter folders or served models (URL#MODEL)."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="With --compare: the page to write; by default beside the first run.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Compare the recipe's judge with human labels (CSV or JSONL).")
    ] = None,
) -> None:
    """Compare base and tuned on held-out items and the exam, any two models, or the judge with people.

    With --compare A B C, each later model is compared with the first, in the terminal and as a page that prints on A4.
    A model without stored answers is asked the questions of the first run among them, or of RECIPE's --out.
    """
    names = given or []
    if compare:
        _compare(names, out, set_, html)
        return
    if len(names) != 1:
        raise typer.BadParameter("give one recipe, or --compare A B")
    (recipe,) = names
    if labels:
        from ..stages.evaluate.agreement import agreement_text, judge_agreement

        typer.echo(agreement_text(judge_agreement(load(recipe, set_, out)[0], labels)))
    else:
        _perform("evaluate", recipe, out, set_, force)


def _compare(names: list[str], out: Path | None, set_: list[str] | None, html: Path | None) -> None:
    from ..reports.compared_models import comparison_text, refuse_taken, write_comparison
    from ..runs.workspace import Run
    from ..stages.evaluate.compare import Home, compare_all

    refuse_taken(html)
    home = None
    if names and not Path(names[0]).is_dir() and "://" not in names[0]:
        recipe, *names = names
        loaded, folder = load(recipe, set_, out)
        home = Home(Run(folder), loaded)
    found = compare_all(names, home)
    typer.echo(comparison_text(found))
    typer.echo(f"\n{write_comparison(found, html)}")


def report(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Write the run's report.html again."""
    from ..runs import journey
    from ..runs.workspace import Run

    if not run.is_dir():
        raise UsageError(f"there is no run folder {str(run)!r}", next_step="mnatune run RECIPE --out " + str(run))
    typer.echo(journey.report(Run(run)))


COMMANDS = (
    run,
    _stage_command("collect", "Crawl the recipe's sites into pages."),
    read,
    _stage_command("curate", "Clean, mask, and merge duplicates; every drop has a reason."),
    _stage_command("synthesize", "Make grounded questions and answers from documents."),
    judge,
    _stage_command("compose", "Write chat examples in three splits that cannot leak."),
    train,
    evaluate,
    report,
)
