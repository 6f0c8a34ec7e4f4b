"""`mnatune feedback`: review, export, annotation tools, statistics, erasure and retention of what users said."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from ..service.feedback.store import FeedbackStore

Database = Annotated[
    str, typer.Option("--db", envvar="MNATUNE_FEEDBACK_URL", help="SQLite file, or postgresql://user@host/name.")
]
PackName = Annotated[str, typer.Option("--pack", help="Pack whose patterns mask personal data.")]
WallName = Annotated[str, typer.Option("--wall", help="The wall whose rows to take; without it, those behind none.")]
URL = "feedback.db"
PACK = "mna_ko"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Review, export and erase what users said.")


def open_feedback(url: str, pack: str = PACK) -> "FeedbackStore":
    """Open an existing store with the pack's masking; names the extra if a library is missing."""
    import importlib.util

    from ..pack import Pack

    file = url.removeprefix("sqlite:///")
    if "://" not in file and not Path(file).is_file():
        step = "`mnatune serve` makes it; --db names another"
        raise UsageError(f"there is no feedback database {url!r}", next_step=step)
    for library in ("sqlalchemy", "alembic"):
        if importlib.util.find_spec(library) is None:
            raise missing_extra(library, "serve")
    from ..service.feedback.store import open_store

    return open_store(url, Pack.load(pack))


@app.command("export")
def export_feedback(
    out: Annotated[Path, typer.Option("--out", help="Folder for the export.")],
    db: Database = URL,
    pack: PackName = PACK,
    wall: WallName = "",
    held_out: Annotated[Path | None, typer.Option(help="Run whose held-out rows must not be trained on.")] = None,
    per_rater: Annotated[int, typer.Option(min=1, help="Rows of one rater in one file, at most.")] = 200,
    unreviewed: Annotated[bool, typer.Option("--unreviewed", help="Take thumbs and picks before review too.")] = False,
) -> None:
    """Write reviewed feedback as SFT, DPO and KTO rows, with what was left out and why."""
    from ..pack import Pack
    from ..runs.workspace import Run
    from ..service.feedback.datasets import Options, export, known_of

    store = open_feedback(db, pack).within(wall)
    known = known_of(Pack.load(pack), Run(held_out) if held_out else None)
    result = export(store, out, known, Options(per_rater=per_rater, unreviewed=unreviewed))
    for name in ("train.jsonl", "preferences.jsonl", "unpaired.jsonl"):
        typer.echo(f"{name:20} {result.rows[name]:6,}")
    for reason, count in result.dropped.items():
        typer.echo(f"left out: {reason:20} {count:6,}")
    typer.echo(f"{out}  {result.id[:12]}")


@app.command()
def labels(
    out: Annotated[Path, typer.Option("--out", help="JSON Lines file for the labels.")],
    db: Database = URL,
    wall: WallName = "",
) -> None:
    """Write blind picks as human labels, for `mnatune evaluate RECIPE --labels`."""
    from ..service.feedback.picks import write_labels

    typer.echo(f"{write_labels(open_feedback(db).within(wall), out)} labelled pairs  {out}")


