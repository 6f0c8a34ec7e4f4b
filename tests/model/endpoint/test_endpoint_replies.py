"""What servers and small models send: parts, raw line breaks, examples before the answer, copies of the form, broken usage."""

import asyncio
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.model.endpoint import Ask, BadReply, Clock, Endpoint, check_flat, json_in, ledger_key
from mnatune.model.endpoint.fake import Body, FakeEndpoint
from mnatune.model.endpoint.limits import ALIKE_AT_FIRST, ALIKE_LATER, Refusals
from mnatune.model.endpoint.replies import text_of
from mnatune.model.endpoint.wire import LONGEST_REPLY, own_machine, proxy_of
from mnatune.runs.errors import EnvironmentFault, MnatuneError, UsageError
from mnatune.runs.recipe import EndpointSection

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"why": {"type": "string"}, "score": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]}},
    "required": ["why", "score"],
}
GOOD = {"why": "용어를 바르게 씀", "score": 4}
USAGE = {"prompt_tokens": 600, "completion_tokens": 90}


def check(text: str) -> tuple[dict[str, Any], bool]:
    value, clean = json_in(text)
    return check_flat(value, SCHEMA), clean


def completion(content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE, **more}


class Odd(FakeEndpoint):
    """Answers every call with one status, these bytes and these headers."""

    def __init__(self, answer: Any, status: int = 200, **headers: str) -> None:
        super().__init__(lambda body: "")
        self._data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self._status = status
        self._extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    async def _answer(self, body: Body, writer: asyncio.StreamWriter) -> bool:
        self.served.calls += 1
        await self._send(writer, self._status, self._data, self._extra)
        return True


def ask_all(server: FakeEndpoint, folder: Path, count: int = 1, clock: Clock | None = None, **more: Any) -> Any:
    """(outcomes, tally, endpoint) of asking that many questions."""
    fast = {"per_minute": (10**9, 10**12), "concurrency": 4, "timeout": 20.0}
    section = {"base_url": server.base_url, "model": "m", "ledger": str(folder / "ledger.sqlite3"), **fast}
    endpoint = Endpoint(EndpointSection.model_validate(section | more), "run", clock=clock)
    outcomes: list[Any] = []
    messages = [{"role": "user", "content": "채점하십시오"}]
    asks = (Ask(ledger_key(n), messages, SCHEMA, check) for n in range(count))
    return outcomes, endpoint.ask(asks, outcomes.append), endpoint


