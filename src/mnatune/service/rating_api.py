"""The rating workspace and what belongs to it: batches of answers, grades, progress, agreement, bulk review, sheets."""

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import Field

from ..model.engine.refusals import Refusal
from .api import REFUSALS, Calling, Serving
from .api_schema import Body
from .caller import Caller
from .feedback.rater_agreement import LEAST_ITEMS, RELIABLE, TENTATIVE, agreement, grades_by_item
from .feedback.rating_desk import SKIP
from .feedback.rating_sheet import grade_sheet, review_sheet
from .feedback.sink import Answered, FeedbackSink, Grade, State, UnknownItem
from .page_api import Admin, Comment, Filters, Identifier, Scope, in_store
from .service import Service

DESK = 2_000  # newest answers that a desk looks at
RANKED_ANSWERS = 1_000  # of these put in order at once
MOST_ROWS = 100_000  # of a sheet
Shown = Literal["todo", "mine", "skipped"]
Verdict = Literal["", "invalid", "unresolved", "valid", "none"]

router = APIRouter(prefix="/api", responses=REFUSALS)


async def reviewer_of(caller: Calling) -> Caller:
    """The caller if it may grade others' answers; 403 otherwise."""
    if not caller.reviewer:
        raise Refusal(403, "this needs a reviewer's key: mnatune keys create NAME --reviewer", code="reviewer_only")
    return caller


Reviewer = Annotated[Caller, Depends(reviewer_of)]


class GradeBody(Body):
    """A grade, 1 (worst) to 4 (best); 0 takes it back, null skips the answer."""

    grade: Literal[0, 1, 2, 3, 4] | None
    comment: Comment = ""


class BulkBody(Body):
    """One verdict for several pieces of feedback."""

    items: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_:.-]{1,80}$")]], Field(min_length=1, max_length=200)
    ]
    state: State
    note: Comment = ""


@router.get("/me/progress")
async def my_progress(service: Serving, caller: Calling) -> dict[str, int]:
    """How much the caller has rated, corrected and graded, and what reviewers decided of it."""
    return asdict(await in_store(service, lambda sink: sink.progress(caller.rater), caller.scope))


