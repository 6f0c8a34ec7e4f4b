"""Families other than Qwen3 by their own chat templates: the same tokens in training, evaluation, serving and export."""

import json

import pytest
from families import FAMILIES, QWEN25
from generate_alone import generated
from made_adapter import make_adapter

from mnatune.model.chat_format import answer_ends, chat_format
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.export import Subject, check_merged, check_rendering, dialogues, merge, policy_template, template_ids
from mnatune.model.export.merged import generation_config
from mnatune.model.load import load_base, load_tokenizer
from mnatune.model.prompt import completion_text, dialogue, examples, marked_for, prompt_ids, prompt_text
from mnatune.runs.errors import DataError
from mnatune.runs.recipe import load_recipe
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train.methods.dpo import DPO_FORM
from mnatune.stages.train.preference_rows import fitting_rows
from mnatune.stages.train.token_rows import load_rows

TALK = [
    *dialogue("합병이란? ", "간결히 답하라."),
    {"role": "assistant", "content": "결합입니다."},
    {"role": "user", "content": "기한은?"},
]
WRITTEN = {
    "qwen2.5": "<|im_start|>system\n간결히 답하라.<|im_end|>\n<|im_start|>user\n합병이란? <|im_end|>\n"
    "<|im_start|>assistant\n결합입니다.<|im_end|>\n<|im_start|>user\n기한은?<|im_end|>\n<|im_start|>assistant\n",
    "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n간결히 답하라.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n합병이란?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n결합입니다.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n기한은?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": "<bos><start_of_turn>user\n간결히 답하라.\n\n합병이란?<end_of_turn>\n"
    "<start_of_turn>model\n결합입니다.<end_of_turn>\n<start_of_turn>user\n기한은?<end_of_turn>\n<start_of_turn>model\n",
    "exaone": "[|system|]\n간결히 답하라.[|endofturn|]\n[|user|]\n합병이란? [|endofturn|]\n[|assistant|]\n결합입니다."
    "[|endofturn|]\n[|user|]\n기한은?[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n",
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def base(family, tmp_path_factory):
    return FAMILIES[family].save(tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(str(base))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    return make_adapter(base, tmp_path_factory.mktemp("adapter") / "one", 1)


@pytest.fixture(scope="module")
def subject(base, adapter, tmp_path_factory):
    recipe = tmp_path_factory.mktemp("recipe") / "family.yaml"
    recipe.write_text(f"name: family\nmodel: {{id: {base}}}\n", encoding="utf-8")
    return Subject("family-tuned", adapter, load_recipe(recipe))


def test_the_prompt_is_the_familys_own(family, tokenizer) -> None:
    assert prompt_text(tokenizer, TALK) == WRITTEN[family]
    assert chat_format(tokenizer).policy == "none"


def test_the_loss_ends_at_the_familys_turn_end(family, tokenizer, tmp_path) -> None:
    answered = [*TALK, {"role": "assistant", "content": " 20일입니다.\n"}]
    write_jsonl(tmp_path / "train.jsonl", [{"id": "a", "messages": answered}])
    rows = load_rows(tmp_path / "train.jsonl", tokenizer, 2000).examples
    assert [tokenizer.decode(row.completion) for row in rows] == [
        f"{text}{FAMILIES[family].turn_end}" for text in ("결합입니다.", "20일입니다.")
    ]
    assert rows[1].prompt == prompt_ids(tokenizer, TALK)
    assert tokenizer.eos_token == FAMILIES[family].turn_end != tokenizer.pad_token
    pair = {"prompt": TALK, "chosen": [answered[-1]], "rejected": [{"role": "assistant", "content": "모릅니다."}]}
    ((text,), _) = fitting_rows([pair], DPO_FORM, tokenizer, 2000)
    assert tokenizer(text["prompt"] + text["chosen"])["input_ids"] == rows[1].prompt + rows[1].completion
    assert text["chosen"] == completion_text(tokenizer, " 20일입니다.\n")


def test_text_that_spells_a_control_token_ends_no_turn(family, tokenizer) -> None:
    text = "".join(FAMILIES[family].special)
    (row,) = examples(tokenizer, [{"role": "user", "content": text}, {"role": "assistant", "content": f"가{text}나"}])
    quiet = prompt_ids(tokenizer, [{"role": "user", "content": "가"}])
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    assert [i for i in row.prompt if i in special] == [i for i in quiet if i in special]
    assert [i for i in row.completion if i in special] == row.completion[-1:]


def test_the_engine_answers_as_the_model_alone(base, adapter) -> None:
    """Evaluation, `ask` and the API ask this engine; rows of unlike length, some of them longer than a window."""
    asked = [dialogue("합병이란 무엇입니까? " * n, "간결히 답하라.") for n in (1, 3, 2)]
    sampling = Sampling(temperature=0.0, max_tokens=24)
    with open_engine(str(base), {"tuned": adapter}) as engine:
        assert engine.loaded.tokenizer.convert_tokens_to_ids(engine.loaded.tokenizer.eos_token) in engine.loaded.ends
        for name in ("tuned", "base"):
            answers = engine.answers([Task(name, sampling, messages) for messages in asked])
            with engine.variant(name) as model:
                alone = [generated(model, messages, 24) for messages in asked]
            assert [answer.ids for answer in answers] == [answer.ids for answer in alone]


def test_the_export_carries_the_template_and_the_stops(subject, tokenizer, family, tmp_path) -> None:
    asked = dialogues(subject.pack, 6)
    assert not check_rendering(tokenizer, asked, template_ids(tokenizer, policy_template(tokenizer))).faults
    folder = merge(subject, tmp_path / "merged")
    checked = check_merged(subject, folder, asked, answered=2).require()
    assert (checked.dialogues, checked.answers) == (6, 2)
    stops = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert tokenizer.convert_tokens_to_ids(FAMILIES[family].turn_end) in (stops if isinstance(stops, list) else [stops])
    assert json.loads((folder / "mnatune.json").read_text(encoding="utf-8"))["thinking"] == "none"


def test_what_the_base_stops_at_besides_ends_answers_too(base, tokenizer) -> None:
    model = load_base(str(base))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 7]
    ends = answer_ends(model, tokenizer)
    assert ends == {tokenizer.eos_token_id, 7}
    assert generation_config(load_recipe("quickstart").generation, tokenizer, ends).eos_token_id == sorted(ends)


def saved(tmp_path, template):
    tokenizer = FAMILIES["qwen2.5"].tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "no chat template"),
        (QWEN25.replace("assistant\\n'", "assistant\\n<think>\\n'"), "opens every answer with a thought"),
        (QWEN25.replace("m.content + '<|im_end|>\\n'", "m.content + '###\\n'"), "plain text"),
        ("{{ messages[-1].content }}", "leaves out a turn"),
    ],
)
def test_what_cannot_be_trained_says_so_before_weights_are_read(tmp_path, template, said) -> None:
    with pytest.raises(DataError, match=said) as refused:
        load_tokenizer(saved(tmp_path, template))
    assert refused.value.next_step
    assert str(tmp_path) in str(refused.value)


def test_a_family_without_a_dialogue_like_this_says_so() -> None:
    twice = [{"role": "user", "content": "가"}, {"role": "user", "content": "나"}]
    with pytest.raises(DataError, match="does not take this dialogue: roles must alternate"):
        prompt_ids(FAMILIES["gemma"].tokenizer(), twice)


@pytest.mark.parametrize(
    ("changed", "said"), [({"logit_scale": 0.5, "model_type": "cohere"}, "logit_scale"), ({"model_type": "clip"}, "plain language")]
)  # fmt: skip
def test_a_base_whose_logits_are_scaled_is_refused_before_its_weights(tmp_path, changed, said) -> None:
    (tmp_path / "config.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        load_base(str(tmp_path))


def test_a_base_that_thinks_is_told_not_to(starter) -> None:
    assert chat_format(load_tokenizer(str(starter))).policy == "off"


def test_a_served_model_gets_no_control_token_of_any_family() -> None:
    turns = [{"role": "user", "content": "<|eot_id|><end_of_turn>[|endofturn|]"}]
    (sent,) = marked_for("gemma-3", turns)
    assert not any(mark in sent["content"] for mark in ("<|eot_id|>", "<end_of_turn>", "[|endofturn|]"))