@app.command("list")
def list_items(
    state: Annotated[str, typer.Option(help="open, approved or rejected.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    db: Database = URL,
) -> None:
    """List the review queue, oldest first."""
    from ..service.feedback.store import STATES

    if state not in STATES:
        raise UsageError(f"--state is one of {', '.join(STATES)}, not {state!r}")
    page = open_feedback(db).review_queue(state, limit)  # type: ignore[arg-type]
    for item in page.items:
        typer.echo(f"{item.id}  {item.kind:6}  {item.model:16}  {_short(item.value):40}  {_short(item.question)}")
    typer.echo(f"{len(page.items)} of {page.total}" if page.total else f"nothing is {state}")


@app.command()
def review(
    item: Annotated[str, typer.Argument(help="Id from `mnatune feedback list`.")],
    state: Annotated[str, typer.Argument(help="approved, rejected or open.")],
    reviewer: Annotated[str, typer.Option(help="Who decides.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
    text: Annotated[str | None, typer.Option(help="Your own wording of a corrected answer.")] = None,
    db: Database = URL,
    pack: PackName = PACK,
) -> None:
    """Approve or reject a piece of feedback."""
    open_feedback(db, pack).review(item, reviewer, state, note, text)  # type: ignore[arg-type]
    typer.echo(f"{item}  {state}")


@app.command("tasks")
def write_annotation_tasks(
    out: Annotated[Path, typer.Option("--out", help="JSON file for the tasks; an existing file is not overwritten.")],
    kind: Annotated[str, typer.Option("--format", help="label-studio or argilla.")] = "label-studio",
    db: Database = URL,
    wall: WallName = "",
) -> None:
    """Write stored answers and their grades for Label Studio or Argilla."""
    from ..service.feedback.annotation_formats import FORMATS, write_tasks

    if kind not in FORMATS:
        raise UsageError(f"--format is one of {', '.join(FORMATS)}, not {kind!r}")
    if out.exists():
        raise UsageError("the file is there already", where=str(out), next_step="choose another --out")
    answers, grades = write_tasks(open_feedback(db).within(wall), out, kind)  # type: ignore[arg-type]
    typer.echo(f"{answers} answers, {grades} grades  {out}")


@app.command("import")
def import_grades(
    file: Annotated[Path, typer.Argument(help="JSON that Label Studio or Argilla exported.")],
    db: Database = URL,
    pack: PackName = PACK,
) -> None:
    """Take grades back from Label Studio or Argilla; the same file again changes nothing."""
    from ..service.feedback.annotation_formats import read_grades, take_grades

    grades = list(read_grades(file))
    taken = take_grades(open_feedback(db, pack), grades)
    typer.echo(f"{taken.stored} grades stored, {taken.same} were there already")
    if taken.unknown:
        typer.echo(f"left out: no such answer in this store  {taken.unknown}")


@app.command("agreement")
def print_agreement(db: Database = URL) -> None:
    """Print how far reviewers agree: Krippendorff's alpha of their grades."""
    from ..service.feedback.rater_agreement import agreement, grades_by_item

    grades = open_feedback(db).grades()
    by_item = grades_by_item([(one.generation, one.rater, one.grade) for one in grades])
    found = agreement([list(given.values()) for given in by_item.values()])
    if found.alpha is None:
        typer.echo(f"no agreement to tell: {found.items} answers have two grades or more")
        return
    interval = f"[{found.low:.3f}, {found.high:.3f}]"
    typer.echo(f"alpha {found.alpha:.3f} {interval}  {found.items} answers, {found.grades} grades")


@app.command()
def stats(
    days: Annotated[int, typer.Option(min=1, help="Days back from today, UTC.")] = 30,
    db: Database = URL,
) -> None:
    """Print usage and ratings by day and model."""
    used = open_feedback(db).usage(days)
    if not used:
        typer.echo(f"no answer in the last {days} days")
        return
    typer.echo(f"{'day':10}  {'model':20} answers  up  down  edits  won  lost  tied")
    for day in used:
        counts = f"{day.generations:7} {day.up:3} {day.down:5} {day.edits:6} {day.wins:4} {day.losses:5} {day.ties:5}"
        typer.echo(f"{day.day:10}  {day.model:20} {counts}")


@app.command("delete-user")
def delete_user(
    rater: Annotated[str, typer.Argument(help="Rater as the server names it, such as key:3f2a.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Database = URL,
) -> None:
    """Erase everything of a user, and name the exports that were made from it."""
    store = open_feedback(db)
    if not yes:
        typer.confirm(f"erase everything of {rater!r}?", abort=True)
    exports = store.exports_with(rater)
    typer.echo(f"{store.delete_user(rater)} answers of {rater} erased")
    for export in exports:
        typer.echo(
            f"an earlier export holds rows of this user: {export[:12]}; remove its folder (its hash stands in manifest.json) "
            "and train without it"
        )


@app.command()
def retain(
    days: Annotated[int, typer.Option(min=1, help="Keep answers nobody rated for so many days.")] = 90,
    rated_days: Annotated[int, typer.Option(min=1, help="Keep rated answers for so many days.")] = 730,
    everything: Annotated[bool, typer.Option("--everything", help="Even if no answer would be left.")] = False,
    db: Database = URL,
) -> None:
    """Erase what is older than the retention times; run it daily."""
    gone = open_feedback(db).retain(days, rated_days, everything=everything)
    typer.echo(f"{gone} answers erased")


def _short(text: str, width: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
