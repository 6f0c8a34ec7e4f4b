"""The rating workspace's API: who may, what lies on the desk and in which order, grades, progress, agreement, sheets."""

import csv
import io

import pytest
from fastapi.testclient import TestClient
from served_app import make_app
from test_serve_page_api import FindsOne, queue, stored_answer

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms
from mnatune.service.service import Settings

CHAT = "/v1/chat/completions"
EXAM = (
    ("합병", "합병에 반대하는 주주는 언제까지 매수를 청구하는가?"),
    ("세무", "적격합병의 과세이연 요건은 무엇인가?"),
)


@pytest.fixture
def office(tmp_path):
    """A server with keys for a user, two reviewers and an administrator; name → headers."""
    store = KeyStore(tmp_path / "keys.json")
    terms = {
        "user": KeyTerms(), "kim": KeyTerms(reviewer=True), "lee": KeyTerms(reviewer=True), "boss": KeyTerms(admin=True),
    }  # fmt: skip
    keys = {name: store.create(name, given) for name, given in terms.items()}
    engine = EchoEngine(("tuned", "base"), reply=lambda task: f"{task.messages[-1]['content']}의 답 {task.model}")
    settings = Settings(system="체계", exam=EXAM)
    with TestClient(make_app(engine, keys=store, settings=settings, checker=FindsOne())) as client:
        client.headers.update({})
        client.who = {name: {"authorization": f"Bearer {secret}"} for name, (_, secret) in keys.items()}
        client.ids = {name: f"key:{key.id}" for name, (key, _) in keys.items()}
        yield client


def asked(office, *questions, model="tuned", store=True):
    made = []
    for question in questions:
        body = {"model": model, "messages": [{"role": "user", "content": question}], "store": store}
        made.append(office.post(CHAT, json=body, headers=office.who["user"]).json()["id"])
    return made


def desk(office, who="kim", **wanted):
    reply = office.get("/api/rating", params=wanted, headers=office.who[who])
    assert reply.status_code == 200, reply.text
    return reply.json()


def grade(office, item, value, who="kim", **more):
    return office.put(f"/api/rating/{item}", json={"grade": value, **more}, headers=office.who[who])


def test_only_reviewers_see_what_others_asked(office):
    (made,) = asked(office, "합병 질문")
    assert office.get("/api/rating", headers=office.who["user"]).json()["error"]["code"] == "reviewer_only"
    assert grade(office, made, 4, "user").status_code == 403
    assert office.get("/api/rating/sheet.csv", headers=office.who["user"]).status_code == 403
    assert office.get("/api/admin/agreement", headers=office.who["kim"]).status_code == 403
    assert [item["id"] for item in desk(office)["items"]] == [made]
    assert [item["id"] for item in desk(office, "boss")["items"]] == [made]


def test_only_what_was_agreed_to_lies_on_the_desk(office):
    (kept,) = asked(office, "저장하는 질문")
    (gone,) = asked(office, "저장하지 않는 질문", store=False)
    assert [item["id"] for item in desk(office)["items"]] == [kept]
    assert grade(office, gone, 3).status_code == 404


def test_a_grade_moves_an_answer_off_the_desk_and_back(office):
    first, second = asked(office, "하나", "둘")
    assert grade(office, first, 4, comment="좋음").status_code == 204
    assert grade(office, second, None).status_code == 204
    assert desk(office)["items"] == []
    (mine,) = desk(office, show="mine")["items"]
    assert (mine["id"], mine["own"], mine["comment"]) == (first, "4", "좋음")
    assert [item["id"] for item in desk(office, show="skipped")["items"]] == [second]
    assert len(desk(office, "lee")["items"]) == 2  # another reviewer's desk is another
    progress = office.get("/api/me/progress", headers=office.who["kim"]).json()
    assert (progress["grades"], progress["skipped"], progress["today"]) == (1, 1, 1)
    grade(office, first, 0)
    assert [item["id"] for item in desk(office)["items"]] == [first]
    assert queue_of(office, "approved") == []


def queue_of(office, state):
    return office.get("/api/admin/reviews", params={"state": state}, headers=office.who["boss"]).json()["items"]


def test_a_reviewer_does_not_see_what_the_others_gave(office):
    (made,) = asked(office, "합병 질문")
    grade(office, made, 1, "lee", comment="틀림")
    (item,) = desk(office, "kim")["items"]
    assert "틀림" not in str(item)
    assert not {"grades", "others"} & set(item)


def test_the_whole_dialogue_lies_on_the_desk(office):
    turns = [("user", "하나"), ("assistant", "답"), ("user", "둘")]
    body = {"messages": [{"role": role, "content": text} for role, text in turns], "store": True}
    office.post(CHAT, json=body, headers=office.who["user"])
    (item,) = desk(office)["items"]
    assert [(turn["role"], turn["content"]) for turn in item["dialogue"]] == turns


