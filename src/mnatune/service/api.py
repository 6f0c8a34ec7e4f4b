"""The OpenAI-compatible routes: /v1/models, /v1/chat/completions, /v1/completions."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..model.engine.protocol import ServedModel, Task
from ..model.engine.refusals import Refusal
from .api_schema import ChatCompletion, ChatRequest, Completion, CompletionRequest, ErrorBody, ModelCard, ModelList
from .caller import Caller
from .envelope import error_body
from .evidence import Evidence
from .service import Record, ServedAnswer, Service, merged

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": keep-alive\n\n"
CLIENT_GONE = 499  # nginx's status for a client that left; nobody sees it but the log
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The request is wrong",
        401: "No valid key",
        403: "Not allowed",
        404: "No such model or item",
        413: "The body is too large",
        429: "Over the key's limit, or the queue is full; see Retry-After",
        500: "The engine failed",
        503: "The engine cannot answer now",
        504: "The deadline passed",
    }.items()
}
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAM: dict[str, Any] = {"content": {"text/event-stream": {"schema": EVENT}}}

router = APIRouter(prefix="/v1", responses=REFUSALS)


# Coroutines, though they never wait: FastAPI would run plain functions in a thread, at half a millisecond each.
async def service_of(request: Request) -> Service:
    """The app's service."""
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request) -> Caller:
    """Who calls, as the gate found."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


Serving = Annotated[Service, Depends(service_of)]
Calling = Annotated[Caller, Depends(caller_of)]


@router.get("/models", response_model=ModelList)
async def models(service: Serving, caller: Calling) -> ModelList:
    """The models that the key may use; the first is the default."""
    return ModelList(data=[_card(model) for model in service.models(caller)])


@router.get("/models/{name:path}", response_model=ModelCard)
async def model(name: str, service: Serving, caller: Calling) -> ModelCard:
    """One model that the key may use."""
    if not name:  # /v1/models/
        raise Refusal(404, "name a model, or ask for /v1/models", code="model_not_found", param="model")
    return _card(service.walls.find(caller, service.engine.models(), name))


@router.post("/chat/completions", response_model=ChatCompletion, responses={200: STREAM})
async def chat_completions(body: ChatRequest, request: Request, service: Serving, caller: Calling) -> Response:
    """Answer a dialogue, whole or as server-sent events."""
    dialogue = body.dialogue(service.settings.system)
    service.check_size([message["content"] for message in dialogue])
    limit = body.max_completion_tokens or body.max_tokens
    reply = _Reply("chatcmpl", bool(body.stream_options and body.stream_options.include_usage))
    deadline = service.deadline()
    tasks = [
        Task(body.model or "", service.sampling(body, limit, choice), dialogue, deadline=deadline)
        for choice in range(body.n or 1)
    ]
    conversation = (body.metadata or {}).get("conversation", "")
    records = [Record(reply.id if len(tasks) == 1 else f"{reply.id}-{i}", conversation) for i in range(len(tasks))]
    evidence = await service.evidence(caller, body, dialogue)
    answers = await _accept(service, caller, tasks, records if body.store else [], evidence)
    return await _respond(request, service, answers, reply, stream=bool(body.stream))


@router.post("/completions", response_model=Completion, responses={200: STREAM})
async def completions(body: CompletionRequest, request: Request, service: Serving, caller: Calling) -> Response:
    """Continue raw prompts, without template or system prompt."""
    prompts = body.prompts()
    service.check_size(prompts)
    count = (body.n or 1) * len(prompts)
    if count > 4:
        raise Refusal(400, "prompts times n must not exceed 4", param="n")
    reply = _Reply("cmpl", bool(body.stream_options and body.stream_options.include_usage))
    deadline = service.deadline()
    tasks = [
        Task(body.model or "", service.sampling(body, body.max_tokens, at), prompt=prompt, deadline=deadline)
        for at, prompt in enumerate(p for p in prompts for _ in range(body.n or 1))
    ]
    return await _respond(request, service, await _accept(service, caller, tasks, []), reply, stream=bool(body.stream))


async def _accept(
    service: Service,
    caller: Caller,
    tasks: Sequence[Task],
    records: Sequence[Record],
    evidence: Evidence | None = None,
) -> list[ServedAnswer]:
    """Have all tasks accepted, or none."""
    service.count_answers(caller, len(tasks))
    answers: list[ServedAnswer] = []
    try:
        for at, task in enumerate(tasks):
            answers.append(await service.open(caller, task, records[at] if records else None, evidence))
    except BaseException:
        for answer in answers:
            answer.close()
        raise
    return answers


async def _respond(
    request: Request, service: Service, answers: list[ServedAnswer], reply: "_Reply", *, stream: bool
) -> Response:
    if stream:
        return AnswerStream(reply.events(service, answers), answers)
    try:
        await unless_gone(request, asyncio.gather(*(answer.whole() for answer in answers)))
        await asyncio.gather(*(answer.close() for answer in answers))
    except ClientGoneError:
        return Response(status_code=CLIENT_GONE)
    finally:
        for answer in answers:
            answer.close()
    return Response(msgspec.json.encode(reply.whole(answers)), media_type="application/json")


class AnswerStream(StreamingResponse):
    """Server-sent events that end their answers, however the connection ends."""

    def __init__(self, events: AsyncIterator[bytes], answers: Sequence[ServedAnswer]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for answer in self._answers:
                answer.close()


class ClientGoneError(Exception):
    """The client closed the connection before its answer was ready."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The work's result; cancels it and raises `ClientGoneError` when the client disconnects."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        watch.cancel()
        task.cancel()


