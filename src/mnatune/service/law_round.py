"""What a change of the law means for what a firm has: its pack, its runs, what its people rated, its canned answers.

    changes.jsonl    every article that changed, whether in substance, with both texts
    affected.jsonl   every row that cites an article changed in substance, the changes, and what to do
    affected.md      the same as a table in Korean
    leave_out.jsonl  training rows that the next round must not learn from as they are: id and place
    rederived.jsonl  new answers to their questions, from the new texts (an endpoint is needed), as `kind: qa` reads them

A new answer is kept only if its citations hold: they exist on the day of the change and their texts can carry it. Rows that
examine, define or were written by people are never rewritten: they are for a person to review.

Does not: change the pack, a run or the store.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..law.amendments import Amendment, LawUpdate, law_update
from ..law.article_numbers import written
from ..law.citing import AffectedText, CitingText, affected, strings
from ..law.hits import Hit
from ..law.law_memory import LawIndex
from ..law.support import check_citations
from ..model.endpoint import Ask, Endpoint, Outcome, ledger_key
from ..model.evidence_prompt import EvidenceWords, NumberedPassage
from ..model.prompt import dialogue
from ..pack import Pack
from ..runs.errors import DataError, UsageError
from ..runs.records import is_canary
from ..runs.workspace import Run, atomic_text, read_jsonl, write_jsonl

PACK_FILES = {
    "qa.jsonl": "pack",
    "sample/rows.jsonl": "pack",
    "sample/twins.jsonl": "pack",
    "exam/choice.jsonl": "exam",
    "exam/essay.jsonl": "exam",
    "exam/false_premise.jsonl": "exam",
    "glossary.jsonl": "glossary",
}
SPLIT_KINDS = {"train": "training", "valid": "held-out", "test": "held-out"}
KOREAN_KINDS = {
    "training": "학습 행",
    "held-out": "보류 문항",
    "pack": "팩 질의응답",
    "exam": "시험 문항",
    "glossary": "용어집",
    "rated": "평가받은 답변",
    "canned": "준비한 답변",
}
KOREAN_CHANGES = {"added": "신설", "repealed": "삭제", "amended": "개정"}
TO_LEARN = ("training", "pack")  # what a model learns from; all else is examined, read or said by people
WRITTEN = ("changes.jsonl", "affected.jsonl", "affected.md", "leave_out.jsonl", "rederived.jsonl")
SHOWN = 60  # characters of a question in the table
ANSWER_TOKENS = 600


@dataclass(frozen=True)
class Holdings:
    """What a firm has that may cite the law: run folders, a feedback store's texts, and files of canned answers."""

    runs: Sequence[Path] = ()
    rated: Iterable[CitingText] = ()
    canned: Sequence[Path] = ()