def test_what_changes_most_comes_first_and_says_why(office):
    plain, _ = asked(office, "합병에 반대하는 주주의 매수청구 기간은?", "합병에 반대하는 주주의 매수청구 기간은 언제?")
    grade(office, plain, 3, "lee")
    (tax,) = asked(office, "적격합병의 과세이연 요건을 알려 주세요")
    cited, other = asked(office, "상법 제522조란?", model="tuned") + asked(office, "상법 제522조란?", model="base")
    items = desk(office)["items"]
    places = {item["id"]: at for at, item in enumerate(items)}
    assert items[0]["id"] == tax
    assert "시험 비중에 비해 평가가 적은 주제: 세무" in items[0]["reasons"]
    assert places[plain] > places[tax]
    assert all(item["reasons"] for item in items)
    assert {places[cited], places[other]} <= set(range(1, 4))
    assert next(item for item in items if item["id"] == cited)["citations"]["valid"] == 1


def test_the_desk_is_filtered(office):
    tuned, base = asked(office, "상법 제522조") + asked(office, "분할", model="base")
    assert [item["id"] for item in desk(office, model="base")["items"]] == [base]
    assert [item["id"] for item in desk(office, verdict="valid")["items"]] == [tuned]
    assert [item["id"] for item in desk(office, verdict="none")["items"]] == [base]
    assert [item["id"] for item in desk(office, words="분할")["items"]] == [base]
    assert desk(office, words="없는 말")["items"] == []
    assert desk(office, limit=1)["total"] == 2


@pytest.mark.parametrize(
    "body", [{"grade": 5}, {"grade": -1}, {"grade": "4"}, {}, {"grade": 4, "comment": "가" * 2001}]
)
def test_a_wrong_grade_is_refused(office, body):
    (made,) = asked(office, "질문")
    assert office.put(f"/api/rating/{made}", json=body, headers=office.who["kim"]).status_code == 400


def test_agreement_between_reviewers(office):
    assert office.get("/api/admin/agreement", headers=office.who["boss"]).json()["alpha"] is None
    made = asked(office, "하나", "둘", "셋")
    for item, kim, lee in zip(made, (1, 4, 2), (1, 4, 3), strict=True):
        grade(office, item, kim)
        grade(office, item, lee, "lee")
    told = office.get("/api/admin/agreement", headers=office.who["boss"]).json()
    assert 0.7 < told["alpha"] < 1
    assert (told["items"], told["same"]) == (3, pytest.approx(2 / 3))
    assert [(one["id"], sorted(one["grades"].values())) for one in told["apart"]] == [(made[2], [2, 3])]
    assert {one["rater"]: one["grades"] for one in told["raters"]} == {
        office.ids["kim"]: 3,
        office.ids["lee"]: 3,
    }


def rows(reply):
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(reply.text.removeprefix("\ufeff"))))


def test_sheets_hold_ones_own_grades_and_no_formula(office):
    first, second = asked(office, "=HYPERLINK(1)", "-둘,\n줄")
    grade(office, first, 4, comment="@cmd")
    grade(office, second, 2, "lee")
    (row,) = rows(office.get("/api/rating/sheet.csv", headers=office.who["kim"]))
    assert (row["question"], row["grade"], row["comment"]) == ("'=HYPERLINK(1)", "4", "'@cmd")
    both = rows(office.get("/api/rating/sheet.csv", headers=office.who["boss"]))
    assert [one["question"] for one in both] == ["'=HYPERLINK(1)", "'-둘,\n줄"]
    office.put(f"/api/generations/{first}/rating", json={"thumb": 1}, headers=office.who["user"])
    (row,) = rows(office.get("/api/admin/reviews.csv", headers=office.who["boss"]))
    assert (row["kind"], row["value"]) == ("rating", "up")


def test_feedback_is_reviewed_in_bulk_and_what_is_gone_is_named():
    with TestClient(make_app(EchoEngine(("tuned", "base")))) as client:
        for _ in range(3):
            client.put(f"/api/generations/{stored_answer(client)}/rating", json={"thumb": -1, "comment": "빠짐 100%"})
        ids = [item["id"] for item in queue(client)]
        done = client.put("/api/admin/reviews", json={"items": [*ids[:2], "none"], "state": "approved"}).json()
        assert done == {"done": ids[:2], "unknown": ["none"]}
        assert [item["id"] for item in queue(client)] == ids[2:]
        assert client.put("/api/admin/reviews", json={"items": [], "state": "approved"}).status_code == 400


def test_the_queue_is_filtered_and_gives_reasons():
    with TestClient(make_app(EchoEngine(("tuned", "base")), checker=FindsOne())) as client:
        made = stored_answer(client)
        client.put(f"/api/generations/{made}/rating", json={"thumb": -1, "comment": "빠짐 100%"})
        client.put(f"/api/generations/{made}/edit", json={"text": "고친 답"})

        def found(**wanted):
            return [item["kind"] for item in client.get("/api/admin/reviews", params=wanted).json()["items"]]

        assert sorted(found()) == ["edit", "rating"]
        assert found(kind="edit") == ["edit"]
        assert found(words="고친 답") == ["edit"]
        assert found(words="100%") == ["rating"]
        assert found(words="100_") == []  # a wildcard of the database is a letter here
        assert sorted(found(words="합병이란")) == ["edit", "rating"]  # in the question
        assert found(model="base") == []
        assert sorted(found(model="tuned", rater="local", order="oldest")) == ["edit", "rating"]
        assert all(item["reasons"] for item in client.get("/api/admin/reviews").json()["items"])
        assert client.get("/api/admin/reviews", params={"kind": "none"}).status_code == 400
