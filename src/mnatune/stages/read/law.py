"""Statutes as Markdown (`legalize-kr`) → one `Document` per article in force.

Does not: read addenda (부칙) or the tables that are linked as files.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...runs.records import Document, Source, content_id
from .counts import ReadTally
from .markdown import Page, fact, iso_date, pages, parts, plain

LICENCE = "저작권법 제7조에 따른 비보호저작물(법령)"
HEADING = re.compile(r"^(#{1,6}) ++([^ \n]++(?: ++[^ \n]++)*+) *+$", re.MULTILINE)
ARTICLE = re.compile(r"^(제\d+조(?:의\d+)*) *(?:\((.+)\))?")
DELETED = re.compile(r"^삭제\b|^삭제 *<|^$")


def read_law(root: Path, name: str, licence: str, tally: ReadTally) -> Iterator[Document]:
    """The articles of every law below `root`; skipped files are counted in the tally."""
    laws: Counter[str] = Counter()
    index = 0
    for file, page in pages(root):
        if page is None or not fact(page, "제목"):
            tally.members_skipped["not a law"] += 1
            continue
        tally.members += 1
        in_force = iso_date(fact(page, "시행일자"))
        if fact(page, "시행일자") and not in_force:
            tally.warn(f"{file}: 시행일자 {fact(page, '시행일자')[:40]!r} is no date, so its articles have none")
        for title, heading, text in articles(page):
            if DELETED.match(text):
                tally.dropped["deleted-article"] += 1
                continue
            source = Source(name, root.name, file, index, licence or LICENCE)
            group = f"{title} {ARTICLE.match(heading)[1]}"  # type: ignore[index]
            whole = f"{title} {heading}"
            yield Document(content_id(whole, text), whole, text, group, source, in_force)
            laws[title] += 1
            index += 1
    tally.laws.update(laws)


def articles(page: Page) -> Iterator[tuple[str, str, str]]:
    """(law, "제5조의2 (제목)", text) of every article before the addenda; deleted ones have a text that says so."""
    law = plain(fact(page, "제목"))
    for here, text in parts(HEADING, page.body):
        if here[2].replace(" ", "").startswith("부칙"):
            return
        if ARTICLE.match(here[2]):
            yield law, plain(here[2]), plain(text)