def event(value: Any) -> bytes:
    """A server-sent event with JSON data."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


class _Reply:
    """Renders answers in the shape of one of the two endpoints.

    Args:
        kind: "chatcmpl" or "cmpl", also the id's beginning.
        usage: whether a stream ends with token counts.
    """

    def __init__(self, kind: str, usage: bool) -> None:
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self._chat = kind == "chatcmpl"
        self._usage = usage
        self._created = int(time.time())

    def whole(self, answers: Sequence[ServedAnswer]) -> dict[str, Any]:
        """The body of a reply that is no stream."""
        choices = []
        for at, answer in enumerate(answers):
            content = (
                {"message": {"role": "assistant", "content": answer.text}} if self._chat else {"text": answer.text}
            )
            facts = {"logprobs": None, "finish_reason": answer.finish, **answer.checked()}
            choices.append({"index": at, **content, **facts})
        head = self._head(answers[0].model, chunk=False)
        return {**head, "choices": choices, "usage": _usage(answers), **_evidence(answers[0])}

    async def events(self, service: Service, answers: Sequence[ServedAnswer]) -> AsyncIterator[bytes]:
        """The stream of a reply."""
        head = self._head(answers[0].model, chunk=True)
        if self._chat:
            for at in range(len(answers)):
                opening = self._choice(at, {"role": "assistant", "content": ""}, None)
                yield event({**head, "choices": [opening], **_evidence(answers[at])})
        try:
            async for item in merged(answers, service.settings.heartbeat):
                if item is None:
                    yield HEARTBEAT
                    continue
                at, piece = item
                if piece.text:
                    yield event({**head, "choices": [self._choice(at, {"content": piece.text}, None)]})
                if piece.finish:
                    last = self._choice(at, {}, piece.finish) | answers[at].checked()
                    yield event({**head, "choices": [last]})
        except Refusal as error:
            yield event(error_body(error))
        else:
            if self._usage:
                yield event({**head, "choices": [], "usage": _usage(answers)})
        await asyncio.gather(*(answer.close() for answer in answers))
        yield DONE

    def _head(self, model: ServedModel, *, chunk: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if self._chat else "text_completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self._created,
            "model": model.id,
            "system_fingerprint": fingerprint(model),
        }

    def _choice(self, index: int, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        content: dict[str, Any] = {"delta": delta} if self._chat else {"text": delta.get("content", "")}
        return {"index": index, **content, "logprobs": None, "finish_reason": finish}


def fingerprint(model: ServedModel) -> str:
    """What made an answer, in short: the adapter's hash, or the base's name."""
    return f"fp_{model.adapter_hash[:12]}" if model.adapter_hash else f"fp_{model.revision.rpartition('/')[2]}"


def _evidence(answer: ServedAnswer) -> dict[str, Any]:
    """The extension field of a reply that was made with evidence."""
    return {} if answer.evidence is None else {"evidence": answer.evidence.report()}


def _usage(answers: Sequence[ServedAnswer]) -> dict[str, int]:
    prompt, made = sum(a.prompt_tokens for a in answers), sum(a.tokens for a in answers)
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def _card(model: ServedModel) -> ModelCard:
    return ModelCard(id=model.id, created=model.created, root=model.revision, parent=model.parent)
