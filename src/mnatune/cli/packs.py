"""`mnatune pack`: check a domain pack, build its sample archive, and index statutes for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pack.check import CheckResult
    from ..pack.data import PackData

Name = Annotated[str, typer.Argument(help="A bundled pack, or a folder with a pack.yaml.")]
FAILED = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Check a domain pack and build what ships with it."
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=text)
    group.command()(check)
    group.command()(sample)
    group.command()(index)
    app.add_typer(group, name="pack")


def check(name: Name = "mna_ko") -> None:
    """Check every file of a pack: form, citations, exam, patterns, lexicon. Exit 3 if anything fails, one line each."""
    from ..pack import Pack
    from ..pack.check import check as run
    from ..stages.curate.rules import Drops
    from ..stages.read.fieldmap import FieldMap

    outcomes, data = run(Pack.load(name), {"drops.yaml": Drops, "maps/*.yaml": FieldMap})
    _show(outcomes, data)
    failures = [line for outcome in outcomes for line in outcome.failures]
    for line in failures:
        typer.echo(line)
    if failures:
        typer.echo(f"{len(failures)} failures", err=True)
        raise typer.Exit(FAILED)


def sample(
    out: Annotated[Path, typer.Option("--out", help="Folder for the tree; new, empty, or an earlier sample.")],
    name: Annotated[str, typer.Option("--pack", help="The pack whose rows are used.")] = "mna_ko",
) -> None:
    """Write a small AI Hub-shaped archive tree from the pack's own rows, with truth.json beside it."""
    from ..pack import Pack
    from ..pack.sample import build_sample

    typer.echo(build_sample(Pack.load(name), out))


def index(
    laws: Annotated[Path, typer.Option("--laws", help="A legalize-kr checkout, or a .jsonl history of articles.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write the index.")] = Path("statutes.json"),
) -> None:
    """Index the articles of statutes, with paragraphs and dates in force, for checking citations."""
    import unicodedata

    from ..law.statute_index import build, dump
    from ..runs.workspace import atomic_text

    found = build(laws)
    with atomic_text(out) as handle:
        handle.write(unicodedata.normalize("NFC", dump(found)))
    articles = sum(len(law["articles"]) for law in found["laws"].values())
    typer.echo(f"{out}: {len(found['laws'])} laws, {articles:,} articles")


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
