"""The store on SQLite and on PostgreSQL: one active word per rater and answer, masking, review, erasure, retention."""

import sqlite3
import threading
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_feedback import generation, mask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mnatune.runs.errors import DataError, EnvironmentFault, UsageError
from mnatune.service.feedback.database import connect
from mnatune.service.feedback.schema_tables import Base, FeedbackRow, GenerationRow
from mnatune.service.feedback.sink import BlindPair, Edit, FeedbackSink, PairChoice, Rating, UnknownItem
from mnatune.service.feedback.store import DAY, FeedbackStore


def row(store, name="gen-1"):
    with Session(store.engine) as session:
        return session.get_one(GenerationRow, name)


def values(store, state="open"):
    return [(i.kind, i.value, i.rater) for i in store.review_queue(state).items]


def test_it_is_a_sink(store):
    sink: FeedbackSink = store
    assert sink.review_queue().total == 0


def test_the_migrations_give_the_tables_of_the_code(url):
    engine = connect(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    connect(url).dispose()  # a second start changes nothing


def test_personal_data_is_masked_before_it_is_written(store):
    call = "제 번호는 010-1234-5678 입니다."
    store.save_generation(generation(messages=[{"role": "user", "content": call}], answer=call))
    store.edit(Edit("gen-1", "key:a", call, comment=call))
    store.rate(Rating("gen-1", "key:a", -1, ("wrong_fact",), call))
    for item in store.review_queue().items:
        store.review(item.id, "key:admin", "approved", note=call, text=call if item.kind == "edit" else None)
    with store.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            for found in connection.execute(select(table)):
                assert "1234-5678" not in str(found)
    assert row(store).redacted
    assert row(store).prompt_hash == ""  # it could confirm a guessed number
    assert [i.value for i in store.review_queue("approved").items if i.kind == "edit"] == [mask(call)]


def test_what_needs_no_masking_stays_as_it_is(store):
    store.save_generation(generation())
    assert not row(store).redacted
    assert row(store).prompt_hash == "ab" * 32
    assert row(store).messages == generation().messages
    assert row(store).sampling == {"temperature": 0.1, "stop": None}


def test_the_same_generation_again_changes_nothing(store):
    store.save_generation(generation())
    store.save_generation(generation(answer="다른 답"))
    assert row(store).answer == "답변 1번입니다."


def test_a_new_rating_takes_the_old_ones_place(store):
    store.save_generation(generation())
    store.rate(Rating("gen-1", "key:a", 1))
    store.rate(Rating("gen-1", "key:a", -1, ("incomplete",)))
    assert values(store) == [("rating", "down", "key:a")]
    store.rate(Rating("gen-1", "key:a", 0))
    assert values(store) == []
    with Session(store.engine) as session:  # what was said stays, to explain an old export
        assert [f.active for f in session.scalars(select(FeedbackRow))] == [False, False]


def test_saying_the_same_again_keeps_the_review(store):
    store.save_generation(generation())
    store.edit(Edit("gen-1", "key:a", "고친 답"))
    store.review(store.review_queue().items[0].id, "admin", "approved")
    store.edit(Edit("gen-1", "key:a", "고친 답"))
    assert store.review_queue("approved").total == 1
    store.edit(Edit("gen-1", "key:a", "또 고친 답"))
    assert store.review_queue("approved").total == 0
    assert values(store) == [("edit", "또 고친 답", "key:a")]


def test_nobody_rates_another_ones_answer(store):
    store.save_generation(generation(1, "key:a"))
    store.save_generation(generation(2, "key:b"))
    with pytest.raises(UnknownItem):
        store.rate(Rating("gen-1", "key:b", 1))
    with pytest.raises(UnknownItem):
        store.edit(Edit("gen-3", "key:a", "x"))
    with pytest.raises(UnknownItem):
        store.save_pair(BlindPair("p", "key:a", "gen-1", "gen-2", 0.0))
    with pytest.raises(UnknownItem):
        store.review("none", "admin", "approved")
    assert store.review_queue().total == 0


def test_a_blind_pair_is_unveiled_by_the_choice(store):
    store.save_generation(generation(1, model="base"))
    store.save_generation(generation(2))
    store.save_pair(BlindPair("p", "key:a", "gen-1", "gen-2", 0.0))
    assert store.choose(PairChoice("p", "key:a", "tie")) == ("base", "starter-tuned")
    assert store.choose(PairChoice("p", "key:a", "right")) == ("base", "starter-tuned")
    item = store.review_queue().items[0]
    assert (item.value, item.model, item.other_model) == ("right", "base", "starter-tuned")
    assert item.other == "답변 2번입니다."
    with pytest.raises(UnknownItem):
        store.choose(PairChoice("p", "key:b", "left"))
    with pytest.raises(UsageError):
        store.choose(PairChoice("p", "key:a", "both"))


def test_the_queue_is_cut_into_pages_oldest_first(store):
    for n in range(1, 6):
        store.save_generation(generation(n))
        store.rate(Rating(f"gen-{n}", "key:a", 1, created=100.0 - n))
    page = store.review_queue(limit=2, offset=1)
    assert page.total == 5
    assert [i.question for i in page.items] == ["합병 질문 4번입니다.", "합병 질문 3번입니다."]


def test_the_reviewers_own_correction_counts(store):
    store.save_generation(generation())
    store.edit(Edit("gen-1", "key:a", "고친 답"))
    store.rate(Rating("gen-1", "key:a", 1))
    by_kind = {i.kind: i for i in store.review_queue().items}
    store.review(by_kind["edit"].id, "admin", "approved", "좋음", "더 고친 답")
    (item,) = store.review_queue("approved").items
    assert (item.value, item.reviewer, item.note) == ("더 고친 답", "admin", "좋음")
    with pytest.raises(UsageError):
        store.review(by_kind["rating"].id, "admin", "approved", text="답")
    with pytest.raises(DataError):
        store.edit(Edit("gen-1", "key:a", "  "))


def test_usage_by_day_and_model(store):
    now = time.time()
    for n, model in ((1, "base"), (2, "tuned"), (3, "tuned")):
        store.save_generation(generation(n, model=model, created=now))
    store.save_generation(generation(9, created=now - 40 * DAY))
    store.save_pair(BlindPair("p", "key:a", "gen-1", "gen-2", now))
    store.choose(PairChoice("p", "key:a", "right", created=now))
    store.rate(Rating("gen-2", "key:a", 1, created=now))
    store.rate(Rating("gen-3", "key:a", -1, created=now))
    store.edit(Edit("gen-3", "key:a", "고친 답", created=now))
    found = {u.model: u for u in store.usage(30)}
    assert set(found) == {"base", "tuned"}
    assert (found["base"].generations, found["base"].losses, found["base"].wins) == (1, 1, 0)
    tuned = found["tuned"]
    assert (tuned.generations, tuned.completion_tokens) == (2, 10)
    assert (tuned.up, tuned.down, tuned.edits, tuned.wins) == (1, 1, 1, 1)


def test_erasing_a_user_leaves_nothing_of_them(store):
    for n, rater in ((1, "key:a"), (2, "key:a"), (3, "key:b")):
        store.save_generation(generation(n, rater))
        store.rate(Rating(f"gen-{n}", rater, 1))
    store.save_pair(BlindPair("p", "key:a", "gen-1", "gen-2", 0.0))
    store.choose(PairChoice("p", "key:a", "left"))
    store.review(next(i.id for i in store.review_queue().items if i.rater == "key:b"), "key:a", "approved")
    assert store.delete_user("key:a") == 2
    assert store.delete_user("key:a") == 0
    with store.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            for found in connection.execute(select(table)):
                assert "key:a" not in str(found)
    assert store.review_queue("approved").items[0].rater == "key:b"
    store.save_generation(generation(4))  # the store can still be written


def test_erased_text_is_gone_from_the_sqlite_files(tmp_path):
    store = FeedbackStore(str(tmp_path / "f.db"), mask)
    store.save_generation(generation(answer="비밀스러운 인수 가격" * 50))
    store.delete_user("key:a")
    held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert "비밀스러운".encode() not in held
    store.close()


def test_retention_keeps_longer_what_was_rated(store):
    now = time.time()
    for n, age in ((1, 100), (2, 100), (3, 10), (4, 900), (5, 100), (6, 100)):
        store.save_generation(generation(n, created=now - age * DAY))
    store.rate(Rating("gen-2", "key:a", 1))
    store.rate(Rating("gen-4", "key:a", 1))
    store.save_pair(BlindPair("p", "key:a", "gen-5", "gen-6", now))
    store.choose(PairChoice("p", "key:a", "left"))
    assert store.retain(90, 730) == 2
    with Session(store.engine) as session:
        assert sorted(session.scalars(select(GenerationRow.id))) == ["gen-2", "gen-3", "gen-5", "gen-6"]


def test_a_clock_that_is_ahead_erases_nothing(store):
    store.save_generation(generation(1))
    far = time.time() + 3650 * 86400
    with pytest.raises(UsageError, match="nothing was erased"):
        store.retain(90, 730, now=far)
    assert store.retain(90, 730, now=far, everything=True) == 1
    assert store.retain(90, 730, now=far) == 0


def test_many_threads_leave_one_active_rating(store):
    store.save_generation(generation())
    faults = []

    def rate(thumb):
        try:
            for _ in range(5):
                store.rate(Rating("gen-1", "key:a", thumb))
                thumb = -thumb
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=rate, args=(1 if n % 2 else -1,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert store.review_queue().total == 1


def test_two_processes_may_start_at_once(url):
    stores, faults = [], []

    def start():
        try:
            stores.append(FeedbackStore(url, mask))
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    for store in stores:
        store.close()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=200), st.uuids())
