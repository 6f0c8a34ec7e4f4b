"""Makes questions and answers from documents, each with the verbatim span that supports it.

The endpoint's model makes them; without an endpoint, patterns over statutes do. Several questions of a passage ask for it in several
views. Either way every pair is checked in code against its passage, and near-duplicates of anything that was read are dropped.
Every drop has a reason.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...model.evidence_prompt import PASSAGE_LENGTHS
from ...model.load import load_tokenizer
from ...runs.job import Job
from ...runs.records import DROPPED_SCHEMA, QA, QA_SCHEMA, Document, content_id, iter_qa, to_table, write_table
from ...runs.workspace import write_jsonl
from ...text.lexicon import Lexicon
from ...text.shingles import ExamOverlap
from .by_rule import Made, extract
from .duplicates import SeenQuestions
from .grounding import fault
from .passages import Passage, passages
from .views import views

__all__ = ["synthesize"]

Pair = tuple[Passage, Made]
FLAG = "synthesized"
PASSAGE_TOKENS = 600  # longest passage


def synthesize(job: Job) -> None:
    """Write qa.parquet, dropped.parquet and synthesized.jsonl (id, question, answer, source, span, kind, passage)."""
    chosen = _chosen(job)
    facts: dict[str, Any] = {"passages": len(chosen)}
    maker = None
    if job.recipe.endpoint.base_url:
        from .by_model import Maker

        maker = Maker(job)
        by_passage = maker.make(chosen)
        pairs = [(passage, made) for passage in chosen for made in by_passage.get(passage.id, [])]
        facts["passages_without_reply"] = len(chosen) - len(by_passage)
    else:
        most = job.recipe.synthesize.per_passage
        pairs = [(p, made) for p in job.track(chosen, "extracting") for made in _by_patterns(p, most)]
    prompt = maker.template if maker else ""
    reasons = [fault(passage, made.question, made.answer, made.span, prompt) for passage, made in pairs]
    reasons = _with_duplicates(job, pairs, reasons)
    if maker:
        reasons = _with_grounding(maker, pairs, reasons)
        facts["endpoint"] = maker.tally.facts() | {"model": maker.endpoint.model}
    facts["maker"] = "model" if maker else "patterns"
    _write(job, pairs, reasons, facts)


def _by_patterns(passage: Passage, most: int) -> list[Made]:
    found = extract(passage, most)
    return [*found, *views(passage, found)][:most]


def _chosen(job: Job) -> list[Passage]:
    """The passages to ask about: highest lexicon score first, ties by id."""
    tokenizer = load_tokenizer(job.recipe.model.id, job.recipe.model.revision)
    lexicon = Lexicon(job.pack.yaml("lexicon.yaml"))

    def count(text: str) -> int:
        if len(text) > PASSAGE_LENGTHS[0]:  # a question asked with it would show a part of it alone
            return PASSAGE_TOKENS + 1
        size = len(text.encode("utf-8", "replace"))  # a byte-level tokenizer never gives more tokens than bytes
        return size if size <= PASSAGE_TOKENS else len(tokenizer(text, add_special_tokens=False)["input_ids"])

    found = []
    for document in job.track(_documents(job), "cutting documents"):
        job.manifest.rows_in += 1
        for passage in passages(document, PASSAGE_TOKENS, count):
            found.append((-lexicon.score(passage.title, passage.text)[0], passage.id, passage))
    found.sort(key=lambda item: item[:2])
    return [passage for _, _, passage in found[: job.recipe.synthesize.max_passages]]


def _documents(job: Job) -> Iterator[Document]:
    for row in iter_qa(job.run.require("curate", "documents.parquet")):  # masked: no personal data goes out
        yield Document.from_row(row)


def _with_duplicates(job: Job, pairs: list[Pair], reasons: list[str]) -> list[str]:
    """The reasons, extended by exam overlap and by near-duplicates of read questions and of each other."""
    exam = ExamOverlap(job.pack.exam_questions)
    given_away = set(exam.find([f"{made.question}\n{made.answer}" for _, made in pairs]))
    reasons = [reason or ("exam-overlap" if at in given_away else "") for at, reason in enumerate(reasons)]
    alive = [number for number, reason in enumerate(reasons) if not reason]
    questions = [pairs[number][1].question for number in alive]
    seen = SeenQuestions(questions)
    read = (row["question"] for row in iter_qa(job.run.require("read", "qa"), columns=["question"]))
    known, within = seen.repeated_in(read), seen.repeated_within(questions)
    marked = list(reasons)
    for at, number in enumerate(alive):
        marked[number] = "near-duplicate-of-read" if at in known else "near-duplicate-of-made" if at in within else ""
    return marked


def _with_grounding(maker: Any, pairs: list[Pair], reasons: list[str]) -> list[str]:
    """The reasons, extended by pairs that the model finds unsupported."""
    alive = [number for number, reason in enumerate(reasons) if not reason]
    marked = list(reasons)
    for number, verdict in zip(alive, maker.supported([pairs[number] for number in alive]), strict=True):
        if not verdict:
            marked[number] = "no-word-on-grounding" if verdict is None else "not-supported"
    return marked


def _write(job: Job, pairs: list[Pair], reasons: list[str], facts: dict[str, Any]) -> None:
    kept: dict[str, tuple[QA, Made, Passage]] = {}
    dropped: list[tuple[QA, str]] = []
    for (passage, made), reason in zip(pairs, reasons, strict=True):
        record = _record(passage, made)
        if not reason and record.id in kept:
            reason = "duplicate"
        if reason:
            job.manifest.drop(reason)
            dropped.append((record, reason))
        else:
            kept[record.id] = (record, made, passage)
    rows = [record for record, _, _ in kept.values()]
    write_table(to_table(rows, QA_SCHEMA), job.path("qa.parquet"))
    why = [reason for _, reason in dropped]
    write_table(to_table([r for r, _ in dropped], DROPPED_SCHEMA, drop_reason=why), job.path("dropped.parquet"))
    write_jsonl(job.path("synthesized.jsonl"), (_seed_shape(*one) for one in kept.values()))
    job.manifest.rows_out = len(rows)
    kinds: dict[str, int] = {}
    for record, made, _ in kept.values():
        kinds[made.kind] = kinds.get(made.kind, 0) + 1
        counts = job.manifest.per_source.setdefault(record.source.name, {"rows": 0})
        counts["rows"] += 1
    job.manifest.facts = facts | {"kinds": dict(sorted(kinds.items())), "made": len(pairs)}


def _record(passage: Passage, made: Made) -> QA:
    document = passage.document
    return QA(
        id=content_id(made.question, made.answer),
        question=made.question,
        answer=made.answer,
        category="합성",
        group=document.group,
        source=replace(document.source, name=f"{document.source.name}-{FLAG}"),
        reference=document.title,
        flags=[FLAG, made.kind],
    )


def _seed_shape(record: QA, made: Made, passage: Passage) -> dict[str, Any]:
    document = passage.document
    since = f"{document.in_force} 시행 법령" if document.in_force else document.source.place or document.source.name
    return {
        "id": record.id,
        "question": record.question,
        "answer": record.answer,
        "source": record.reference,
        "span": made.span,
        "kind": made.kind,
        "passage": {"name": passage.title, "in_force": since, "text": passage.text},
    }
