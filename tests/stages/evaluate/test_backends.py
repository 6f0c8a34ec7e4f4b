"""Answers from a server instead of this process: the same answers, and what cannot be had is said."""

import json
from pathlib import Path

import pytest

from mnatune.model.endpoint.fake import FakeEndpoint
from mnatune.model.engine.local import LocalEngine
from mnatune.model.prompt import dialogue
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import EndpointSection, EvaluateSection, Recipe
from mnatune.runs.workspace import read_jsonl
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.answers import Question
from mnatune.stages.evaluate.backends import LocalSide, ServedSide, served


@pytest.fixture
def asks() -> list[Question]:
    return [Question(str(n), dialogue("합병" * (n + 1), "체계")) for n in range(5)]


def test_a_server_gives_the_answers_of_this_process(
    tmp_path: Path, trained, perform, recipe: Recipe, engine: LocalEngine, own_server: str, asks: list[Question]
) -> None:
    found = {}

    def work(job: Job) -> None:
        for name, model in (("base", "base"), ("base-tuned", "tuned")):
            for side in (LocalSide(engine, model, model), served(f"{own_server}#{name}", f"{model}-there")):
                found[name, type(side)] = side.answers(job, asks, "trial")

    perform(trained(tmp_path / "run"), recipe, work)
    for name in ("base", "base-tuned"):
        here, there = found[name, LocalSide], found[name, ServedSide]
        assert {k: (a.text, a.stopped) for k, a in here.items()} == {k: (a.text, a.stopped) for k, a in there.items()}
    assert found["base", ServedSide] != found["base-tuned", ServedSide]


def test_the_stage_with_served_answers(tmp_path: Path, trained, perform, recipe: Recipe, own_server: str) -> None:
    section = EvaluateSection(
        items=3, samples=2, answered_by={"base": f"{own_server}#base", "tuned": f"{own_server}#base-tuned"}
    )
    here = perform(trained(tmp_path / "here"), recipe, evaluate)
    there = perform(trained(tmp_path / "there"), recipe.model_copy(update={"evaluate": section}), evaluate)
    for one, other in zip(read_jsonl(here / "answers.jsonl"), read_jsonl(there / "answers.jsonl"), strict=True):
        assert (one["base"], one["tuned"], one["marks"]) == (other["base"], other["tuned"], other["marks"])
    metrics = json.loads((there / "metrics.json").read_text(encoding="utf-8"))
    absent = {row["name"]: row["reason"] for row in metrics["not_computed"]}
    lost = {"loss", "token_accuracy", "exam_letter", "exam_text", "batch_change"}
    assert lost <= absent.keys()
    assert all("evaluate.answered_by" in absent[name] for name in lost)
    assert {"chrf", "exam_generated", "false_premise", "agreement", "flip_rate"} <= {
        r["name"] for r in metrics["metrics"]
    }
    assert metrics["models"]["tuned"].endswith("#base-tuned")
    assert metrics["counts"]["served"]["base"] == {
        "url": own_server,
        "model": "base",
        "failed": {},
        "other_sampling": 0,
    }


def answer(body: dict) -> str:
    return f"답변: {body['messages'][-1]['content']}"


def test_requests_carry_the_policy_and_the_recipes_sampling(
    tmp_path: Path, trained, perform, recipe: Recipe, asks: list[Question]
) -> None:
    seen = []

    def reply(body: dict) -> str:
        seen.append(body)
        return f"<think>\n\n</think>\n\n{answer(body)}"

    with FakeEndpoint(reply) as server:
        side = served(f"{server.base_url}#qwen3-m", "m")
        found = {}
        perform(trained(tmp_path / "run"), recipe, lambda job: found.update(side.answers(job, asks, "trial")))
    assert found["0"].text == "답변: 합병 /no_think"
    assert all(body["repetition_penalty"] == recipe.generation.repetition_penalty for body in seen)
    assert all(body["temperature"] == 0 and body["max_tokens"] == 10 for body in seen)
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in seen)


