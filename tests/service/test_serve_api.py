"""The API as its clients see it: OpenAI's own client, curl-like requests, and errors in OpenAI's envelope."""

import json

import httpx
import pytest
from fastapi.testclient import TestClient
from served_app import make_app

from mnatune.model.engine.echo import EchoEngine
from mnatune.runs.recipe import GenerationSection
from mnatune.service.service import Settings

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "상법 제522조는 무엇을 정하나요?"}]


class Recorder(EchoEngine):
    """An echo engine that keeps the tasks it got."""

    def __init__(self):
        super().__init__()
        self.tasks = []

    async def open(self, task):
        self.tasks.append(task)
        return await super().open(task)


@pytest.fixture
def engine():
    return Recorder()


@pytest.fixture
def client(engine):
    with TestClient(make_app(engine, settings=Settings(system="체계", generation=GenerationSection()))) as client:
        yield client


def events(text):
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(line) for line in data[:-1]]


def test_a_whole_answer_has_openais_shape(client):
    reply = client.post(CHAT, json={"model": "echo", "messages": HELLO}).json()
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "echo"
    assert reply["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": HELLO[0]["content"]},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 2


def test_null_means_not_given(client):
    """Clients send null for what they leave out."""
    reply = client.post(
        CHAT, json={"messages": HELLO, "stream": None, "model": None, "temperature": None, "stop": None}
    )
    assert reply.status_code == 200
    assert reply.json()["object"] == "chat.completion"


def test_a_stream_says_the_same_as_the_whole(client):
    body = {"model": "echo", "messages": HELLO, "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage = events(client.post(CHAT, json=body).text)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in [*chunks, usage]}) == 1
    for index in (0, 1):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(c["delta"].get("content", "") for c in mine) == HELLO[0]["content"]
        assert [c["finish_reason"] for c in mine][-1] == "stop"
    assert usage["choices"] == []
    assert usage["usage"] == client.post(CHAT, json={**body, "stream": False}).json()["usage"]


def test_the_packs_system_prompt_leads_unless_the_caller_brings_one(client, engine):
    client.post(CHAT, json={"messages": HELLO})
    client.post(CHAT, json={"messages": [{"role": "developer", "content": "내 규칙"}, *HELLO]})
    assert [(task.messages[0]["role"], task.messages[0]["content"]) for task in engine.tasks] == [
        ("system", "체계"),
        ("system", "내 규칙"),
    ]


def test_sampling_takes_the_recipes_values_where_the_request_has_none(client, engine):
    client.post(CHAT, json={"messages": HELLO})
    client.post(CHAT, json={"messages": HELLO, "temperature": 0, "top_p": 0.5, "seed": 7, "n": 2, "max_tokens": 3})
    plain, first, second = (task.sampling for task in engine.tasks)
    given = GenerationSection()
    assert (plain.temperature, plain.top_k, plain.top_p) == (given.temperature, given.top_k, given.top_p)
    assert (first.temperature, first.top_p, first.seed, second.seed, first.max_tokens) == (0, 0.5, 7, 8, 3)


def test_limits_and_stops_end_an_answer_with_the_right_reason(client):
    def ask(**more):
        choice = client.post(CHAT, json={"messages": HELLO, **more}).json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]

    assert ask(max_tokens=1) == ("상법 ", "length")
    assert ask(max_completion_tokens=2, max_tokens=1)[0] == "상법 제522조는 "
    assert ask(stop="무엇") == ("상법 제522조는 ", "stop")
    assert ask(stop=["없음", "제522조"]) == ("상법 ", "stop")


def test_completions_continue_raw_prompts(client, engine):
    reply = client.post("/v1/completions", json={"prompt": ["가 나", "다"], "n": 2}).json()
    assert [choice["text"] for choice in reply["choices"]] == ["가 나", "가 나", "다", "다"]
    assert all(not task.messages for task in engine.tasks)
    ids = client.post("/v1/completions", json={"prompt": [5, 6]}).json()
    assert ids["object"] == "text_completion"
    assert engine.tasks[-1].prompt == [5, 6]


def test_a_suffix_is_refused_and_an_empty_one_taken(client):
    told = client.post("/v1/completions", json={"prompt": "가", "suffix": "나"})
    assert (told.status_code, told.json()["error"]["param"]) == (400, "suffix")
    assert client.post("/v1/completions", json={"prompt": "가", "suffix": ""}).status_code == 200


def test_models_are_listed_and_unknown_ones_are_404(client):
    listed = client.get("/v1/models").json()["data"]
    assert [card["id"] for card in listed] == ["echo-tuned", "echo"]
    assert client.get("/v1/models/echo").json()["id"] == "echo"
    for reply in (client.get("/v1/models/gpt-9"), client.post(CHAT, json={"model": "gpt-9", "messages": HELLO})):
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "model_not_found"


