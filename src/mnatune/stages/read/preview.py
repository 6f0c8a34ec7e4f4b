"""`read --preview`: what a file or folder would give, without a recipe: questions and answers, and documents."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from ...runs.errors import DataError, UsageError
from ...runs.output_language import say
from ...runs.records import Document, read_qa
from .counts import ReadTally
from .deal_room import read_documents
from .paths import name_of
from .qa_files import read_tables
from .shards import Origin, ShardWriter

MOST_FILES = 200
SHOWN_CHARS = 400
SHOWN_FILES = 10  # skipped files named
SAMPLES = {"article": r"(?s).+", "table": r"(?m)^\|", "note": r"(?m)^\[[각미]주"}  # kind of passage → where it begins
QUESTIONS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".xlsm", ".xls")


def preview_text(path: Path) -> str:
    """Questions and answers with a first one, then files by type, passages, tables, skipped files by reason and samples.

    Raises:
        UsageError: the path does not exist.
    """
    if not path.exists():
        raise UsageError(f"there is no {str(path)!r}")
    asked = list(_questions(path))
    return "\n".join(asked if asked and path.is_file() else [*asked, *([""] if asked else []), *_documents(path)])


def _questions(path: Path) -> Iterator[str]:
    """What the path gives as a source of kind `qa`, and the command that trains on it; nothing if no row is found."""
    files = [path] if path.is_file() else path.rglob("*")
    if not any(file.suffix.lower() in QUESTIONS for file in files):
        return
    with TemporaryDirectory(prefix="mnatune-preview-") as scratch:
        shard = Path(scratch) / "qa.parquet"
        try:
            origin = Origin(path.stem, name_of(path, path.parent), "", "")
            with ShardWriter(shard, origin, Path(scratch) / "left") as writer:
                read_tables(path, writer)
        except DataError as error:
            if path.is_file():
                yield say(f"no questions and answers: {error}", f"질문·답변으로 읽지 못했습니다: {error}")
            return
        tally = writer.columns.tally
        if not tally.rows:
            return
        first = read_qa(shard)[0]
    yield say(f"questions and answers: {tally.rows:,} rows", f"질문·답변 {tally.rows:,}행")
    yield from _losses(tally.dropped + tally.members_skipped)
    yield from (f"             {warning}" for warning in tally.warnings[:SHOWN_FILES])
    for label, text in ((say("question", "질문"), first.question), (say("answer", "답변"), first.answer)):
        shown = " ".join(text.split())
        yield f"  {label}  {shown[:SHOWN_CHARS]}{'…' if len(shown) > SHOWN_CHARS else ''}"
    source = shlex.quote(f"read.sources=[{{kind: qa, path: {path.as_posix()!r}}}]")
    yield say("next: ", "다음: ") + f"mnatune run quickstart --out runs/{path.stem.replace(' ', '-')} --set {source}"


def _losses(counts: Mapping[str, int]) -> Iterator[str]:
    for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
        yield f"  {count:>9,}  {say('skipped', '제외')}: {reason}"


def _documents(path: Path) -> Iterator[str]:
    """What the path gives as a source of kind `documents`."""
    tally = ReadTally()
    documents = list(read_documents(path, path.name, "", tally, MOST_FILES))
    skipped = sum(tally.members_skipped.values())
    yield say(
        f"{tally.members:,} files read, {skipped:,} skipped (at most {MOST_FILES} of a folder are looked at)",
        f"파일 {tally.members:,}개를 읽고 {skipped:,}개를 건너뛰었습니다 (폴더에서 {MOST_FILES}개까지 봅니다)",
    )
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.layouts.items()))
    yield f"  {say('files      ', '형식')} {kinds or say('none', '없음')}"
    yield f"  {say('pages      ', '쪽')} {tally.contents.pop('pages', 0):,}"
    yield f"  {say('passages   ', '조각')} {len(documents):,}"
    yield f"  {say('tables     ', '표')} {tally.contents.pop('tables', 0):,}"
    yield from (f"  {count:>9,}  {what}" for what, count in sorted(tally.contents.items()))
    yield from _losses(tally.members_skipped)
    yield from (f"             {warning}" for warning in tally.warnings[:SHOWN_FILES])
    yield from _samples(documents)


def _samples(documents: list[Document]) -> Iterator[str]:
    """The first passage of each kind, with its place."""
    for kind, pattern in SAMPLES.items():
        for document in documents:
            found = re.search(pattern, document.text)
            if found and (kind != "article" or re.search(r" 제\d+조", document.title)):
                shown = document.text[found.start() : found.start() + SHOWN_CHARS].split("\n")
                yield f"\n[{kind}] {document.title}\n  {document.source.member}, {document.source.place}"
                yield "\n".join(f"  {line}" for line in shown)
                break
