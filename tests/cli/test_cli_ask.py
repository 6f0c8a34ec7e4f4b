"""`mnatune chat`: what the model is given from turn to turn."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mnatune.cli import app, ask
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import prompt_ids
from mnatune.runs.recipe import Recipe


class Listener:
    """A model that notes what it is asked."""

    def __init__(self, context: int) -> None:
        self.context, self.tokenizer = context, load_tokenizer("starter")
        self.asked, self.seeds, self.generations = [], [], []

    def answer(self, dialogues, *, tuned, generation, seed):
        self.asked.append(dialogues[0])
        self.seeds.append(seed)
        self.generations.append(generation)
        return [SimpleNamespace(text="합병은 둘 이상의 회사가 하나로 되는 것입니다. " * 3)]


@pytest.fixture
def talk(monkeypatch):
    def go(context: int, *lines: str) -> Listener:
        model = Listener(context)
        recipe = Recipe.model_validate({"name": "t", "generation": {"max_new_tokens": 50}})
        monkeypatch.setattr(ask, "open_model", lambda run: (recipe, model, "전문가입니다."))
        done = CliRunner().invoke(app, ["chat", "--run", "x"], input="\n".join([*lines, "/quit"]) + "\n")
        assert done.exit_code == 0, done.output
        return model

    return go


def test_the_oldest_turns_leave_and_the_question_stays(talk) -> None:
    model = talk(300, *(f"{n}번째 질문: 합병이란 무엇인가요?" for n in range(12)))
    for number, turns in enumerate(model.asked):
        assert len(prompt_ids(model.tokenizer, turns)) <= 250
        assert [turns[0]["role"], turns[-1]["role"]] == ["system", "user"]
        assert turns[-1]["content"].startswith(f"{number}번째")
        assert len(turns) % 2 == 0
    assert 2 < len(model.asked[-1]) < 24


def test_every_turn_is_sampled_anew(talk) -> None:
    seeds = talk(4096, "합병이란?", "합병이란?", "/new", "합병이란?").seeds
    assert len(set(seeds)) == 3


def test_a_greedy_answer_is_the_one_that_is_evaluated_and_served(monkeypatch) -> None:
    """The recipe's limit and repetition penalty, without drawing."""
    model = Listener(300)
    recipe = Recipe.model_validate({"name": "t", "generation": {"max_new_tokens": 50, "repetition_penalty": 1.3}})
    monkeypatch.setattr(ask, "open_model", lambda run: (recipe, model, "전문가입니다."))
    for options in ([], ["--greedy"]):
        assert CliRunner().invoke(app, ["ask", "합병이란?", "--run", "x", *options]).exit_code == 0
    drawn, greedy = model.generations
    assert drawn == recipe.generation
    assert greedy == recipe.generation.model_copy(update={"temperature": 0.0})
