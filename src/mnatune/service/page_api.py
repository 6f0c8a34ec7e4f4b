"""What the chat page and the admin page ask for besides /v1: blind comparison, feedback, citations, review."""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator, Field

from ..model.engine.protocol import Task
from ..model.engine.refusals import Refusal, bad_request
from ..runs.errors import log_failure
from .api import DONE, HEARTBEAT, REFUSALS, STREAM, AnswerStream, Calling, Serving, event
from .api_schema import Body, ChatRequest, Str
from .caller import Caller
from .envelope import error_body
from .feedback.sink import (
    MAX_COMMENT,
    MAX_IDENTIFIER,
    MAX_TEXT,
    REASON_TAGS,
    BlindPair,
    Choice,
    Edit,
    FeedbackSink,
    Kind,
    PairChoice,
    Rating,
    ReviewFilter,
    State,
    UnknownItem,
)
from .service import Record, ServedAnswer, Service, merged

log = logging.getLogger(__name__)

T = TypeVar("T")


SIDES = ("left", "right")
RANKED = 1_000  # items that are put in order at once
Identifier = Annotated[str, Path(pattern=r"^[A-Za-z0-9_:.-]{1,80}$")]
Comment = Annotated[Str, Field(max_length=MAX_COMMENT)]
Text = Annotated[Str, Field(min_length=1, max_length=MAX_TEXT)]


def _known(tag: str) -> str:
    """The tag itself if it is one of the reasons."""
    if tag not in REASON_TAGS:
        raise ValueError(f"tags are {', '.join(REASON_TAGS)}")
    return tag


Tag = Annotated[str, Field(json_schema_extra={"enum": list(REASON_TAGS)}), AfterValidator(_known)]

router = APIRouter(prefix="/api", responses=REFUSALS)
entry = APIRouter(prefix="/api", responses=REFUSALS)  # answers without a key too


class RatingBody(Body):
    """A thumb with its reasons."""

    thumb: Literal[-1, 0, 1]
    tags: list[Tag] = Field(default_factory=list, max_length=len(REASON_TAGS))
    comment: Comment = ""


class EditBody(Body):
    """The answer as it should have been."""

    text: Text
    comment: Comment = ""


class ChoiceBody(Body):
    """Which of two answers is better."""

    choice: Choice
    comment: Comment = ""


class CitationBody(Body):
    """A text to look for statute citations in."""

    text: Annotated[Str, Field(max_length=MAX_TEXT)]


class ReviewBody(Body):
    """A reviewer's verdict; `text` is the reviewer's own wording of an edit."""

    state: State
    note: Comment = ""
    text: Text | None = None


async def admin_of(caller: Calling) -> Caller:
    """The caller if it is an administrator; 403 otherwise."""
    if not caller.admin:
        raise Refusal(403, "this needs an administrator's key", code="admin_only")
    return caller


Admin = Annotated[Caller, Depends(admin_of)]


async def scope_of(
    service: Serving, admin: Admin, wall: Annotated[str | None, Query(max_length=MAX_IDENTIFIER)] = None
) -> str | None:
    """The wall whose rows an administrator is to see: one that is named ("" is none), or all that the key may see."""
    return service.walls.narrowed(admin, wall)


Scope = Annotated[str | None, Depends(scope_of)]


async def filters(
    kind: Kind | Literal[""] = "",
    model: Annotated[str, Query(max_length=MAX_IDENTIFIER)] = "",
    rater: Annotated[str, Query(max_length=MAX_IDENTIFIER)] = "",
    words: Annotated[str, Query(max_length=200)] = "",
) -> ReviewFilter:
    """What a list of feedback is cut down to."""
    return ReviewFilter(kind, model, rater, words.replace("\x00", ""))


Filters = Annotated[ReviewFilter, Depends(filters)]