@dataclass
class RoundList:
    """What was found; `rederived` counts new answers, `unheld` new answers whose citations did not hold."""

    update: LawUpdate
    rows: list[AffectedText] = field(default_factory=list)
    rederived: int = 0
    unheld: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Affected rows by kind."""
        return dict(sorted(Counter(row.source.kind for row in self.rows).items()))


def law_round(
    folder: Path, memory: LawIndex, pack: Pack, held: Holdings, out: Path, endpoint: Endpoint | None = None
) -> RoundList:
    """Compare a folder's texts with the memory, find what cites the changes, and write the lists.

    Raises:
        DataError: the folder holds no statute, or a file of canned answers is broken.
        UsageError: `out` holds something else, or a run or a file is not there.
    """
    if out.exists() and any(path.name not in WRITTEN for path in out.iterdir()):
        raise UsageError("the folder holds something else", where=str(out), next_step="name a new one: --out FOLDER")
    update = law_update(memory, folder)
    found = RoundList(update)
    texts = (*pack_texts(pack), *run_texts(held.runs), *held.rated, *canned_texts(held.canned))
    found.rows = list(affected(texts, update.substantial, memory.checker))
    out.mkdir(parents=True, exist_ok=True)
    fresh = _rederive(found, pack, memory, endpoint) if endpoint else {}
    write_jsonl(out / "changes.jsonl", map(_change, update.amendments))
    write_jsonl(out / "affected.jsonl", (_row(row, fresh) for row in found.rows))
    learned = [row for row in found.rows if row.source.kind in TO_LEARN]
    write_jsonl(out / "leave_out.jsonl", ({"id": r.source.id, "place": r.source.place} for r in learned))
    write_jsonl(
        out / "rederived.jsonl", (_renewed(row, fresh[row.source.id]) for row in learned if row.source.id in fresh)
    )
    with atomic_text(out / "affected.md") as handle:
        handle.write(table(found, fresh))
    return found


# ------------------------------------------------------------------------------------------- what may cite


def pack_texts(pack: Pack) -> Iterator[CitingText]:
    """Rows, exam items and glossary terms of a pack."""
    for name, kind in PACK_FILES.items():
        path = pack.root / name
        for number, row in enumerate(read_jsonl(path) if path.is_file() else [], 1):
            question, answer = str(row.get("question", "")), str(row.get("answer", ""))
            identity = str(row.get("id") or f"{name}:{number}")
            yield CitingText(kind, identity, f"{name}:{number}", "\n".join(strings(row)), question, answer)


def run_texts(runs: Sequence[Path]) -> Iterator[CitingText]:
    """The chat examples of runs, with what each rests on."""
    for folder in runs:
        for split, kind in SPLIT_KINDS.items():
            path = Run(folder).require("compose", f"{split}.jsonl")
            for number, row in enumerate(read_jsonl(path), 1):
                if is_canary(row):
                    continue
                turns = [m["content"] for m in row["messages"] if m["role"] != "system"]
                text = "\n".join([*turns, str(row.get("reference") or "")])
                single = turns if len(turns) == 2 else ["", ""]
                yield CitingText(kind, str(row["id"]), f"{path}:{number}", text, *single)


def canned_texts(files: Sequence[Path]) -> Iterator[CitingText]:
    """Rows of JSON Lines files, whatever their fields."""
    for path in files:
        if not path.is_file():
            raise UsageError(
                "there is no such file", where=str(path), next_step="give a JSON Lines file: --canned FILE"
            )
        for number, row in enumerate(read_jsonl(path), 1):
            if not isinstance(row, dict):
                raise DataError("not an object", where=f"{path}:{number}")
            identity = str(row.get("id") or f"{path.name}:{number}")
            yield CitingText("canned", identity, f"{path}:{number}", "\n".join(strings(row)))


# --------------------------------------------------------------------------------------------- new answers


def _rederive(found: RoundList, pack: Pack, memory: LawIndex, endpoint: Endpoint) -> dict[str, str]:
    """Row id → new answer, for rows to learn from whose new answer's citations hold."""
    words = EvidenceWords.of(pack.prompts)
    rows: dict[str, AffectedText] = {}
    asks = []
    for row in found.rows:
        passages = [_passage(one) for one in row.amendments if one.change.after]
        if row.source.kind in TO_LEARN and row.source.question and passages:
            messages = dialogue(words.question(row.source.question, passages), pack.system_prompt)
            key = ledger_key("law-round", messages, endpoint.model)
            rows[key] = row
            asks.append(Ask(key, messages, None, None, ANSWER_TOKENS))
    fresh: dict[str, str] = {}

    def note(outcome: Outcome) -> None:
        row = rows[outcome.key]
        if outcome.state == "ok" and outcome.value["stopped"] and _holds(outcome.value["text"], row, memory):
            fresh[row.source.id] = outcome.value["text"].strip()

    endpoint.ask(asks, note)
    found.rederived, found.unheld = len(fresh), len(asks) - len(fresh)
    return fresh


def _passage(one: Amendment) -> NumberedPassage:
    return NumberedPassage(_name(one), f"{one.change.day}부터 시행", one.change.after)


def _holds(answer: str, row: AffectedText, memory: LawIndex) -> bool:
    """The answer cites one of the changed articles, names nothing that is not, and the new texts can carry it."""
    changed = {one.key: one for one in row.amendments}
    day = max(one.change.day for one in row.amendments)
    reading = _Renewed(memory, {key: _hit(one) for key, one in changed.items()})
    checked = check_citations(reading, answer, day=day, question=row.source.question)  # type: ignore[arg-type]
    return any(f"{c.law} {c.article}" in changed for c in checked) and not any(c.fault for c in checked)


