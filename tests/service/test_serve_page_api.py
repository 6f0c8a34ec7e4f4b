"""What the page asks for: stored answers, ratings, edits, blind pairs, citations, review, erasure."""

import json
from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient
from served_app import make_app

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "합병이란 무엇인가요?"}]
PAIR = {"messages": HELLO, "store": True}


@dataclass(frozen=True)
class Mark:
    """A citation mark."""

    start: int
    end: int
    law: str = "상법"
    article: str = "522"
    verdict: str = "valid"
    title: str = "합병계약서와 그 승인결의"
    note: str = ""


class FindsOne:
    """A checker that finds "상법 제522조" wherever it stands."""

    def find(self, text):
        at = text.find("상법 제522조")
        return [Mark(at, at + 8)] if at >= 0 else []


@pytest.fixture
def app():
    return make_app(
        EchoEngine(("tuned", "base"), reply=lambda task: f"{task.model or 'tuned'}의 답"), checker=FindsOne()
    )


@pytest.fixture
def client(app):
    with TestClient(app) as client:
        yield client


def stored_answer(client, **headers):
    body = {"messages": HELLO, "store": True, "metadata": {"conversation": "c1"}}
    return client.post(CHAT, json=body, headers=headers).json()["id"]


def queue(client, state="open"):
    return client.get(f"/api/admin/reviews?state={state}").json()["items"]


def test_only_what_the_caller_agreed_to_is_stored(client):
    client.post(CHAT, json={"messages": HELLO})
    refused = client.post(CHAT, json={"messages": HELLO}).json()["id"]
    assert client.put(f"/api/generations/{refused}/rating", json={"thumb": 1}).status_code == 404
    assert client.get("/api/admin/usage").json()["days"] == []
    stored_answer(client)
    assert [day["generations"] for day in client.get("/api/admin/usage").json()["days"]] == [1]


def test_a_streamed_answer_is_stored_before_its_stream_ends(client):
    body = {"messages": HELLO, "store": True, "stream": True}
    made = ""
    with client.stream("POST", CHAT, json=body) as reply:
        for line in reply.iter_lines():
            if line == "data: [DONE]":
                break
            made = json.loads(line.removeprefix("data:"))["id"] if line else made
    assert client.put(f"/api/generations/{made}/rating", json={"thumb": 1}).status_code == 204


def test_a_rating_is_replaced_and_taken_back(client):
    place = f"/api/generations/{stored_answer(client)}/rating"
    client.put(place, json={"thumb": -1, "tags": ["wrong_fact"], "comment": "틀림"})
    client.put(place, json={"thumb": 1, "tags": ["clear", "clear"]})
    (item,) = queue(client)
    assert (item["kind"], item["value"], item["tags"], item["question"]) == (
        "rating",
        "up",
        ["clear"],
        HELLO[0]["content"],
    )
    client.put(place, json={"thumb": 0})
    assert queue(client) == []


def test_an_edit_is_reviewed_with_the_reviewers_wording(client):
    client.put(f"/api/generations/{stored_answer(client)}/edit", json={"text": "고친 답"})
    (item,) = queue(client)
    assert (item["kind"], item["value"], item["answer"]) == ("edit", "고친 답", "tuned의 답")
    done = client.put(
        f"/api/admin/reviews/{item['id']}", json={"state": "approved", "text": "다듬은 답", "note": "좋음"}
    )
    assert done.status_code == 204
    assert queue(client) == []
    (approved,) = queue(client, "approved")
    assert (approved["value"], approved["note"]) == ("다듬은 답", "좋음")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("rating", {"thumb": 5}),
        ("rating", {"thumb": 1, "tags": ["made-up"]}),
        ("rating", {"thumb": 1, "comment": "가" * 2001}),
        ("edit", {"text": ""}),
        ("edit", {"text": "  \n"}),
    ],
)
def test_wrong_feedback_is_refused(client, path, body):
    assert client.put(f"/api/generations/{stored_answer(client)}/{path}", json=body).status_code == 400


