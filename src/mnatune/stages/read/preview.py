"""`read --preview`: what a folder of documents would give, without a recipe."""

import re
from collections.abc import Iterator
from pathlib import Path

from ...runs.errors import UsageError
from ...runs.records import Document
from .counts import ReadTally
from .deal_room import read_documents

MOST_FILES = 200
SHOWN_CHARS = 400
SHOWN_FILES = 10  # skipped files named
SAMPLES = {"article": r"(?s).+", "table": r"(?m)^\|", "note": r"(?m)^\[[각미]주"}  # kind of passage → where it begins


def preview_text(path: Path) -> str:
    """Files by type, pages, passages, tables, skipped files by reason, and one passage of each kind.

    Raises:
        UsageError: the path does not exist.
    """
    if not path.exists():
        raise UsageError(f"there is no {str(path)!r}")
    tally = ReadTally()
    documents = list(read_documents(path, path.name, "", tally, MOST_FILES))
    skipped = sum(tally.members_skipped.values())
    lines = [f"{tally.members:,} files read, {skipped:,} skipped (at most {MOST_FILES} of a folder are looked at)"]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.layouts.items()))
    lines.append(f"  files      {kinds or 'none'}")
    lines.append(f"  pages      {tally.contents.pop('pages', 0):,}")
    lines.append(f"  passages   {len(documents):,}")
    lines.append(f"  tables     {tally.contents.pop('tables', 0):,}")
    lines += [f"  {count:>9,}  {what}" for what, count in sorted(tally.contents.items())]
    lines += [f"  {count:>9,}  skipped: {reason}" for reason, count in tally.members_skipped.most_common()]
    lines += [f"             {warning}" for warning in tally.warnings[:SHOWN_FILES]]
    return "\n".join([*lines, *_samples(documents)])


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