@router.get("/rating")
async def batch(
    service: Serving,
    reviewer: Reviewer,
    show: Shown = "todo",
    model: Annotated[str, Query(max_length=200)] = "",
    verdict: Verdict = "",
    words: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> dict[str, Any]:
    """A batch of answers for the caller to grade, those whose grade would change most first, each with the reason."""
    desk = await in_store(service, lambda sink: sink.answers(reviewer.rater, DESK), reviewer.scope)
    items, total = await asyncio.to_thread(_ordered, service, desk, (show, model, verdict, words), limit)
    words_of = service.settings.words.rating
    return {
        "items": items,
        "total": total,
        "looked_at": len(desk),
        "models": sorted({one.model for one in desk}),
        "guideline": words_of.guideline,
        "grades": [grade.model_dump() for grade in words_of.grades],
        "progress": asdict(await in_store(service, lambda sink: sink.progress(reviewer.rater), reviewer.scope)),
    }


def _ordered(
    service: Service, desk: list[Answered], wanted: tuple[str, str, str, str], limit: int
) -> tuple[list[dict[str, Any]], int]:
    """The first items of those that fit, and how many fit."""
    show, model, verdict, words = wanted
    fits = [
        one
        for one in desk
        if _state(one.own) == show
        and model in ("", one.model)
        and words.lower() in f"{one.question}\n{one.answer}".lower()
        and (not verdict or _has(service.worth.verdicts(one.answer), verdict))
    ]
    if show == "todo":
        rated = [one for one in desk if one.rated][:RANKED_ANSWERS]
        order = service.worth.answers(fits[:RANKED_ANSWERS], rated)[:limit]
        by_id = {one.id: one for one in fits}
        return [_shown(service, by_id[rank.id], rank.reasons, rank.topic) for rank in order], len(fits)
    return [_shown(service, one) for one in fits[:limit]], len(fits)


def _state(own: str) -> Shown:
    """Where an answer lies for a reviewer who gave it this."""
    return "todo" if not own else "skipped" if own == SKIP else "mine"


def _has(verdicts: tuple[str, ...], wanted: str) -> bool:
    """Whether citations are of the wanted kind; "none" wants an answer without any."""
    return wanted in verdicts if wanted != "none" else not verdicts


def _shown(service: Service, one: Answered, reasons: tuple[str, ...] = (), topic: str = "") -> dict[str, Any]:
    """An item as the page gets it: not what the other reviewers gave, which would sway this one."""
    facts = asdict(one)
    for hidden in ("others", "grades", "rated", "good"):
        del facts[hidden]
    verdicts = service.worth.verdicts(one.answer)
    counts = {name: verdicts.count(name) for name in ("valid", "invalid", "unresolved")}
    return facts | {"reasons": reasons, "topic": topic, "citations": counts}


@router.put("/rating/{generation}", status_code=204)
async def grade(generation: Identifier, body: GradeBody, service: Serving, reviewer: Reviewer) -> None:
    """Grade or skip an answer, whoever asked for it."""
    given = Grade(generation, reviewer.rater, body.grade, body.comment, time.time())
    await in_store(service, lambda sink: sink.grade(given), reviewer.scope)
    service.metrics.feedback.labels("grade").inc()


@router.get("/rating/sheet.csv", response_class=Response)
async def my_grades(service: Serving, reviewer: Reviewer) -> Response:
    """The caller's grades as CSV; an administrator gets everybody's."""
    found = await in_store(service, lambda sink: sink.grades(), reviewer.scope)
    mine = [one for one in found if reviewer.admin or one.rater == reviewer.rater]
    return _sheet(await asyncio.to_thread(grade_sheet, mine), "grades.csv")


@router.get("/admin/reviews.csv", response_class=Response)
async def review_csv(service: Serving, admin: Admin, scope: Scope, only: Filters, state: State = "open") -> Response:
    """The review queue as CSV."""
    page = await in_store(service, lambda sink: sink.review_queue(state, MOST_ROWS, 0, only), scope)
    return _sheet(await asyncio.to_thread(review_sheet, page.items), f"reviews-{state}.csv")


@router.put("/admin/reviews")
async def review_several(body: BulkBody, service: Serving, admin: Admin) -> dict[str, list[str]]:
    """Decide several pieces of feedback alike; those that are gone meanwhile are named."""

    def decide(sink: FeedbackSink) -> dict[str, list[str]]:
        told: dict[str, list[str]] = {"done": [], "unknown": []}
        for item in dict.fromkeys(body.items):
            try:
                sink.review(item, admin.rater, body.state, body.note)
                told["done"].append(item)
            except UnknownItem:
                told["unknown"].append(item)
        return told

    return await in_store(service, decide, admin.scope)


@router.get("/admin/agreement")
async def rater_agreement(service: Serving, admin: Admin, scope: Scope) -> dict[str, Any]:
    """How far the reviewers agree, and the answers on which they differ most."""
    grades = await in_store(service, lambda sink: sink.grades(), scope)
    by_item = grades_by_item([(one.generation, one.rater, one.grade) for one in grades])
    found = await asyncio.to_thread(agreement, [list(given.values()) for given in by_item.values()])
    apart = sorted(
        (item for item, given in by_item.items() if max(given.values()) > min(given.values())),
        key=lambda item: (min(by_item[item].values()) - max(by_item[item].values()), item),
    )
    texts = {one.generation: one for one in grades}
    raters: dict[str, list[int]] = {}
    for one in grades:
        raters.setdefault(one.rater, []).append(one.grade)
    return asdict(found) | {
        "least": LEAST_ITEMS,
        "reliable": RELIABLE,
        "tentative": TENTATIVE,
        "raters": [
            {"rater": rater, "grades": len(given), "mean": round(sum(given) / len(given), 2)}
            for rater, given in sorted(raters.items())
        ],
        "apart": [
            {"id": item, "question": texts[item].question, "answer": texts[item].answer, "grades": by_item[item]}
            for item in apart[:10]
        ],
    }


def _sheet(text: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(), media_type="text/csv; charset=utf-8", headers=headers)
