"""Whoever asks, the answer is the same: greedy token ids of every entry point on 80 questions, over one table."""

import json

import pytest
from fastapi.testclient import TestClient

from mnatune.cli.ask import say
from mnatune.model.engine.lane_rows import Outgoing
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.export import Subject, check_merged, merge
from mnatune.model.prompt import dialogue, prompt_ids
from mnatune.runs.job import Job
from mnatune.runs.recipe import GenerationSection, ModelSection, Recipe
from mnatune.runs.workspace import Manifest, Run, Stage, read_jsonl
from mnatune.service.app import create_app
from mnatune.service.feedback.store import FeedbackStore
from mnatune.service.service import Settings
from mnatune.stages.evaluate.answers import Question
from mnatune.stages.evaluate.backends import LocalSide

GREEDY = GenerationSection(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.2, max_new_tokens=6)


def plain_calls(engine, asked, place):
    engine.answers([Task("tuned", Sampling.of(GREEDY, greedy=True), messages) for messages in asked])


def ask(engine, asked, place):
    for messages in asked:
        say(engine, False, messages, Sampling.of(GREEDY, greedy=True))


def evaluate(engine, asked, place):
    job = Job(place.recipe, place.pack, Run(place.folder), Stage(place.folder, Manifest("evaluate", "", {}, {}, 1)))
    LocalSide(engine, "tuned", "tuned").answers(job, [Question(str(n), m) for n, m in enumerate(asked)], "asked")


def api_whole(engine, asked, place):
    api(engine, asked, stream=False)


def api_stream(engine, asked, place):
    api(engine, asked, stream=True)


def api(engine, asked, *, stream):
    app = create_app(engine, FeedbackStore("sqlite://", str), None, Settings(system="", generation=GREEDY))
    with TestClient(app) as client:
        for messages in asked:
            reply = client.post("/v1/chat/completions", json={"model": "tuned", "messages": messages, "stream": stream})
            assert reply.status_code == 200, json.loads(reply.text)


def export_check(engine, asked, place):
    """The merged model's answers come last and stay."""
    subject = Subject("tiny-tuned", place.adapter, place.recipe)
    assert not check_merged(subject, merge(subject, place.folder / "merged"), asked, len(asked)).faults


ENTRIES = [plain_calls, ask, evaluate, api_whole, api_stream, export_check]


class Place:
    """What an entry point needs besides an engine."""

    def __init__(self, base, adapter, pack, folder):
        self.adapter, self.pack, self.folder = adapter, pack, folder
        self.recipe = Recipe(name="tiny", model=ModelSection(id=str(base)), generation=GREEDY)


@pytest.fixture(scope="module")
def asked(pack):
    rows = read_jsonl(pack.path("qa.jsonl"))
    return [dialogue(str(row["question"]), "당신은 전문가입니다.") for row in rows[:: len(rows) // 80]][:80]


def tokens_of(entry, asked, place, monkeypatch, quantize="none"):
    """The token ids that an engine made for each dialogue when asked through one entry point."""
    made: dict[tuple[int, ...], list[int]] = {}
    really = Outgoing.put

    def put(self, row, item):
        really(self, row, item)
        if row.finish:
            made[tuple(row.prompt)] = list(row.ids)

    base, limit = place.recipe.model.id, GREEDY.max_new_tokens
    with monkeypatch.context() as patch:
        patch.setattr(Outgoing, "put", put)
        with open_engine(base, {"tuned": place.adapter}, quantize=quantize, new_tokens=limit) as engine:
            entry(engine, asked, place)
            return [made[tuple(prompt_ids(engine.loaded.tokenizer, messages))] for messages in asked]


def test_every_entry_point_makes_the_same_tokens(tiny_model, tiny_adapters, pack, asked, tmp_path, monkeypatch):
    found = {}
    for entry in ENTRIES:
        place = Place(tiny_model, tiny_adapters[0], pack, tmp_path / entry.__name__)
        found[entry.__name__] = tokens_of(entry, asked, place, monkeypatch)
    assert len(asked) == 80
    assert len({tuple(ids) for ids in found["plain_calls"]}) > 60
    for name, ids in found.items():
        assert ids == found["plain_calls"], name
