"""Decisions as Markdown (`precedent-kr`) → one `QA` per numbered pair of 판시사항 (issue) and 판결요지 (holding).

Both are written by the court's researchers, so they are question and answer by an expert. Where the numbers of the two
do not match, the decision stays one row with the flag "unpaired-numbering".
"""

import re
from pathlib import Path

from ...text.shingles import spaceless
from .markdown import Page, fact, joined, pages, parts, plain
from .shards import ReadRow, ShardWriter

LICENCE = "저작권법 제7조에 따른 비보호저작물(판결)"
SECTION = re.compile(r"^## ++([^ \n]++(?: ++[^ \n]++)*+) *+$", re.MULTILINE)
NUMBER = re.compile(r"^[^\S\n]*+[\[［](\d+)[\]］]\s*", re.MULTILINE)
UNPAIRED = "unpaired-numbering"
RULED = re.compile(r"\((?:원칙적|한정|일부)?\s*(?:적극|소극)\)|\W")


def read_precedents(root: Path, writer: ShardWriter) -> None:
    """Write the pairs of every decision below `root`; what is left out is counted in the writer's tally."""
    tally = writer.columns.tally
    for file, page in pages(root):
        if page is None or not fact(page, "사건번호"):
            tally.members_skipped["not a decision"] += 1
            continue
        found = sections(page)
        missing = [name for name in ("판시사항", "판결요지") if not found.get(name)]
        if missing:
            tally.members_skipped[f"no {' and no '.join(missing)}"] += 1
            continue
        tally.members += 1
        rows, paired = pairs(found["판시사항"], found["판결요지"])
        tally.layouts["numbered" if len(rows) > 1 else "whole" if paired else UNPAIRED] += 1
        for index, (question, answer) in enumerate(rows):
            if is_echo(question, answer):
                writer.columns.drop(file, index, "echo", answer, question)
                continue
            kind, case = fact(page, "사건종류"), fact(page, "사건번호")
            cited, flags = reference(page, found.get("참조조문", "")), () if paired else (UNPAIRED,)
            writer.columns.add(ReadRow(file, index, question, answer, kind, case, cited, flags=flags))
        writer.flush()


def sections(page: Page) -> dict[str, str]:
    """Title → text of the sections."""
    return {mark[1]: joined(plain(text)) for mark, text in parts(SECTION, page.body)}


def numbered(text: str) -> dict[int, str] | None:
    """Number → text of "[1] … [2] …"; None if the text is not numbered from its beginning, or a number comes twice."""
    items = list(parts(NUMBER, text))
    if not items or text[: items[0][0].start()].strip():
        return None
    found = {int(mark[1]): item.strip() for mark, item in items}
    return found if len(found) == len(items) else None


def pairs(issues: str, holdings: str) -> tuple[list[tuple[str, str]], bool]:
    """The question–answer pairs, and whether the two texts are numbered alike."""
    asked, held = numbered(issues), numbered(holdings)
    if asked is None and held is None:
        return [(issues, holdings)], True
    if asked is not None and held is not None and set(asked) == set(held):
        return [(asked[n], held[n]) for n in sorted(asked)], True
    return [(issues, holdings)], False


def is_echo(question: str, answer: str) -> bool:
    """True if the answer says no more than the question, punctuation and "(적극)" aside."""
    return RULED.sub("", spaceless(question)) == RULED.sub("", spaceless(answer))


def reference(page: Page, articles: str) -> str:
    """How the decision is cited, and the articles that it names."""
    day = ". ".join(str(int(part)) for part in fact(page, "선고일자").split("-") if part.isdigit())
    named = (fact(page, "법원명"), f"{day}. 선고" if day else "", fact(page, "사건번호"))
    decision = " ".join(filter(None, named))
    return f"{decision} / {' '.join(articles.split())}" if articles else decision
