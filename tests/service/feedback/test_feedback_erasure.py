"""Erasure leaves nothing in the files, and a lock that another process holds keeps nobody waiting for an answer."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest
from made_feedback import generation, mask

from mnatune.model.engine.echo import EchoEngine
from mnatune.runs.errors import EnvironmentFault
from mnatune.service.app import create_app
from mnatune.service.feedback import database
from mnatune.service.feedback.sink import BlindPair, Edit, PairChoice, Rating
from mnatune.service.feedback.store import DAY, FeedbackStore
from mnatune.service.service import STORE_QUEUE, Settings

SECRET = "비밀스러운 인수 가격"
CHAT = "/v1/chat/completions"
HOLD = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
base.execute("ROLLBACK")
"""


def held(folder):
    """The bytes of all files of the store."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


def fill(store, rater):
    """Something of every kind, with the secret in every text."""
    for n in (1, 2, 3):
        messages = [{"role": "user", "content": SECRET * 40}]
        store.save_generation(generation(n, rater, id=f"gen-{rater}-{n}", messages=messages, answer=SECRET * 40))
    store.rate(Rating(f"gen-{rater}-1", rater, -1, ("incomplete",), SECRET))
    store.rate(Rating(f"gen-{rater}-1", rater, 1, (), f"{SECRET} 다시"))
    store.edit(Edit(f"gen-{rater}-2", rater, SECRET, SECRET))
    store.save_pair(BlindPair(f"p-{rater}", rater, f"gen-{rater}-1", f"gen-{rater}-2", 0.0))
    store.choose(PairChoice(f"p-{rater}", rater, "left", SECRET))
    for item in store.review_queue(limit=200).items:
        store.review(item.id, "key:admin", "approved", SECRET, SECRET if item.kind == "edit" else None)


@pytest.mark.parametrize("way", ["delete", "retain"])
def test_no_byte_of_what_was_erased_stays(tmp_path, way):
    store = FeedbackStore(str(tmp_path / "feedback.db"), mask)
    other = FeedbackStore(str(tmp_path / "feedback.db"), mask)  # as a second process has it open
    fill(store, "key:a")
    fill(other, "key:b")
    assert SECRET.encode() in held(tmp_path) or SECRET.encode("unicode_escape") in held(tmp_path)
    if way == "retain":
        store.retain(1, 1, now=1_760_000_000.0 + 900 * DAY, everything=True)
    else:
        for rater in ("key:a", "key:b"):
            store.delete_user(rater)
    left = held(tmp_path)
    assert SECRET.encode() not in left
    assert SECRET.encode("unicode_escape") not in left
    store.close()
    other.close()


def test_an_erasure_that_a_reader_keeps_incomplete_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.02)
    store = FeedbackStore(str(tmp_path / "feedback.db"), mask)
    fill(store, "key:a")
    with closing(sqlite3.connect(tmp_path / "feedback.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM generations").fetchone()
        with pytest.raises(EnvironmentFault, match="another process is reading"):
            store.delete_user("key:a")
    assert store.delete_user("key:a") == 0
    assert SECRET.encode() not in held(tmp_path)
    store.close()


@contextmanager
def write_lock(file):
    """Held by another process."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate()


def test_a_write_lock_of_another_process_delays_no_answer(tmp_path, serve_live):
    store = FeedbackStore(str(tmp_path / "feedback.db"), mask)
    server = serve_live(create_app(EchoEngine(), store, None, Settings()))
    codes = []

    def ask(number):
        body = {"messages": [{"role": "user", "content": f"질문 {number}"}], "store": True, "stream": number % 2 == 0}
        return httpx.post(f"{server.url}{CHAT}", json=body, timeout=database.BUSY_S / 2)

    def rate(name):
        codes.append(
            httpx.put(f"{server.url}/api/generations/{name}/rating", json={"thumb": 1}, timeout=60).status_code
        )

    with write_lock(tmp_path / "feedback.db"), ThreadPoolExecutor(16) as clients:
        replies = list(clients.map(ask, range(32)))
        rating = threading.Thread(target=rate, args=(replies[1].json()["id"],))
        rating.start()
        assert server.gauge("mnatune_answers_in_flight") == 0
    rating.join()
    assert all(reply.status_code == 200 for reply in replies)
    assert all("[DONE]" in reply.text for reply in replies[::2])
    assert codes == [204]  # written after its answer
    assert sum(day.generations for day in store.usage(1)) == 32
    assert server.gauge("mnatune_feedback_store_errors_total") == 0


def test_what_waits_for_the_store_is_bounded_and_what_is_lost_is_counted(tmp_path, serve_live):
    server = serve_live(create_app(EchoEngine(), FeedbackStore("sqlite://", mask), None, Settings()))
    server.service._storing = STORE_QUEUE
    body = {"messages": [{"role": "user", "content": "질문"}], "store": True}
    assert httpx.post(f"{server.url}{CHAT}", json=body).status_code == 200
    assert server.gauge("mnatune_feedback_store_errors_total") == 1
    assert httpx.get(f"{server.url}/api/admin/usage").status_code == 503