@entry.get("/page")
async def page_facts(request: Request, service: Serving) -> dict[str, Any]:
    """What the page needs to begin; without a key it says only that one is needed."""
    caller: Caller | None = request.scope["state"]["caller"]
    facts: dict[str, Any] = {"title": service.settings.title, "signed_in": caller is not None}
    if caller is not None:
        facts |= {
            "admin": caller.admin,
            "reviewer": caller.reviewer,
            "wall": caller.wall,
            "models": [model.id for model in service.models(caller)],
            "tags": REASON_TAGS,
            "examples": list(service.settings.examples),
            "welcome": service.settings.words.welcome.model_dump(),
            "citations": service.checker is not None,
            "evidence": service.law.usable,
            "evidence_default": service.settings.evidence,
        }
    return facts


@router.post("/compare", responses={200: STREAM}, response_class=Response)
async def compare(body: ChatRequest, service: Serving, caller: Calling) -> Response:
    """Two models answer one question blind, in random order; both answers and the pair are stored.

    400 without `store: true`: nothing is stored that its reader did not agree to, and the pick would be lost.
    """
    if not body.store:
        raise bad_request("a comparison is stored: store must be true", param="store", code="store_needed")
    names = [model.id for model in service.models(caller)][:2]
    if len(names) < 2:
        raise bad_request("comparing needs two served models", code="one_model")
    random.SystemRandom().shuffle(names)
    dialogue = body.dialogue(service.settings.system)
    service.check_size([message["content"] for message in dialogue])
    pair = f"pair-{uuid.uuid4().hex}"
    conversation = (body.metadata or {}).get("conversation", "")
    service.count_answers(caller, len(names))
    answers: list[ServedAnswer] = []
    try:
        for side, name in zip(SIDES, names, strict=True):
            sampling = service.sampling(body, body.max_completion_tokens or body.max_tokens)
            task = Task(name, sampling, dialogue, deadline=service.deadline())
            answers.append(await service.open(caller, task, Record(f"{pair}-{side}", conversation)))
    except BaseException:
        for answer in answers:
            answer.close()
        raise
    return AnswerStream(_pair_events(service, caller, pair, answers), answers)


async def _pair_events(
    service: Service, caller: Caller, pair: str, answers: Sequence[ServedAnswer]
) -> AsyncIterator[bytes]:
    yield event({"pair": pair})
    try:
        async for item in merged(answers, service.settings.heartbeat):
            if item is None:
                yield HEARTBEAT
                continue
            at, piece = item
            yield event({"side": SIDES[at], "text": piece.text, "finish": piece.finish})
        await asyncio.gather(*(answer.close() for answer in answers))
        left, right = (f"{pair}-{side}" for side in SIDES)
        blind = BlindPair(pair, caller.rater, left, right, time.time())
        await in_store(service, lambda sink: sink.save_pair(blind), caller.scope)
        yield event({"complete": pair})
    except Refusal as error:
        yield event(error_body(error))
    yield DONE


@router.put("/pairs/{pair}/choice")
async def choose(pair: Identifier, body: ChoiceBody, service: Serving, caller: Calling) -> dict[str, str]:
    """Pick the better answer of a pair; tells which model was which."""
    choice = PairChoice(pair, caller.rater, body.choice, body.comment, time.time())
    left, right = await in_store(service, lambda sink: sink.choose(choice), caller.scope)
    service.metrics.feedback.labels("pair").inc()
    return {"left": left, "right": right}


@router.put("/generations/{generation}/rating", status_code=204)
async def rate(generation: Identifier, body: RatingBody, service: Serving, caller: Calling) -> None:
    """Rate one's own answer; thumb 0 takes the rating back."""
    rating = Rating(generation, caller.rater, body.thumb, tuple(dict.fromkeys(body.tags)), body.comment, time.time())
    await in_store(service, lambda sink: sink.rate(rating), caller.scope)
    service.metrics.feedback.labels("rating").inc()