WRONG = {
    "no messages": {},
    "empty messages": {"messages": []},
    "no such role": {"messages": [{"role": "tool", "content": "x"}]},
    "last turn is not the user's": {"messages": [*HELLO, {"role": "assistant", "content": "예"}]},
    "empty question": {"messages": [{"role": "user", "content": "  "}]},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    "n too large": {"messages": HELLO, "n": 10**9},
    "n zero": {"messages": HELLO, "n": 0},
    "temperature too high": {"messages": HELLO, "temperature": 9},
    "top_p zero": {"messages": HELLO, "top_p": 0},
    "a number in quotes": {"messages": HELLO, "max_tokens": "5"},
    "max_tokens zero": {"messages": HELLO, "max_tokens": 0},
    "tools": {"messages": HELLO, "tools": [{"type": "function"}]},
    "functions": {"messages": HELLO, "functions": [{"name": "f"}]},
    "a bias": {"messages": HELLO, "logit_bias": {"5": -100}},
    "a JSON schema": {"messages": HELLO, "response_format": {"type": "json_schema"}},
    "log-probabilities": {"messages": HELLO, "logprobs": True},
    "a penalty that is not there": {"messages": HELLO, "frequency_penalty": 0.5},
    "seed beyond 64 bits": {"messages": HELLO, "seed": 2**70},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_refused_in_openais_envelope(client, engine, body):
    reply = client.post(CHAT, json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert engine.tasks == []


def test_harmless_fields_of_other_clients_are_taken(client):
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "안녕"}], "name": "kim"}],
        "frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}, "user": "u1", "tools": [],
        "parallel_tool_calls": True, "chat_id": "from Open WebUI", "response_format": {"type": "text"},
    }  # fmt: skip
    assert client.post(CHAT, json=body).json()["choices"][0]["message"]["content"] == "안녕"


def test_errors_of_routing_have_the_envelope_too(client):
    assert client.get("/v1/none").json()["error"]["message"] == "Not Found"
    wrong = client.get(CHAT)
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    assert wrong.json()["error"]["type"] == "invalid_request_error"


def test_every_answer_carries_a_request_id_and_the_callers_own_is_kept(client):
    assert client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    odd = client.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert len(odd) == 32


def test_health_readiness_and_metrics(client, engine):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post(CHAT, json={"model": "echo", "messages": HELLO})
    text = client.get("/metrics").text
    assert 'mnatune_answers_total{model="echo",outcome="stop"} 1.0' in text
    assert 'mnatune_tokens_total{kind="completion",model="echo"} 4.0' in text
    assert "mnatune_answers_in_flight 0.0" in text
    assert 'mnatune_time_to_first_token_seconds_count{model="echo"} 1.0' in text
    engine.fault = lambda: "stuck"
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_a_failure_in_mid_stream_is_told_in_the_stream():
    class Breaking(EchoEngine):
        async def _pieces(self, task):
            from mnatune.model.engine.refusals import engine_down

            async for piece in super()._pieces(task):
                yield piece
                raise engine_down("gone")

    with TestClient(make_app(Breaking())) as client:
        said = events(client.post(CHAT, json={"messages": HELLO, "stream": True}).text)
        assert said[-1]["error"]["code"] == "engine_unavailable"
        whole = client.post(CHAT, json={"messages": HELLO})
        assert whole.status_code == 503
        assert whole.headers["retry-after"]
        assert "mnatune_answers_in_flight 0.0" in client.get("/metrics").text


def test_openais_own_client_works_unchanged(serve_live):
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    url = serve_live(make_app()).url
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["echo-tuned", "echo"]
    whole = client.chat.completions.create(model="echo", messages=HELLO)
    assert whole.choices[0].message.content == HELLO[0]["content"]
    stream = client.chat.completions.create(model="echo", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == HELLO[0]["content"]
    assert client.completions.create(model="echo", prompt="가 나").choices[0].text == "가 나"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=HELLO)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="echo", messages=HELLO, n=100)


def test_a_silent_stream_is_kept_open_with_comments(serve_live):
    url = serve_live(make_app(EchoEngine(pause=0.15), settings=Settings(heartbeat=0.05))).url
    with httpx.stream("POST", f"{url}{CHAT}", json={"messages": HELLO, "stream": True}) as reply:
        lines = list(reply.iter_lines())
    assert ": keep-alive" in lines
    assert lines[-2] == "data: [DONE]" or "data: [DONE]" in lines