TEXT = json.dumps(GOOD, ensure_ascii=False)
FORMS = {
    "parts": [{"type": "text", "text": TEXT[:9]}, {"type": "text", "text": TEXT[9:]}],
    "thought-parts": [{"type": "thinking", "thinking": "{흠}"}, {"type": "output_text", "text": TEXT}],
    "thought": f"<think>{{어디 보자}}</think>{TEXT}",
    "prose-with-braces": f"네, {{답}}입니다. {TEXT}",
    "fence": f"```json\n{TEXT}\n```",
    "twice": f"{TEXT}\n{TEXT}",
    "list-of-one": f"[{TEXT}]",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_that_means_one_thing_is_read_at_one_call(tmp_path: Path, form: str) -> None:
    with Odd(completion(FORMS[form])) as server:
        outcomes, tally, _ = ask_all(server, tmp_path)
    assert (outcomes[0].value, tally.paid.calls) == (GOOD, 1)


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\ufffd'), min_size=3, max_size=40))
def test_raw_control_characters_in_a_string_are_read(why: str) -> None:
    value, _ = json_in(f'{{"why": "{why}", "score": 4}}')
    assert value == {"why": why, "score": 4}


@pytest.mark.parametrize("text", ['형식: {"a": 0} 답: {"a": 4}', '{"a": 4}\n\n질문: … {"a": 2}'])
def test_of_several_objects_none_is_taken(text: str) -> None:
    with pytest.raises(BadReply) as caught:
        json_in(text)
    assert caught.value.code == "several-json"


COPIES = [
    "200자를 넘지 않는 한국어 이유",
    "한국어 이유",
    "<이유>",
    "{reason}",
    "[근거]",
    "…",
    "...",
    "여기에 이유를 적는다",
    "your reason here",
]
REASONS = [
    "그렇습니다.",
    "까닭",
    "요건을 바르게 설명함",
    "이유가 없다",
    "근거 조문이 틀림",
    "제3조의 300자",
    "답변이 옳다",
]


@pytest.mark.parametrize("why", COPIES)
def test_copies_of_the_form_are_no_values(why: str) -> None:
    with pytest.raises(BadReply) as caught:
        check_flat(GOOD | {"why": why}, SCHEMA)
    assert caught.value.code == "placeholder-why"


@pytest.mark.parametrize("why", REASONS)
def test_short_reasons_are_values(why: str) -> None:
    assert check_flat(GOOD | {"why": why}, SCHEMA)["why"] == why


def test_half_a_surrogate_pair_does_not_end_the_run(tmp_path: Path) -> None:
    inner = json.dumps({"why": "\ud83d 이모지", "score": 4})  # escaped in the model's own JSON
    for content in (TEXT[:9] + "\ud83d" + TEXT[9:], inner):
        with Odd(completion(content)) as server:
            outcomes, _, endpoint = ask_all(server, tmp_path / str(len(content)))
        assert [o.state for o in outcomes] == ["ok"]
        assert endpoint.ledger.find(ledger_key(0)).value["why"].encode("utf-8")
    with Odd(completion("가\ud83d나")) as server:  # a text that nothing checks, as evaluation asks for
        endpoint = ask_all(server, tmp_path / "plain", 0)[2]
        found: list[Any] = []
        endpoint.ask([Ask("k", [{"role": "user", "content": "x"}], None, None)], found.append)
    assert found[0].value == {"text": "가\ufffd나", "stopped": True}


@pytest.mark.parametrize("count", ["-5", "1" + "0" * 400, str(2**63), "1e400", "true", '"12"', "null", "0"])
def test_usage_that_cannot_be_true_is_guessed(tmp_path: Path, count: str) -> None:
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": {count}}}'
    data = json.dumps(completion(TEXT)).replace(json.dumps(USAGE), usage).encode()
    with Odd(data) as server:
        outcomes, tally, endpoint = ask_all(server, tmp_path, prices=(1.0, 1.0))
    assert outcomes[0].state == "ok"
    assert 0 < tally.paid.tokens_in < 1000
    assert 0 < tally.paid.tokens_out < 1000
    assert endpoint.ledger.spent("run") == tally.paid


@pytest.mark.parametrize("packed", [True, False])
def test_a_reply_without_end_is_cut_off(tmp_path: Path, packed: bool) -> None:
    data = b" " * (LONGEST_REPLY * 4 if packed else LONGEST_REPLY + 1)
    data, headers = (gzip.compress(data), {"Content_Encoding": "gzip"}) if packed else (data, {})
    with Odd(data, **headers) as server:
        _, tally, _ = ask_all(server, tmp_path)
    assert tally.failed == {"http-too-large": 1}


def test_a_packed_reply_is_read(tmp_path: Path) -> None:
    with Odd(gzip.compress(json.dumps(completion(TEXT)).encode()), Content_Encoding="gzip") as server:
        assert ask_all(server, tmp_path)[0][0].value == GOOD


REFUSING = {
    "unknown-model": (Odd, ({"error": {"message": "model 'm' not found"}}, 400), {}, "model 'm' not found"),
    "moved": (Odd, (b"", 301), {"Location": "https://judge.example/v1"}, "https://judge.example/v1"),
    "error-with-200": (Odd, ({"error": {"message": "quota of key 17", "code": 403}},), {}, "quota of key"),
    "forbidden": (Odd, ({"error": "nobody may"}, 403), {}, "nobody may"),
    "login-page": (Odd, (b"<html>Please log in</html>",), {}, "Please log in"),
}


class Rushing(Clock):
    """A thousand seconds in one."""

    def now(self) -> float:
        return time.monotonic() * 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / 1000)


