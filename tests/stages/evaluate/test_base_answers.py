"""The base is asked once for the same questions under the same conditions, and again if anything differs."""

import json
import shutil
from dataclasses import replace

import pytest

from mnatune.model.engine.local import LocalEngine, open_engine
from mnatune.model.engine.protocol import Answer, Sampling
from mnatune.stages.evaluate import base_answers
from mnatune.stages.evaluate.answers import Question
from mnatune.stages.evaluate.backends import open_sides
from mnatune.stages.evaluate.base_answers import BaseAnswers, base_identity

PROMPTS = {"a": [1, 2, 3], "b": [4, 5]}
GREEDY = Sampling(temperature=0.0, max_tokens=8)
SAMPLING = {"a": GREEDY, "b": GREEDY}
IDENTITY = {"weights": {"model.safetensors": "1"}, "quantize": "none", "versions": {"torch": "2"}}


@pytest.mark.parametrize(
    "changed",
    [
        {"prompts": {"a": [1, 2, 3], "b": [4, 6]}},
        {"prompts": {"a": [1, 2, 3]}},
        {"prompts": {"b": [4, 5], "a": [1, 2, 3]}},
        {"prompts": {"a": [1, 2, 3], "c": [4, 5]}, "sampling": {"a": GREEDY, "c": GREEDY}},
        *(
            {"sampling": {"a": GREEDY, "b": replace(GREEDY, **one)}}
            for one in ({"max_tokens": 9}, {"temperature": 0.1}, {"repetition_penalty": 1.1}, {"seed": 1}, {"top_k": 3})
        ),
        {"watched": [7]},
        {"identity": {**IDENTITY, "quantize": "nf4"}},
        {"identity": {**IDENTITY, "weights": {"model.safetensors": "2"}}},
        {"identity": {**IDENTITY, "versions": {"torch": "3"}}},
    ],
)
def test_whatever_decides_an_answer_is_part_of_the_key(tmp_path, changed) -> None:
    same = {"prompts": PROMPTS, "sampling": SAMPLING, "watched": []}
    shelf = BaseAnswers(tmp_path, IDENTITY)
    key = shelf.key(**same)
    assert key == BaseAnswers(tmp_path / "other", dict(IDENTITY)).key(**same)
    identity = changed.pop("identity", IDENTITY)
    assert BaseAnswers(tmp_path, identity).key(**{**same, **changed}) != key


def test_the_identity_follows_weights_template_code_and_versions(tiny, tmp_path, monkeypatch) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny / "base", base)
    seen = []

    def look(quantize="none") -> None:
        with open_engine(str(base)) as engine:
            seen.append(base_identity(engine.loaded, quantize))

    look()
    look()
    assert seen[0] == seen.pop()
    look("nf4")
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    look()
    template = base / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + "{# other #}", encoding="utf-8")
    look()
    monkeypatch.setattr(base_answers, "version", lambda name: "0")
    look()
    monkeypatch.setattr(base_answers, "code_hash", lambda *names: "other")
    look()
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(seen) == 6


def test_a_hub_model_without_a_known_commit_is_asked_each_time(tmp_path) -> None:
    class Loaded:
        model_id, config = "someone/model", object()

    shelf = BaseAnswers(tmp_path / "shelf", base_identity(Loaded(), "none"))
    shelf.keep("key", {"a": Answer("가", [1], True)})
    assert shelf.identity is None
    assert shelf.find("key") is None
    assert not (tmp_path / "shelf").exists()


@pytest.fixture
def asked(monkeypatch):
    """Which model was given how many tasks, call by call."""
    seen = []
    really = LocalEngine.answers

    def answers(self, tasks, **options):
        seen.append((tasks[0].model, len(tasks)))
        return really(self, tasks, **options)

    monkeypatch.setattr(LocalEngine, "answers", answers)
    return seen


def test_a_second_run_over_the_same_base_asks_the_tuned_model_alone(tmp_path, trained, perform, recipe, asked) -> None:
    questions = [Question(name, [{"role": "user", "content": name * 3}]) for name in ("합병", "분할")]
    given = []

    def work(job) -> None:
        with open_sides(job) as sides:
            given.append({name: side.answers(job, questions, "answers") for name, side in sides.items()})

    first, second = trained(tmp_path / "first"), trained(tmp_path / "second")
    perform(first, recipe, work)
    assert [name for name, _ in asked] == ["base", "tuned"]
    asked.clear()
    perform(second, recipe, work)
    assert [name for name, _ in asked] == ["tuned"]
    assert given[0]["base"] == given[1]["base"]
    assert second.manifest("evaluate").facts["base_answers"]["reused"] == 2
    assert "base_answers" not in first.manifest("evaluate").facts
    asked.clear()
    longer = recipe.model_copy(update={"generation": recipe.generation.model_copy(update={"max_new_tokens": 4})})
    perform(trained(tmp_path / "third"), longer, work)
    assert [name for name, _ in asked] == ["base", "tuned"]
    for file in (tmp_path / "base-answers").iterdir():
        file.write_text("{broken", encoding="utf-8")
    asked.clear()
    perform(trained(tmp_path / "fourth"), recipe, work)
    assert [name for name, _ in asked] == ["base", "tuned"]
