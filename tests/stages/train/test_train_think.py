"""The ids that are trained are the ids that stand there when an answer is generated, token by token."""

import pytest
from tiny_run import messages
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.engine.sampler import Draws
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import prompt_ids, prompt_text
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train.methods.dpo import DPO_FORM
from mnatune.stages.train.preference_rows import fitting_rows
from mnatune.stages.train.token_rows import load_rows

# how Qwen cuts text before its byte-level BPE (tokenizer.json of the Qwen3 repositories)
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TURN_END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


@pytest.fixture(scope="module")
def starter_tokenizer():
    return load_tokenizer("starter")


@pytest.fixture(scope="module")
def other_tokenizer(starter_tokenizer):
    """A byte-level BPE of Qwen's kind with merges of its own and the same template."""
    made = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = [turn["content"] for n in range(40) for turn in messages(n)]
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = starter_tokenizer.chat_template
    return tokenizer


@pytest.fixture(params=["starter", "other"])
def tokenizer(request, starter_tokenizer, other_tokenizer):
    return starter_tokenizer if request.param == "starter" else other_tokenizer


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


DIALOGUES = {
    "single": messages(3),
    "spaces around": [*messages(3)[:2], turn("assistant", "\n  답변입니다.\n\n1. 첫째\n")],
    "no system": [turn("user", "합병비율은? "), turn("assistant", "1:0.5입니다.")],
    "several turns": [
        *messages(1),
        turn("user", "더 짧게"),
        turn("assistant", "예."),
        turn("user", "왜?"),
        turn("assistant", "법"),
    ],
    "marked already": [turn("user", "정의는? /no_think"), turn("assistant", "이렇습니다 <think>")],
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_trained_ids_are_the_generated_ones(tokenizer, tmp_path, name) -> None:
    dialogue = DIALOGUES[name]
    write_jsonl(tmp_path / "train.jsonl", [{"id": "a", "messages": dialogue}])
    rows = load_rows(tmp_path / "train.jsonl", tokenizer, 2000).examples
    answers = [at for at, message in enumerate(dialogue) if message["role"] == "assistant"]
    assert len(rows) == len(answers)
    for row, at in zip(rows, answers, strict=True):
        content = dialogue[at]["content"].strip()
        assert row.prompt == prompt_ids(tokenizer, dialogue[:at])  # what the engine feeds
        assert row.completion[-1] == tokenizer.convert_tokens_to_ids(TURN_END)
        assert tokenizer.decode(row.completion[:-1]) == content
        whole = prompt_text(tokenizer, dialogue[:at]) + content + TURN_END
        assert tokenizer(whole, add_special_tokens=False)["input_ids"] == row.prompt + row.completion
        text = tokenizer.decode(row.prompt)
        assert text.endswith("/no_think<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
        assert text.count("</think>") == 1, "earlier answers stand without their think block"


def test_what_the_engine_feeds_and_stops_at(tiny_model, tmp_path, monkeypatch) -> None:
    dialogue = DIALOGUES["several turns"]
    with open_engine(str(tiny_model)) as engine:
        write_jsonl(tmp_path / "train.jsonl", [{"id": "a", "messages": dialogue}])
        row = load_rows(tmp_path / "train.jsonl", engine.loaded.tokenizer, 2000).examples[-1]
        fed, left = [], list(row.completion)

        class Told(Draws):
            """Draws the row's completion."""

            def __init__(self, sampling, prompts, *place):
                fed.extend(prompts)
                super().__init__(sampling, prompts, *place)

            def next_tokens(self, logits):
                return [left.pop(0)]

        monkeypatch.setattr("mnatune.model.engine.lane.Draws", Told)
        (answer,) = engine.answers([Task("", Sampling(max_tokens=500), dialogue[:-1])])
    assert (fed, left) == ([row.prompt], [])
    assert answer.ids == row.completion
    assert answer.text == dialogue[-1]["content"]
    assert answer.stopped


def test_preferred_answers_are_cut_at_the_same_ids(tokenizer) -> None:
    prompt, chosen = messages(2)[:2], messages(2)[2]
    row = {"prompt": prompt, "chosen": [chosen], "rejected": [turn("assistant", " 모릅니다. ")]}
    ((texts,), lengths) = fitting_rows([row], DPO_FORM, tokenizer, 500)
    wanted = prompt_ids(tokenizer, prompt)
    assert tokenizer(texts["prompt"])["input_ids"] == wanted
    for name, content in (("chosen", chosen["content"]), ("rejected", "모릅니다.")):
        ids = tokenizer(texts["prompt"] + texts[name])["input_ids"]
        assert ids[: len(wanted)] == wanted
        assert tokenizer.decode(ids[len(wanted) :]) == content + TURN_END
    assert fitting_rows([row], DPO_FORM, tokenizer, lengths[0] // 4)[0] == []