def compared(client):
    events = []
    for line in client.post("/api/compare", json=PAIR).text.splitlines():
        if line.startswith("data: {"):
            events.append(json.loads(line.removeprefix("data: ")))
    sides = {side: "".join(e["text"] for e in events if e.get("side") == side) for side in ("left", "right")}
    return events, sides, events[0]["pair"]


def test_a_pair_is_blind_until_it_is_picked_and_its_order_is_random(client):
    orders = set()
    for _ in range(24):
        events, sides, pair = compared(client)
        assert all(set(event) <= {"pair", "side", "text", "finish", "complete"} for event in events)
        names = client.put(f"/api/pairs/{pair}/choice", json={"choice": "left"}).json()
        assert {side: f"{name}의 답" for side, name in names.items()} == sides
        orders.add(names["left"])
    assert orders == {"tuned", "base"}
    assert client.put("/api/pairs/none/choice", json={"choice": "tie"}).status_code == 404


@pytest.mark.parametrize("consent", [{}, {"store": False}])
def test_a_comparison_that_may_not_be_stored_is_refused(client, consent):
    refused = client.post("/api/compare", json={"messages": HELLO, **consent})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "store")
    assert client.get("/api/admin/usage").json()["days"] == []


def test_a_conversation_is_named_no_longer_than_the_store_can_keep(client):
    for length, status in ((200, 200), (201, 400)):
        body = {**PAIR, "metadata": {"conversation": "c" * length, "note": "n" * 512}}
        reply = client.post(CHAT, json=body)
        assert reply.status_code == status
    assert "mnatune_feedback_store_errors_total 0.0" in client.get("/metrics").text


def test_comparing_needs_two_models():
    with TestClient(make_app(EchoEngine(("alone",)))) as client:
        assert client.post("/api/compare", json=PAIR).json()["error"]["code"] == "one_model"


def test_citations_are_marked_with_title_and_verdict(client):
    (mark,) = client.post("/api/citations", json={"text": "🙂 상법 제522조에 따라"}).json()["citations"]
    assert mark["text"] == "상법 제522조"
    assert (mark["verdict"], mark["title"]) == ("valid", "합병계약서와 그 승인결의")
    assert client.post("/api/citations", json={"text": "없음"}).json() == {"citations": []}


def test_one_rater_cannot_touch_anothers_answers_and_can_erase_the_own(tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    made_keys = {name: store.create(name, KeyTerms(admin=name == "boss")) for name in ("kim", "lee", "boss")}
    asked = {name: {"authorization": f"Bearer {secret}"} for name, (_, secret) in made_keys.items()}
    with TestClient(make_app(keys=store)) as client:
        made = stored_answer(client, **asked["kim"])
        place = f"/api/generations/{made}/rating"
        assert client.put(place, json={"thumb": -1}, headers=asked["lee"]).status_code == 404
        assert client.put(place, json={"thumb": 1}, headers=asked["kim"]).status_code == 204
        stored_answer(client, **asked["lee"])
        assert client.delete("/api/me", headers=asked["kim"]).json() == {"deleted": 1}
        assert client.put(place, json={"thumb": 1}, headers=asked["kim"]).status_code == 404
        erased = client.delete(f"/api/admin/raters/key:{made_keys['lee'][0].id}", headers=asked["boss"])
        assert erased.json() == {"deleted": 1}


def test_a_store_that_fails_costs_no_answer(app):
    def fails(generation):
        raise RuntimeError("disk full")

    app.state.service.feedback.save_generation = fails
    with TestClient(app) as client:
        reply = client.post(CHAT, json={"messages": HELLO, "store": True})
        assert reply.status_code == 200
        assert client.put(f"/api/generations/{reply.json()['id']}/rating", json={"thumb": 1}).status_code == 404
        assert "mnatune_feedback_store_errors_total 1.0" in client.get("/metrics").text
