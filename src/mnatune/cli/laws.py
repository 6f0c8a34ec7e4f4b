"""`mnatune law`: build a law memory, search it, show an article as of a day, and compare two days."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.errors import UsageError
from .law_updates import update
from .opened_law import Index, PackName, open_memory

if TYPE_CHECKING:
    from ..law.hits import Change, Hit
    from ..law.law_memory import LawIndex

At = Annotated[str, typer.Option("--at", help="The day that counts, such as 2023-05-01; today without it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Search statutes and decisions offline, show an article as of a day, compare two days."
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=text)
    for command in (build, search, show, diff, update):
        group.command()(command)
    app.add_typer(group, name="law")


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
        raise UsageError(
            "give one question, or --file and --out", next_step='mnatune law search "합병 반대주주의 권리"'
        )
    day = _day(at)
    memory = open_memory(index, pack)
    if file and out:
        _search_all(memory, file, out, day, top)
        return
    hits = memory.search(question, day, top, wanted)
    if as_json:
        typer.echo(json.dumps([_plain(hit) for hit in hits], ensure_ascii=False, indent=1))
        return
    for hit in hits:
        typer.echo(f"{hit.score:7.1f}  {hit.name}" + "".join(f"  [{told}]" for told in (hit.origin, hit.note) if told))
        typer.echo(f"         {' '.join(hit.text.split())[:160]}")
    if not hits:
        typer.echo(_why_nothing(memory, day), err=True)


def show(
    article: Annotated[str, typer.Argument(help='"상법 제360조의3"; short names such as 자본시장법 do.')],
    at: At = "",
    index: Index = None,
    pack: PackName = "mna_ko",
) -> None:
    """Show the text of an article, as it is in force on a day if that version is known."""
    from ..law.article_numbers import split_citation

    memory = open_memory(index, pack)
    law, number = split_citation(article)
    hit = memory.article(law, number, _day(at))
    if hit is None:
        official = memory.law_name(law)
        near = ", ".join(memory.nearest_numbers(official, number))
        raise UsageError(f"{official} never had {article!r}", next_step=f"the nearest are {near}")
    typer.echo(f"{hit.name}\n{hit.first}부터 {f'{hit.last}까지 ' if hit.last else ''}시행")
    if hit.note:
        typer.echo(f"[{hit.note}]")
    typer.echo(f"\n{hit.text}" if hit.text else "")


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