class _Renewed:
    """The memory with the new texts of some articles in place of its own."""

    def __init__(self, memory: LawIndex, texts: dict[str, Hit]) -> None:
        self.checker, self.statutes = memory.checker, memory.statutes
        self._memory, self._texts = memory, texts

    def article(self, law: str, number: str, at: str = "") -> Hit | None:
        """As `LawIndex.article`."""
        return self._texts.get(f"{law} {number}") or self._memory.article(law, number, at)

    def fit(self, text: str, articles: Collection[Hit], at: str, hidden: Collection[str] = ()) -> float:
        """As `LawIndex.fit`, by the memory's own texts."""
        return self._memory.fit(text, articles, at, hidden)


def _hit(one: Amendment) -> Hit:
    change = one.change
    return Hit("article", one.law, change.number, change.title, change.after, change.day, "", change.day)


# ------------------------------------------------------------------------------------------ what is written


def _name(one: Amendment) -> str:
    change = one.change
    return f"{one.law} {written(change.number)}" + (f"({change.title})" if change.title else "")


def _change(one: Amendment) -> dict[str, Any]:
    change = one.change
    return {
        "law": one.law,
        "article": written(change.number),
        "title": change.title,
        "change": change.kind,
        "substantial": one.substantial,
        "moved_to": written(one.moved_to) if one.moved_to else "",
        "paragraphs": list(one.paragraphs),
        "in_force": change.day,
        "before": change.before,
        "after": change.after,
    }


def _row(row: AffectedText, fresh: dict[str, str]) -> dict[str, Any]:
    keys = ("law", "article", "change", "moved_to", "paragraphs", "in_force")
    return {
        "id": row.source.id,
        "kind": row.source.kind,
        "place": row.source.place,
        "action": "replace" if row.source.id in fresh else "review",
        "direct": row.direct,
        "changes": [{key: _change(one)[key] for key in keys} for one in row.amendments],
        "question": row.source.question,
        "answer": row.source.answer,
        "new_answer": fresh.get(row.source.id, ""),
    }


def _renewed(row: AffectedText, answer: str) -> dict[str, str]:
    basis = ", ".join(f"{one.law} {written(one.change.number)}" for one in row.amendments)
    return {"question": row.source.question, "answer": answer, "source": basis, "replaces": row.source.id}


def table(found: RoundList, fresh: dict[str, str]) -> str:
    """The list as Markdown in Korean: what changed, then what to look at, rows that name a changed paragraph first."""
    update = found.update
    real = list(update.substantial.values())
    lines = [
        "# 법령 개정과 다시 볼 것\n",
        f"법령 {update.laws}개를 견주어 조문 {len(update.amendments)}개가 달라졌고, 그 가운데 {len(real)}개는 내용이 바뀌었습니다"
        "(나머지는 띄어쓰기, 문장 부호, 개정 표시와 날짜만 다름).",
        f"다시 볼 것은 {len(found.rows)}건입니다. 새 답을 만든 것 {found.rederived}건, 새 답의 인용이 맞지 않아 버린 것 {found.unheld}건.\n",
        "## 바뀐 조문\n",
        "| 조문 | 무엇이 | 시행일 | 항 |",
        "|---|---|---|---|",
    ]
    for one in real:
        what = KOREAN_CHANGES[one.change.kind] + (f", {written(one.moved_to)}로 옮김" if one.moved_to else "")
        lines.append(f"| {_cell(_name(one))} | {what} | {one.change.day} | {', '.join(map(str, one.paragraphs))} |")
    lines += ["\n## 다시 볼 것\n", "| 종류 | 자리 | 걸린 조문 | 할 일 | 질문 |", "|---|---|---|---|---|"]
    for row in sorted(found.rows, key=lambda r: (not r.direct, list(KOREAN_KINDS).index(r.source.kind))):
        cited = ", ".join(f"{one.law} {written(one.change.number)}" for one in row.amendments)
        todo = "새 답 확인" if row.source.id in fresh else "검토" if row.direct else "검토(인용한 항은 그대로)"
        shown = (row.source.question or row.source.text)[:SHOWN]
        lines.append(
            f"| {KOREAN_KINDS[row.source.kind]} | {_cell(row.source.place)} | {_cell(cited)} | {todo} | {_cell(shown)} |"
        )
    notes = [f"- 견주지 않음: {fault}" for fault in update.faults]
    notes += [f"- 법 기억에 없는 법령: {law}" for law in update.unknown]
    return "\n".join([*lines, *(["\n## 견주지 못한 것\n", *notes] if notes else [])]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
