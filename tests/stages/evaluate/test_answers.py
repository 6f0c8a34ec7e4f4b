"""The ledger of answers: a killed run goes on with what is left, and with the same batches."""

import json
from pathlib import Path

import pytest

from mnatune.model.engine.local import LocalEngine
from mnatune.model.engine.protocol import Answer
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.stages.evaluate import answers
from mnatune.stages.evaluate.answers import AnswerStore, Question, plan
from mnatune.stages.evaluate.backends import LocalSide


def given(text: str) -> Answer:
    return Answer(text, [1, 2], True, [0.5])


def test_a_ledger_forgets_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.jsonl"
    AnswerStore(path, "key").add({"1": given("하나"), "2": given("둘")})
    path.write_bytes(path.read_bytes()[:-20])
    again = AnswerStore(path, "key")
    assert again.answers == {"1": given("하나")}
    again.add({"2": given("둘")})
    assert set(AnswerStore(path, "key").answers) == {"1", "2"}


def test_a_ledger_of_other_work_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    AnswerStore(path, "key").add({"1": given("하나")})
    assert AnswerStore(path, "other").answers == {}
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0]) == {"key": "other"}


def test_batches_are_of_like_length_and_within_the_budget() -> None:
    lengths = {str(n): 10 * (n % 7 + 1) for n in range(50)}
    batches = plan(lengths, [Question(name, []) for name in lengths], 4000)
    assert sorted(ask.id for batch in batches for ask in batch) == sorted(lengths)
    tops = [lengths[batch[0].id] for batch in batches]
    assert tops == sorted(tops, reverse=True)
    assert all(len(b) * (lengths[b[0].id] + 4000) <= answers.BATCH_TOKENS for b in batches)
    assert plan({"1": 99_999}, [Question("1", [])], 10) == [[Question("1", [])]]


def test_a_killed_evaluation_does_only_what_is_left(
    tmp_path: Path, trained, perform, engine: LocalEngine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path / "killed")
    monkeypatch.setattr(answers, "BATCH_TOKENS", 120)
    asks = [Question(str(n), [{"role": "user", "content": f"합병 {n}"}]) for n in range(6)]
    done: list[int] = []
    kill_at = [1]
    real = LocalEngine.answers

    def counted(self, tasks, **options):
        if len(done) == kill_at[0]:
            raise KeyboardInterrupt
        done.append(len(tasks))
        return real(self, tasks, **options)

    monkeypatch.setattr(LocalEngine, "answers", counted)
    found: dict[str, Answer] = {}

    def work(job: Job) -> None:
        found.update(LocalSide(engine, "tuned", "tuned").answers(job, asks, "trial", limit=6))

    with pytest.raises(KeyboardInterrupt):
        perform(run, recipe, work)
    assert sum(done) < 6
    kill_at[0] = -1
    perform(run, recipe, work)
    assert sum(done) == 6
    resumed = dict(found)
    perform(trained(tmp_path / "whole"), recipe, work)
    assert found == resumed
