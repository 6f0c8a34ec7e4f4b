"""Requests and responses of the OpenAI-compatible API.

Strict: a number in quotes is no number. Fields that this server does not know are ignored, as OpenAI's clients expect;
fields that would change the answer's meaning and are not supported (tools, JSON schemas, log-probabilities, biases,
suffixes) are refused rather than ignored.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..model.engine.refusals import bad_request
from ..model.prompt import Message
from .feedback.sink import MAX_IDENTIFIER

MAX_CHOICES = 4
MAX_MESSAGES = 256
LARGEST_SEED = 2**63 - 1


def _whole(text: str) -> str:
    """The text itself; half a surrogate pair, which JSON can carry and UTF-8 cannot, is refused."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half a surrogate pair") from None
    return text


def _storable(metadata: dict[str, str]) -> dict[str, str]:
    """The metadata itself if the store can keep the name of the conversation."""
    if len(metadata.get("conversation", "")) > MAX_IDENTIFIER:
        raise ValueError(f"conversation has at most {MAX_IDENTIFIER} characters")
    return metadata


Str = Annotated[str, AfterValidator(_whole)]
Choices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=1, le=2, allow_inf_nan=False)]
Nothing = Annotated[float, Field(ge=0, le=0)]
StopString = Annotated[Str, Field(min_length=1, max_length=64)]
Stops = StopString | Annotated[list[StopString], Field(max_length=4)]
Metadata = Annotated[
    dict[Str, Annotated[Str, Field(max_length=512)]],
    Field(
        max_length=16,
        json_schema_extra={"properties": {"conversation": {"type": "string", "maxLength": MAX_IDENTIFIER}}},
    ),
    AfterValidator(_storable),
]
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(Body):
    """A part of a message's content; text is the only kind."""

    type: Literal["text"]
    text: Str


class ChatMessage(Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Str | list[TextPart] | None = None

    @model_validator(mode="after")
    def _said(self) -> Self:
        if self.content is None and self.role != "assistant":  # an answer that only called tools has none
            raise ValueError(f"a message of role {self.role} needs content")
        return self

    def plain(self) -> Message:
        """As the prompt module takes it."""
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "\n".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(Body):
    """What a stream says besides text."""

    include_usage: bool | None = False


class TextFormat(Body):
    """The only response format."""

    type: Literal["text"]


class SamplingFields(Body):
    """What both kinds of completion share; a field left out takes the server's default."""

    model: Annotated[Str, Field(max_length=256)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    repetition_penalty: Penalty | None = None
    n: Choices | None = None
    stop: Stops | None = None
    seed: Annotated[int, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)] | None = None
    frequency_penalty: Nothing | None = None
    presence_penalty: Nothing | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    user: Str | None = None


class ChatRequest(SamplingFields):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    response_format: TextFormat | None = None
    logprobs: Literal[False] | None = None
    evidence: bool | None = None  # ours: answer with articles and check the citations; None takes the server's default
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None

    def dialogue(self, system: str) -> list[Message]:
        """The messages; the server's system prompt leads them unless the caller brings one."""
        messages = [message.plain() for message in self.messages]
        if messages[-1]["role"] != "user":
            raise bad_request("the last message must be the user's", param="messages")
        if not messages[-1]["content"].strip():
            raise bad_request("the last message is empty", param="messages")
        if system and all(message["role"] != "system" for message in messages):
            return [{"role": "system", "content": system}, *messages]
        return messages


class CompletionRequest(SamplingFields):
    """POST /v1/completions."""

    prompt: (
        Str
        | Annotated[list[Str], Field(min_length=1, max_length=MAX_CHOICES)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_CHOICES)]
    )
    echo: Literal[False] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Annotated[Str, Field(max_length=0)] | None = None
    logprobs: None = None

    def prompts(self) -> list[str | list[int]]:
        """One prompt per answer asked for, before `n`."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(part, int) for part in self.prompt):
            return [[part for part in self.prompt if isinstance(part, int)]]
        return [part for part in self.prompt if not isinstance(part, int)]


class Usage(BaseModel):
    """Tokens read and made."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatReply(BaseModel):
    """The message of a choice."""

    role: Literal["assistant"] = "assistant"
    content: str


class CheckedMark(BaseModel):
    """A citation of an answer with evidence; `start` and `end` are its place in the content."""

    start: int
    end: int
    text: str
    law: str
    article: str
    title: str
    verdict: Literal["valid", "invalid", "unresolved"]
    support: Literal["supported", "unsupported", "unchecked"]
    fault: Literal["", "missing", "not_in_force", "unsupported"]
    note: str
    denied: bool
    label: str
    struck: bool
    passage: int | None


class ChatChoice(BaseModel):
    """One answer; the last three fields come with evidence only."""

    index: int
    message: ChatReply
    logprobs: None = None
    finish_reason: Literal["stop", "length"]
    citations: list[CheckedMark] = []
    rewritten: int = 0
    unchecked: bool = False


class EvidencePassage(BaseModel):
    """An article that the question was asked with, or a passage of an own document, whose `origin` is its file and place."""

    number: int
    kind: Literal["article", "document"]
    name: str
    law: str
    article: str
    title: str
    text: str
    in_force: str
    since: str
    until: str
    note: str
    origin: str


class EvidenceReport(BaseModel):
    """What an answer was made with, and the day whose law was meant."""

    status: Literal["found", "nothing", "no_room", "unavailable"]
    at: str
    at_words: str
    as_of: str
    note: str
    passages: list[EvidencePassage]


class ChatCompletion(BaseModel):
    """A whole chat answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    evidence: EvidenceReport | None = None


class TextChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """A whole raw completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage


class ModelCard(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "mnatune"
    root: str
    parent: str | None = None


class ModelList(BaseModel):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorFacts(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error envelope."""

    error: ErrorFacts
