"""Decoding and likelihood against Transformers' own, token by token."""

import pytest
import torch

from mnatune.model.load import GREEDY, ChatModel
from mnatune.model.prompt import Example, dialogue, prompt_ids
from mnatune.runs.recipe import GenerationSection
from mnatune.stages.evaluate.decoding import choice_costs, decode
from mnatune.stages.evaluate.likelihood import score_completions

QUESTIONS = [
    "합병이란 무엇입니까?",
    "반대주주는 언제까지 매수를 청구할 수 있습니까? 근거 조문도 알려 주십시오.",
    "분할",
    "영업양도의 요건",
]


def greedy(tokens: int, penalty: float = 1.0) -> GenerationSection:
    return GREEDY.model_copy(update={"max_new_tokens": tokens, "repetition_penalty": penalty})


@pytest.mark.parametrize(("tuned", "penalty"), [(False, 1.0), (True, 1.0), (True, 1.3)])
def test_answers_are_those_of_generate(chat: ChatModel, tuned: bool, penalty: float) -> None:
    dialogues = [dialogue(question, "전문가입니다.") for question in QUESTIONS]
    limit = greedy(24, penalty)
    expected = [chat.answer([one], tuned=tuned, generation=limit)[0] for one in dialogues]
    found = decode(chat, [prompt_ids(chat.tokenizer, d) for d in dialogues], limit, tuned=tuned)
    assert [one.answer for one in found] == expected


def test_padding_bears_no_penalty(chat: ChatModel) -> None:
    """The padding token is one that an answer wants: the shorter prompts of a batch must still give their own answers."""
    prompts = [prompt_ids(chat.tokenizer, dialogue(question, "")) for question in QUESTIONS]
    short = min(prompts, key=len)
    wanted = decode(chat, [short], greedy(1), tuned=False)[0].answer.ids[0]
    assert wanted not in short
    alone = [decode(chat, [prompt], greedy(6, 1.5), tuned=False)[0].answer.ids for prompt in prompts]
    kept, chat.tokenizer.pad_token = chat.tokenizer.pad_token, chat.tokenizer.convert_ids_to_tokens(wanted)
    try:
        together = decode(chat, prompts, greedy(6, 1.5), tuned=False)
    finally:
        chat.tokenizer.pad_token = kept
    assert [one.answer.ids for one in together] == alone


def test_base_and_tuned_differ(chat: ChatModel) -> None:
    prompts = [prompt_ids(chat.tokenizer, dialogue(QUESTIONS[0], ""))]
    base, tuned = (decode(chat, prompts, greedy(8), tuned=tuned)[0].answer.ids for tuned in (False, True))
    assert base != tuned


def test_rows_that_end_leave_the_batch_and_the_others_go_on(chat: ChatModel) -> None:
    prompts = [prompt_ids(chat.tokenizer, dialogue(question, "")) for question in QUESTIONS]
    full = decode(chat, prompts, greedy(12), tuned=False)
    end = chat.end
    try:
        chat.end = full[0].answer.ids[3]  # a token that some rows write early plays the end of the turn
        short = decode(chat, prompts, greedy(12), tuned=False)
    finally:
        chat.end = end
    assert any(one.answer.stopped for one in short)
    for whole, cut in zip(full, short, strict=True):
        assert cut.answer.ids == whole.answer.ids[: len(cut.answer.ids)]
        assert len(cut.answer.ids) == 12 or cut.answer.ids[-1] == full[0].answer.ids[3]


def test_watched_logits_are_those_of_the_first_position(chat: ChatModel) -> None:
    prompts = [prompt_ids(chat.tokenizer, dialogue(question, "")) for question in QUESTIONS]
    first = decode(chat, prompts, greedy(1), tuned=False, watched=[32, 33, 34])
    with chat.variant(False), torch.inference_mode():
        for prompt, one in zip(prompts, first, strict=True):
            logits = chat.model(torch.tensor([prompt])).logits[0, -1]
            assert one.first == pytest.approx(logits[[32, 33, 34]].tolist(), abs=1e-3)


def plain_loss(chat: ChatModel, example: Example) -> torch.Tensor:
    ids = torch.tensor([[*example.prompt, *example.completion]])
    labels = torch.tensor([[-100] * len(example.prompt) + example.completion])
    with torch.inference_mode():
        return chat.model(ids, labels=labels).loss * len(example.completion)


@pytest.mark.parametrize("tuned", [False, True])
def test_loss_is_that_of_transformers(chat: ChatModel, tuned: bool) -> None:
    rows = [Example(prompt_ids(chat.tokenizer, dialogue(q, "")), chat.tokenizer(q * 2)["input_ids"]) for q in QUESTIONS]
    scored = score_completions(chat, rows, tuned=tuned, batch_tokens=120)
    with chat.variant(tuned):
        expected = [float(plain_loss(chat, row)) for row in rows]
    assert [one.nll for one in scored] == pytest.approx(expected, rel=1e-4)
    assert [one.tokens for one in scored] == [len(row.completion) for row in rows]
    assert all(0 <= one.hits <= one.tokens for one in scored)


def test_choices_that_share_a_prompt_cost_what_they_cost_alone(chat: ChatModel) -> None:
    prompts = [prompt_ids(chat.tokenizer, dialogue(question, "")) for question in QUESTIONS[:3]]
    choices = [
        [chat.tokenizer(text)["input_ids"] for text in ("합병", "주식을 매수한다", "가", "불가")] for _ in prompts
    ]
    found = choice_costs(chat, prompts, choices, tuned=True)
    flat = [Example(p, c) for p, row in zip(prompts, choices, strict=True) for c in row]
    expected = [one.nll for one in score_completions(chat, flat, tuned=True)]
    assert [cost for row in found for cost in row] == pytest.approx(expected, rel=1e-4)
