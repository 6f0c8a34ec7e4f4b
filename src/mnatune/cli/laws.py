"""`mnatune law`: build a law memory, search it, show an article as of a day, compare two days, and update it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.errors import UsageError

if TYPE_CHECKING:
    from ..law.citing import CitingText
    from ..law.hits import Change, Hit
    from ..law.law_memory import LawIndex

Index = Annotated[Path | None, typer.Option("--index", help="A law memory; without it, that of the pack.")]
PackName = Annotated[str, typer.Option("--pack", help="The pack whose memory, names and glossary are used.")]
At = Annotated[str, typer.Option("--at", help="The day that counts, such as 2023-05-01; today without it.")]


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Search statutes and decisions offline, show an article as of a day, compare two days.",
)


def open_memory(index: Path | None, pack: str) -> "LawIndex":
    """The law memory in a folder; without one, the pack's."""
    from ..law.law_memory import LawIndex
    from ..pack import Pack

    return LawIndex.open(index or Pack.load(pack).path("law"))


@app.command()
def build(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Folders of legalize-kr and precedent-kr, a history (.jsonl), documents.parquet of a run."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the memory; what is in it is replaced.")] = Path("law"),
    as_of: Annotated[str, typer.Option("--as-of", help="The day on which the texts were taken.")] = "",
    pack: PackName = "mna_ko",
) -> None:
    """Build a law memory from statutes, decisions and documents. Files that cannot be trusted are left out and named."""
    from ..law.building import build as run
    from ..pack import Pack

    built = run(sources, out, Pack.load(pack), as_of=_day(as_of))
    for fault in built.faults:
        typer.echo(f"left out: {fault}", err=True)
    typer.echo(
        f"{out}: {built.laws:,} laws, {built.articles:,} articles, {built.decisions:,} issues of decisions, "
        f"{built.documents:,} documents" + (f"; {len(built.faults)} files left out" if built.faults else "")
    )


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="The question, in Korean.")] = "",
    at: At = "",
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="Hits of each kind.")] = 5,
    kind: Annotated[
        str, typer.Option("--kind", help="article, decision, document, or several with commas.")
    ] = "article",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    file: Annotated[Path | None, typer.Option("--file", help='Questions: JSON Lines of {"question", "at"}.')] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the hits of --file go, as JSON Lines.")] = None,
    index: Index = None,
    pack: PackName = "mna_ko",
) -> None:
    """Find the articles (decisions, documents) that a question is about."""
    from ..law.hits import KINDS

    wanted = [name for name in KINDS if name in kind.split(",")]
    if not wanted or set(kind.split(",")) - set(KINDS):
        raise UsageError(f"there is no kind {kind!r}", next_step=f"one or more of {','.join(KINDS)}")
    if bool(question.strip()) == bool(file) or bool(file) != bool(out):
        step = 'mnatune law search "합병 반대주주의 권리"'
        raise UsageError("give one question, or --file and --out", next_step=step)
    day = _day(at)
    memory = open_memory(index, pack)
    if file and out:
        _search_all(memory, file, out, day, top)
        return
    _tell_horizon(memory, day)
    hits = memory.search(question, day, top, wanted)
    if as_json:
        typer.echo(json.dumps([_plain(hit) for hit in hits], ensure_ascii=False, indent=1))
        return
    for hit in hits:
        typer.echo(f"{hit.score:7.1f}  {hit.name}" + "".join(f"  [{told}]" for told in (hit.origin, hit.note) if told))
        typer.echo(f"         {' '.join(hit.text.split())[:160]}")
    if not hits:
        typer.echo(_why_nothing(memory, day), err=True)