@router.put("/generations/{generation}/edit", status_code=204)
async def edit(generation: Identifier, body: EditBody, service: Serving, caller: Calling) -> None:
    """Correct one's own answer."""
    if not body.text.strip():
        raise bad_request("the corrected answer is empty", param="text")
    correction = Edit(generation, caller.rater, body.text, body.comment, time.time())
    await in_store(service, lambda sink: sink.edit(correction), caller.scope)
    service.metrics.feedback.labels("edit").inc()


@router.delete("/me")
async def forget_me(service: Serving, caller: Calling) -> dict[str, int]:
    """Erase everything that is stored of the caller."""
    return {"deleted": await in_store(service, lambda sink: sink.delete_user(caller.rater), caller.scope)}


@router.post("/citations")
async def citations(body: CitationBody, service: Serving) -> dict[str, Any]:
    """The statute citations of a text in their order, each judged valid, invalid or unresolved."""
    checker = service.checker
    if checker is None:
        return {"citations": []}
    marks = await asyncio.to_thread(checker.find, body.text)
    return {
        "citations": [
            {
                "text": body.text[mark.start : mark.end],
                "verdict": mark.verdict,
                "law": mark.law,
                "article": mark.article,
                "title": mark.title,
                "note": mark.note,
            }
            for mark in marks
        ]
    }


@router.get("/admin/usage")
async def usage(
    service: Serving, admin: Admin, scope: Scope, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> dict[str, Any]:
    """Usage and ratings by day and model, and the engine's load."""
    rows = await in_store(service, lambda sink: sink.usage(days), scope)
    load = service.engine.load()
    return {"days": [asdict(row) for row in rows], "waiting": load.waiting, "running": load.running}


@router.get("/admin/reviews")
async def review_queue(
    service: Serving,
    admin: Admin,
    scope: Scope,
    only: Filters,
    state: State = "open",
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    order: Literal["worth", "oldest"] = "worth",
) -> dict[str, Any]:
    """Feedback that waits for review: what a decision would change most first, each item with the reason.

    What was decided already stands oldest first, and so does everything beyond the first `RANKED` items.
    """
    if state != "open" or order == "oldest" or offset + limit > RANKED:
        return asdict(await in_store(service, lambda sink: sink.review_queue(state, limit, offset, only), scope))
    page = await in_store(service, lambda sink: sink.review_queue(state, RANKED, 0, only), scope)
    decided = await in_store(service, lambda sink: sink.review_queue("approved", RANKED), scope)
    ranks = await asyncio.to_thread(service.worth.reviews, page.items, decided.items)
    items = {item.id: asdict(item) for item in page.items}
    shown = [items[one.id] | {"reasons": one.reasons, "topic": one.topic} for one in ranks[offset:][:limit]]
    return {"items": shown, "total": page.total}


@router.put("/admin/reviews/{item}", status_code=204)
async def review(item: Identifier, body: ReviewBody, service: Serving, admin: Admin) -> None:
    """Approve or reject a piece of feedback."""
    await in_store(service, lambda sink: sink.review(item, admin.rater, body.state, body.note, body.text), admin.scope)


@router.delete("/admin/raters/{rater}")
async def forget_rater(rater: Identifier, service: Serving, admin: Admin) -> dict[str, int]:
    """Erase everything that is stored of a rater."""
    if not service.walls.may_erase(admin, rater):
        return {"deleted": 0}
    return {"deleted": await in_store(service, lambda sink: sink.delete_user(rater), admin.scope)}


async def in_store(service: Service, work: Callable[[FeedbackSink], T], wall: str | None) -> T:
    """Work with what the feedback store has behind a wall (None: all of it); its errors become API errors."""
    try:
        return await service.in_store(work, wall)
    except UnknownItem as error:
        raise Refusal(404, error.what, code="unknown_item") from None
    except Exception as error:  # whatever the database raises
        service.metrics.lost_feedback.inc()
        log_failure(log, "the feedback store failed", error)
        raise Refusal(503, "the feedback store failed", code="feedback_store") from None
