"""`mnatune chat`: what the model is given from turn to turn."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mnatune.cli import app, ask
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import Message, prompt_ids
from mnatune.runs.errors import UsageError
from mnatune.runs.recipe import Recipe


class Listener(EchoEngine):
    """An engine that notes what it is asked."""

    def __init__(self, context: int) -> None:
        self.asked: list[list[Message]] = []
        self.sampling: list[Sampling] = []
        self.loaded = SimpleNamespace(context=context, tokenizer=load_tokenizer("starter"))
        super().__init__(("tuned", "base"), self._note)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _note(self, task: Task) -> str:
        self.asked.append(list(task.messages))
        self.sampling.append(task.sampling)
        return "합병은 둘 이상의 회사가 하나로 되는 것입니다. " * 3


@pytest.fixture
def talk(monkeypatch):
    def go(context: int, *lines: str) -> Listener:
        model = Listener(context)
        recipe = Recipe.model_validate({"name": "t", "generation": {"max_new_tokens": 50}})
        monkeypatch.setattr(ask, "open_run", lambda run: (recipe, model, "전문가입니다."))
        done = CliRunner().invoke(app, ["chat", "--run", "x"], input="\n".join([*lines, "/quit"]) + "\n")
        assert done.exit_code == 0, done.output
        return model

    return go


def test_the_oldest_turns_leave_and_the_question_stays(talk) -> None:
    model = talk(300, *(f"{n}번째 질문: 합병이란 무엇인가요?" for n in range(12)))
    for number, turns in enumerate(model.asked):
        assert len(prompt_ids(model.loaded.tokenizer, turns)) <= 250
        assert [turns[0]["role"], turns[-1]["role"]] == ["system", "user"]
        assert turns[-1]["content"].startswith(f"{number}번째")
        assert len(turns) % 2 == 0
    assert 2 < len(model.asked[-1]) < 24


def test_every_turn_is_sampled_anew(talk) -> None:
    sampling = talk(4096, "합병이란?", "합병이란?", "/new", "합병이란?").sampling
    assert len({one.seed for one in sampling}) == 3


def test_a_greedy_answer_is_the_one_that_is_evaluated_and_served(monkeypatch) -> None:
    """The recipe's limit and repetition penalty, without drawing."""
    model = Listener(300)
    recipe = Recipe.model_validate({"name": "t", "generation": {"max_new_tokens": 50, "repetition_penalty": 1.3}})
    monkeypatch.setattr(ask, "open_run", lambda run: (recipe, model, "전문가입니다."))
    for options in ([], ["--greedy"]):
        assert CliRunner().invoke(app, ["ask", "합병이란?", "--run", "x", *options]).exit_code == 0
    drawn, greedy = model.sampling
    assert drawn == Sampling.of(recipe.generation, seed=recipe.seed)
    assert greedy == replace(drawn, temperature=0.0)


def test_a_question_beyond_the_context_is_refused_with_its_length(tiny_model, tiny_adapters, monkeypatch) -> None:
    recipe = Recipe.model_validate({"name": "t", "generation": {"max_new_tokens": 50}})
    engine = open_engine(str(tiny_model), {"tuned": tiny_adapters[0]})
    monkeypatch.setattr(ask, "open_run", lambda run: (recipe, engine, "전문가입니다."))
    done = CliRunner().invoke(app, ["ask", "합병 " * 2000, "--run", "x"])
    assert isinstance(done.exception, UsageError)
    assert "exceed the context of 512 tokens" in str(done.exception)