@app.command()
def show(
    article: Annotated[str, typer.Argument(help='"상법 제360조의3"; short names such as 자본시장법 do.')],
    at: At = "",
    index: Index = None,
    pack: PackName = "mna_ko",
) -> None:
    """Show the text of an article, as it is in force on a day if that version is known."""
    from ..law.article_numbers import split_citation

    memory, day = open_memory(index, pack), _day(at)
    law, number = split_citation(article)
    hit = memory.article(law, number, day)
    if hit is None:
        official = memory.law_name(law)
        near = ", ".join(memory.nearest_numbers(official, number))
        raise UsageError(f"{official} never had {article!r}", next_step=f"the nearest are {near}")
    _tell_horizon(memory, day)
    typer.echo(f"{hit.name}\n{hit.first}부터 {f'{hit.last}까지 ' if hit.last else ''}시행")
    if hit.note:
        typer.echo(f"[{hit.note}]")
    typer.echo(f"\n{hit.text}" if hit.text else "")


@app.command()
def diff(
    law: Annotated[str, typer.Argument(help="A law by its official or short name.")],
    start: Annotated[str, typer.Argument(help="A day, such as 2024-01-01.")],
    end: Annotated[str, typer.Argument(help="A later day.")],
    index: Index = None,
    pack: PackName = "mna_ko",
) -> None:
    """List the articles that were added, amended or repealed between two days, with both texts where they are known."""
    first, last = _day(start), _day(end)
    if first >= last:
        raise UsageError(f"{start} is not before {end}", next_step="give the earlier day first")
    memory = open_memory(index, pack)
    changes = sorted(memory.changes(law, first, last), key=lambda change: change.day)
    for change in changes:
        typer.echo("\n".join(_told(change)))
    typer.echo(f"{memory.law_name(law)}: {len(changes)} articles changed from {first} to {last}")
    unknown = memory.unmarked(law, first, last)
    if unknown:
        typer.echo(f"{len(unknown)} more articles bear no date of amendment; whether they changed then is not known")


@app.command()
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
    rated: list[CitingText] = []
    if db:
        from ..service.feedback.rated_texts import rated_texts
        from .ratings import open_feedback

        rated = list(rated_texts(open_feedback(db, pack)))
    held = Holdings(run or [], rated, canned or [])
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
    typer.echo(
        f"next: review them, then mnatune law build {folder} and all other sources of the memory --out LAW --pack {pack}"
    )


def _told(change: "Change") -> list[str]:
    import difflib

    from ..law.article_numbers import written

    head = f"{change.day} {change.kind:<8} {written(change.number)}" + (f"({change.title})" if change.title else "")
    if change.kind != "amended":
        return [head]
    if not change.before:
        return [head, "  the text before is not in the memory"]
    lines = difflib.unified_diff(change.before.split("\n"), change.after.split("\n"), lineterm="", n=0)
    return [head, *(f"  {line}" for line in list(lines)[2:] if not line.startswith("@@"))]


def _search_all(memory: "LawIndex", file: Path, out: Path, day: str, top: int) -> None:
    from ..runs.workspace import read_jsonl, write_jsonl

    rows = []
    for number, row in enumerate(read_jsonl(file), 1):
        if not isinstance(row, dict) or not isinstance(row.get("question"), str):
            raise UsageError('a row without a "question"', where=f"{file}:{number}")
        hits = memory.search(row["question"], _day(str(row.get("at") or day)), top)
        rows.append({**row, "hits": [_plain(hit) for hit in hits]})
    typer.echo(f"{out}: {write_jsonl(out, rows)} questions")


def _plain(hit: "Hit") -> dict[str, object]:
    return {"name": hit.name, **asdict(hit)}


def _tell_horizon(memory: "LawIndex", day: str) -> None:
    if day > memory.as_of:
        typer.echo(f"the texts are those of {memory.as_of}; what has changed since is not known", err=True)


def _why_nothing(memory: "LawIndex", day: str) -> str:
    if not memory.statutes.laws:
        return "the memory holds no article; build one: mnatune law build FOLDER"
    earliest = min(memory.statutes.since.values())
    if day and day < earliest:
        return f"no article of the memory was in force on {day}; the earliest is of {earliest}"
    return "no word of the question is in the memory; ask in Korean, with the words of the law"


def _day(text: str) -> str:
    """A day as ISO 8601; empty stays empty."""
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise UsageError(f"{text!r} is no day", next_step="write it as 2023-05-01") from None