@pytest.mark.parametrize("case", REFUSING)
def test_an_endpoint_that_refuses_every_call_alike_is_given_up_with_its_words(tmp_path: Path, case: str) -> None:
    kind, arguments, headers, words = REFUSING[case]
    with kind(*arguments, **headers) as server, pytest.raises(MnatuneError, match=words):
        ask_all(server, tmp_path, 1500, Rushing())
    assert server.served.calls < 100


def test_refusals_of_long_rows_do_not_end_a_judging_that_works() -> None:
    refusals = Refusals()
    refusals.answered()
    assert not any(refusals.hopeless("400", f"maximum context length is 4096, not {n}") for n in range(2 * ALIKE_LATER))
    assert any(refusals.hopeless("400", "model not found") for _ in range(ALIKE_LATER))
    fresh = Refusals()
    assert [fresh.hopeless("400", f"request {n} refused") for n in range(ALIKE_AT_FIRST)].index(
        True
    ) == ALIKE_AT_FIRST - 1
    mixed = Refusals()
    assert not any(mixed.hopeless("400", "ab"[n % 2]) for n in range(100))


def test_a_halt_wakes_whoever_waits_for_the_breaker(tmp_path: Path) -> None:
    """The server goes away with the breaker open; what one outcome says then ends the asking, not half an hour later."""

    class Slow(Clock):
        """Waits in earnest once the key has been refused."""

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(0 if server.served.calls <= 20 else seconds)

    with Odd({}, 503) as server:
        server._answer = _reset_then_forbid(server)  # type: ignore[method-assign]
        with pytest.raises(EnvironmentFault, match="refuses the key"):
            asyncio.run(asyncio.wait_for(asyncio.to_thread(ask_all, server, tmp_path, 50, Slow(), concurrency=16), 60))


def _reset_then_forbid(server: Odd) -> Any:
    async def answer(body: Body, writer: asyncio.StreamWriter) -> bool:
        server.served.calls += 1
        await server._send(writer, 503 if server.served.calls <= 20 else 401, b"{}")
        return True

    return answer


def test_what_an_outcome_raises_ends_the_asking_and_what_is_paid_stays(tmp_path: Path) -> None:
    def each(outcome: object) -> None:
        raise UsageError("genug")

    with Odd(completion(TEXT)) as server:
        section = EndpointSection(base_url=server.base_url, model="m", ledger=str(tmp_path / "l"), concurrency=3)
        endpoint = Endpoint(section, "run")
        asks = (Ask(ledger_key(n), [{"role": "user", "content": "x"}], SCHEMA, check) for n in range(100))
        with pytest.raises(UsageError, match="genug"):
            endpoint.ask(asks, each)
        assert endpoint.ledger.spent("run").calls == server.served.calls <= 6


def test_netrc_and_proxies_have_no_say_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login kim password geheim\n")
    os.chmod(tmp_path / "netrc", 0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for key in ("sk-right", ""):
        monkeypatch.setenv("MNATUNE_API_KEY", key)
        with FakeEndpoint(lambda body: TEXT) as server:
            assert ask_all(server, tmp_path / f"key{key}")[0][0].value == GOOD
            assert server.served.keys == ({f"bearer {key}"} if key else set())


def test_a_proxy_serves_other_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inner.example")
    assert proxy_of("http://api.example/v1") == "http://proxy.example:3128"
    for host in ("localhost", "LOCALHOST:8000", "judge.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:8000", "0.0.0.0"):
        assert proxy_of(f"http://{host}/v1") is None
    assert proxy_of("http://inner.example/v1") is None
    assert not own_machine("10.0.0.7")


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ValueError, match="password"):
        EndpointSection(base_url="http://kim:geheim@judge.example/v1", model="m")


@pytest.mark.parametrize(
    "content", [None, 7, {}, {"text": "x"}, [], [None, 3, {"type": "image"}, {"text": None}, [["x"]]]]
)
def test_content_without_text_is_empty(content: object) -> None:
    assert text_of(content) == ""
