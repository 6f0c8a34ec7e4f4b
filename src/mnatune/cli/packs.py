"""`mnatune pack`: check a domain pack and build its sample archive."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pack.check import CheckResult
    from ..pack.data import PackData

Name = Annotated[str, typer.Argument(help="A bundled pack, or a folder with a pack.yaml.")]
FAILED = 3


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check a domain pack and build what ships with it.")


@app.command()
def check(name: Name = "mna_ko") -> None:
    """Check every file of a pack: form, citations, exam, patterns, lexicon. Exit 3 if anything fails, one line each."""
    from ..pack import Pack
    from ..pack.check import check as run
    from ..stages.curate.rules import Drops
    from ..stages.evaluate.reading_answers import check_keys
    from ..stages.read.fieldmap import FieldMap

    pack = Pack.load(name)
    outcomes, data = run(pack, {"drops.yaml": Drops, "maps/*.yaml": FieldMap})
    outcomes.append(check_keys(pack))
    _show(outcomes, data)
    failures = [line for outcome in outcomes for line in outcome.failures]
    for line in failures:
        typer.echo(line)
    if failures:
        typer.echo(f"{len(failures)} failures", err=True)
        raise typer.Exit(FAILED)


@app.command()
def sample(
    out: Annotated[Path, typer.Option("--out", help="Folder for the tree; new, empty, or an earlier sample.")],
    name: Annotated[str, typer.Option("--pack", help="The pack whose rows are used.")] = "mna_ko",
) -> None:
    """Write a small AI Hub-shaped archive tree from the pack's own rows, with truth.json beside it."""
    from ..pack import Pack
    from ..pack.sample import build_sample

    typer.echo(build_sample(Pack.load(name), out))


def _show(outcomes: "list[CheckResult]", data: "PackData") -> None:
    from rich.console import Console
    from rich.table import Table

    from ..pack.check import kinds, topics

    console = Console()
    table = Table(title=f"pack {data.pack.root.name}")
    for column in ("check", "result", "found"):
        table.add_column(column)
    for outcome in outcomes:
        table.add_row(outcome.name, f"{len(outcome.failures)} failures" if outcome.failures else "ok", outcome.facts)
    console.print(table)
    for title, column, (heads, rows) in (
        ("question-answer rows by topic and characters of the answer", "topic", topics(data)),
        ("question-answer rows by kind and characters of the answer", "kind", kinds(data)),
    ):
        if rows:
            counts = Table(title=title)
            counts.add_column(column)
            for head in heads:
                counts.add_column(head, justify="right")
            for name, numbers in rows:
                counts.add_row(name, *map(str, numbers))
            console.print(counts)
