"""`mnatune law update`: what new texts of the law change, and which rows have to be looked at again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .opened_law import Index, PackName, open_memory

if TYPE_CHECKING:
    from ..law.citing import CitingText


def update(
    folder: Annotated[Path, typer.Argument(help="New texts in the layout of legalize-kr.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the lists.")] = Path("law-update"),
    run: Annotated[list[Path] | None, typer.Option("--run", help="A run whose rows are looked at. Repeatable.")] = None,
    db: Annotated[str, typer.Option("--db", help="A feedback store whose rated answers are looked at.")] = "",
    canned: Annotated[
        list[Path] | None, typer.Option("--canned", help="JSON Lines of prepared answers. Repeatable.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Recipe whose endpoint writes new answers; without it nothing is asked.")
    ] = "",
    index: Index = None,
    pack: PackName = "mna_ko",
) -> None:
    """List the articles that new texts change, the rows that cite them, and what the next training must leave out."""
    from ..pack import Pack
    from ..service.law_round import Holdings, law_round

    domain = Pack.load(pack)
    endpoint = None
    if recipe:
        from ..model.endpoint import Endpoint
        from ..runs.recipe import load_recipe

        endpoint = Endpoint(load_recipe(recipe, ()).endpoint, str(out.resolve()))
    held = Holdings(run or [], _rated(db, pack) if db else [], canned or [])
    found = law_round(folder, open_memory(index, pack), domain, held, out, endpoint)
    changes = found.update
    for fault in changes.faults:
        typer.echo(f"left out: {fault}", err=True)
    if changes.unknown:
        typer.echo(f"not in the memory: {', '.join(changes.unknown)}", err=True)
    typer.echo(
        f"{changes.laws:,} laws compared: {len(changes.amendments):,} articles differ, "
        f"{len(changes.substantial):,} in substance"
    )
    for kind, count in found.counts.items():
        typer.echo(f"  {kind:<9} {count:>7,} rows cite them")
    if endpoint:
        typer.echo(f"  new answers: {found.rederived:,} written, {found.unheld:,} refused")
    typer.echo(f"{out}: affected.md to read, affected.jsonl, leave_out.jsonl and rederived.jsonl for the next round")
    typer.echo(f"next: review them, then mnatune law build {folder} --out LAW --pack {pack}")


def _rated(db: str, pack: str) -> "list[CitingText]":
    from ..service.feedback.rated_texts import rated_texts
    from .ratings import open_feedback

    return list(rated_texts(open_feedback(db, pack)))
