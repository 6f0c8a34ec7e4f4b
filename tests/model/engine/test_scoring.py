"""Whole answers and likelihoods by plain calls, against Transformers' own, token by token."""

import pytest
import torch
from generate_alone import generated

from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Answer, Sampling, Task
from mnatune.model.engine.refusals import Refusal
from mnatune.model.prompt import Example, dialogue, prompt_ids
from mnatune.runs.errors import EnvironmentFault

QUESTIONS = [
    "합병이란 무엇입니까?",
    "반대주주는 언제까지 매수를 청구할 수 있습니까? 근거 조문도 알려 주십시오.",
    "분할",
    "영업양도의 요건",
]


@pytest.fixture(scope="module")
def engine(tiny_model, tiny_adapters):
    with open_engine(str(tiny_model), {"tuned": tiny_adapters[0]}) as made:
        yield made


def tasks(model="base", limit=12, penalty=1.0):
    sampling = Sampling(max_tokens=limit, repetition_penalty=penalty)
    return [Task(model, sampling, dialogue(question, "전문가입니다.")) for question in QUESTIONS]


def ids(engine, asked):
    return [answer.ids for answer in engine.answers(asked)]


@pytest.mark.parametrize(("model", "penalty"), [("base", 1.0), ("tuned", 1.0), ("tuned", 1.3)])
def test_answers_are_those_of_generate(engine, model, penalty) -> None:
    found = engine.answers(tasks(model, 24, penalty))
    with engine.variant(model) as loaded:
        expected = [generated(loaded, task.messages, 24, penalty) for task in tasks(model)]
    assert found == expected


def test_each_answer_is_handed_over_once_and_a_refusal_stands_for_what_cannot_be_taken(engine) -> None:
    long = Task("base", Sampling(max_tokens=4), dialogue("합병 " * 600, ""))
    asked, done = [*tasks(limit=4), long, *tasks("tuned", 4), Task("none", Sampling(), dialogue("분할", ""))], {}
    found = engine.answers(asked, done=lambda at, answer: done.__setitem__(at, answer))
    assert [type(one) for one in found] == [Answer] * 4 + [Refusal] + [Answer] * 4 + [Refusal]
    assert [found[4].code, found[9].code] == ["context_length_exceeded", "model_not_found"]
    assert done == {at: one for at, one in enumerate(found) if isinstance(one, Answer)}


def test_padding_bears_no_penalty(engine) -> None:
    """The padding token is one that an answer wants: the shorter prompts of a batch must still give their own answers."""
    asked = [Task("base", Sampling(max_tokens=6, repetition_penalty=1.5), dialogue(q, "")) for q in QUESTIONS]
    short = min(asked, key=lambda task: len(task.messages[-1]["content"]))
    wanted = ids(engine, [short])[0][0]
    assert wanted not in prompt_ids(engine.loaded.tokenizer, short.messages)
    alone = [ids(engine, [task])[0] for task in asked]
    kept, engine.loaded.pad = engine.loaded.pad, wanted
    try:
        assert ids(engine, asked) == alone
    finally:
        engine.loaded.pad = kept


def test_rows_that_end_leave_the_batch_and_the_others_go_on(engine) -> None:
    full = ids(engine, tasks())
    ends = engine.loaded.ends
    try:
        engine.loaded.ends = {full[0][3]}  # a token that some rows write early plays the end of the turn
        short = engine.answers(tasks())
    finally:
        engine.loaded.ends = ends
    assert any(answer.stopped for answer in short)
    for whole, cut in zip(full, short, strict=True):
        assert cut.ids == whole[: len(cut.ids)]
        assert len(cut.ids) == 12 or cut.ids[-1] == full[0][3]


def test_watched_logits_are_those_of_the_first_position(engine) -> None:
    found = engine.answers(tasks(limit=1, penalty=1.3), watched=[32, 33, 34])
    with engine.variant("base") as loaded, torch.inference_mode():
        for task, answer in zip(tasks(), found, strict=True):
            prompt = prompt_ids(loaded.tokenizer, task.messages)
            logits = loaded.causal(torch.tensor([prompt])).logits[0, -1]
            assert answer.first == pytest.approx(logits[[32, 33, 34]].tolist(), abs=1e-3)


@pytest.mark.parametrize("model", ["base", "tuned"])
def test_loss_is_that_of_transformers(engine, model) -> None:
    tokenizer = engine.loaded.tokenizer
    rows = [Example(prompt_ids(tokenizer, dialogue(q, "")), tokenizer(q * 2)["input_ids"]) for q in QUESTIONS]
    scored = engine.likelihoods(model, rows)
    with engine.variant(model) as loaded, torch.inference_mode():
        for row, one in zip(rows, scored, strict=True):
            ids = torch.tensor([[*row.prompt, *row.completion]])
            labels = torch.tensor([[-100] * len(row.prompt) + row.completion])
            loss = loaded.causal(ids, labels=labels).loss * len(row.completion)
            assert one.nll == pytest.approx(float(loss), rel=1e-4)
    assert [one.tokens for one in scored] == [len(row.completion) for row in rows]
    assert all(0 <= one.hits <= one.tokens for one in scored)


def test_choices_that_share_a_prompt_cost_what_they_cost_alone(engine) -> None:
    tokenizer = engine.loaded.tokenizer
    prompts = [prompt_ids(tokenizer, dialogue(question, "")) for question in QUESTIONS[:3]]
    choices = [[tokenizer(text)["input_ids"] for text in ("합병", "주식을 매수한다", "가", "불가")] for _ in prompts]
    found = engine.choice_costs("tuned", prompts, choices)
    flat = [Example(p, c) for p, row in zip(prompts, choices, strict=True) for c in row]
    expected = [one.nll for one in engine.likelihoods("tuned", flat)]
    assert [cost for row in found for cost in row] == pytest.approx(expected, rel=1e-4)


def test_plain_calls_are_refused_while_the_engine_serves(engine) -> None:
    engine._thread = object()
    try:
        with pytest.raises(RuntimeError, match="serves"):
            engine.answers(tasks())
    finally:
        engine._thread = None


@pytest.mark.parametrize("call", ["answers", "likelihoods", "choice_costs"])
def test_a_full_card_is_told_with_the_keys_that_help_and_the_engine_goes_on(engine, monkeypatch, call) -> None:
    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    ids = prompt_ids(engine.loaded.tokenizer, dialogue("분할", ""))
    asked = {
        "answers": lambda: engine.answers(tasks()),
        "likelihoods": lambda: engine.likelihoods("base", [Example(ids, ids[:2])]),
        "choice_costs": lambda: engine.choice_costs("base", [ids], [[ids[:2], ids[:3]]]),
    }[call]
    with monkeypatch.context() as patch:
        patch.setattr(type(engine.loaded.backbone), "forward", full)
        with pytest.raises(EnvironmentFault, match="memory is full") as told:
            asked()
    assert "train.quantize: nf4" in str(told.value)
    assert [type(one) for one in engine.answers(tasks(limit=1))] == [Answer] * len(QUESTIONS)