def test_any_text_can_be_stored(store, said, name):
    name = str(name)
    messages = [{"role": "user", "content": said}]
    store.save_generation(generation(id=name, messages=messages, answer=said))
    store.rate(Rating(name, "key:a", 1, comment=said))
    clean = row(store, name).answer
    clean.encode()
    assert "\x00" not in clean
    store.save_generation(generation(id=f"{name}+", answer=clean))
    assert row(store, f"{name}+").answer == clean


def test_databases_that_cannot_be_used(tmp_path):
    with pytest.raises(UsageError, match="mysql"):
        connect("mysql://host/name")
    with pytest.raises(UsageError):
        connect("nonsense://")
    with pytest.raises(EnvironmentFault, match="cannot be opened"):
        connect("postgresql://nobody:geheim@127.0.0.1:1/none")
    engine = connect(str(tmp_path / "new.db"))
    with engine.execution_options(writing=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(EnvironmentFault, match="newer"):
        connect(str(tmp_path / "new.db"))
    (tmp_path / "text.db").write_text("이것은 데이터베이스가 아닙니다." * 100)
    with pytest.raises(EnvironmentFault, match="cannot be opened"):
        connect(str(tmp_path / "text.db"))


def test_a_password_is_never_shown():
    with pytest.raises(EnvironmentFault) as told:
        connect("postgresql://nobody:geheim@127.0.0.1:1/none")
    assert "geheim" not in str(told.value)


def test_sqlite_runs_in_wal_mode(tmp_path):
    FeedbackStore(str(tmp_path / "f.db"), mask).close()
    assert sqlite3.connect(tmp_path / "f.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)