def test_a_question_that_is_asked_twice_gets_both_its_answers(
    tmp_path: Path, trained, perform, recipe: Recipe, asks: list[Question]
) -> None:
    twice = [asks[0], Question("again", asks[0].messages)]
    with FakeEndpoint(answer) as server:
        side = served(f"{server.base_url}#m", "m")
        found = {}
        perform(trained(tmp_path / "run"), recipe, lambda job: found.update(side.answers(job, twice, "trial")))
    assert found["0"] == found["again"]


def test_a_killed_evaluation_asks_no_answer_twice(
    tmp_path: Path, trained, perform, recipe: Recipe, asks: list[Question]
) -> None:
    run = trained(tmp_path / "run")
    with FakeEndpoint(answer) as server:
        side = served(f"{server.base_url}#m", "m")

        def stop(job: Job) -> None:
            side.answers(job, asks[:3], "trial")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            perform(run, recipe, stop)
        perform(run, recipe, lambda job: side.answers(job, asks, "trial"))
        assert server.served.calls == 5
        with pytest.raises(KeyboardInterrupt):
            perform(trained(tmp_path / "other"), recipe, stop)
        assert server.served.calls == 8  # another run asks for itself: the same name may stand for another model


def test_questions_without_an_answer_are_left_out_for_both(
    tmp_path: Path, trained, perform, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tuned model's server refuses two of the five prompts."""

    def refuse(body: dict) -> str:
        return "400" if "3일" in body["messages"][-1]["content"] and body["model"] == "tuned" else ""

    monkeypatch.setattr(FakeEndpoint, "_answer", refusing(refuse, FakeEndpoint._answer))
    with FakeEndpoint(answer) as server:
        section = EvaluateSection(
            items=10, exam=False, answered_by={m: f"{server.base_url}#{m}" for m in ("base", "tuned")}
        )
        folder = perform(trained(tmp_path / "run"), recipe.model_copy(update={"evaluate": section}), evaluate)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["items"]["held_out"] == 9
    assert metrics["counts"]["served"]["tuned"]["failed"] == {"http-400": 1}
    assert all(row["difference"]["n"] <= 9 for row in metrics["metrics"])


def refusing(fault, really):
    async def answered(self, body, writer):
        if fault(body):
            await self._send(writer, 400, b'{"error": {"message": "too long"}}')
            return True
        return await really(self, body, writer)

    return answered


def test_a_server_that_answers_nothing_ends_the_evaluation(
    tmp_path: Path, trained, perform, recipe: Recipe, asks: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEndpoint, "_answer", refusing(lambda body: True, FakeEndpoint._answer))
    with FakeEndpoint(answer) as server, pytest.raises(EnvironmentFault, match="none of 5"):
        perform(
            trained(tmp_path / "run"), recipe, lambda job: served(f"{server.base_url}#m", "m").answers(job, asks, "x")
        )


@pytest.mark.parametrize("address", ["http://h/v1", "h/v1#m", "ftp://h#m", "http://#m", "http://h/v1#"])
def test_only_a_full_address_names_a_served_model(address: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        served(address, "x")


def test_a_server_that_refuses_a_field_is_asked_without_it_and_it_is_told(
    tmp_path: Path, trained, perform, recipe: Recipe, asks: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(body: dict) -> bool:
        return "repetition_penalty" in body or "chat_template_kwargs" in body

    monkeypatch.setattr(FakeEndpoint, "_answer", refusing(strict, FakeEndpoint._answer))
    one_by_one = recipe.model_copy(update={"endpoint": EndpointSection(concurrency=1)})
    with FakeEndpoint(answer) as server:
        side = served(f"{server.base_url}#m", "m")
        perform(trained(tmp_path / "run"), one_by_one, lambda job: side.answers(job, asks, "x"))
    assert (side.engine.tolerated, side.failed) == (5, {})
