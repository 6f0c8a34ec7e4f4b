"""What must be equal: shared and unshared, packed and padded, 1 x 8 and 8 x 1, our loss and TRL's, merged and not."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_run import make_recipe, messages
from transformers import AutoTokenizer, Qwen3ForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from mnatune.model.prompt import examples
from mnatune.stages.train import trainer as trainer_module
from mnatune.stages.train.loop import trl_config
from mnatune.stages.train.setting import decide
from mnatune.stages.train.token_rows import TokenRows, as_dataset, shared_prefix
from mnatune.stages.train.trainer import AnswerTrainer, answer_states, head_loss

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PRECISE = 1e-5  # relative, in fp32


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(str(tiny_model))


@pytest.fixture(scope="module")
def rows(tokenizer) -> TokenRows:
    found = [examples(tokenizer, messages(n))[0] for n in range(8)]
    return TokenRows(found, [str(n) for n in range(8)])


def adapted(folder, dropout: float = 0.0):
    """The tiny model in fp32 with an adapter whose B is not zero, so that every gradient is."""
    base = Qwen3ForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=TARGETS, init_lora_weights=False)
    return get_peft_model(base, config).train()


def batch(tokenizer, rows: TokenRows, padding_free: bool = False) -> dict[str, torch.Tensor]:
    return DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=padding_free)(list(as_dataset(rows)))


def loss_and_gradients(model, inputs, prefix: int = 0):
    model.zero_grad()
    hidden, labels = answer_states(model, inputs, prefix)
    total, correct = head_loss(model.get_output_embeddings(), hidden, labels)
    loss = total / len(labels)
    loss.backward()
    return loss.item(), gradients(model), int(correct)


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], relative: float = PRECISE) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.norm() > 0, name
        assert (value - other[name]).norm() <= relative * value.norm(), name


def test_shared_prefix_equals_unshared(tiny_model, tokenizer, rows) -> None:
    model, inputs, prefix = adapted(tiny_model), batch(tokenizer, rows), shared_prefix(rows.examples)
    assert prefix > 30
    plain, plain_gradients, right = loss_and_gradients(model, inputs)
    shared, shared_gradients, shared_right = loss_and_gradients(model, inputs, prefix)
    assert shared == pytest.approx(plain, rel=PRECISE)
    assert shared_right == right
    assert_same(plain_gradients, shared_gradients)


def test_rows_laid_end_to_end_equal_padded_rows(tiny_model, tokenizer, rows) -> None:
    model = adapted(tiny_model)
    padded, padded_gradients, _ = loss_and_gradients(model, batch(tokenizer, rows))
    packed, packed_gradients, _ = loss_and_gradients(model, batch(tokenizer, rows, padding_free=True))
    assert packed == pytest.approx(padded, rel=PRECISE)
    assert_same(padded_gradients, packed_gradients)


@pytest.mark.parametrize("prefix", [0, 40])
def test_eager_attention_equals_fused(tiny_model, tokenizer, rows, prefix) -> None:
    model, inputs = adapted(tiny_model), batch(tokenizer, rows)
    fused, fused_gradients, _ = loss_and_gradients(model, inputs, prefix)
    model.get_base_model().set_attn_implementation("eager")
    eager, eager_gradients, _ = loss_and_gradients(model, inputs, prefix)
    assert eager == pytest.approx(fused, rel=PRECISE)
    assert_same(fused_gradients, eager_gradients)


def test_attention_is_eager_for_short_rows_alone(tiny_model, rows) -> None:
    recipe = make_recipe(tiny_model)
    twice = TokenRows([type(e)(e.prompt, e.completion * 9) for e in rows.examples], rows.ids)
    assert decide(recipe, rows, TokenRows([], [])).attention == "eager"
    assert decide(recipe, twice, TokenRows([], [])).attention == ""


def test_head_in_chunks_equals_whole_head(tiny_model, tokenizer, rows, monkeypatch) -> None:
    model, inputs = adapted(tiny_model), batch(tokenizer, rows)
    whole, whole_gradients, right = loss_and_gradients(model, inputs)
    monkeypatch.setattr(trainer_module, "HEAD_CHUNK_ELEMENTS", 7 * model.config.vocab_size)
    chunked, chunked_gradients, chunked_right = loss_and_gradients(model, inputs)
    assert chunked == pytest.approx(whole, rel=PRECISE)
    assert chunked_right == right
    assert_same(whole_gradients, chunked_gradients)


def make_trainer(tiny_model, tokenizer, rows, place, one_at_a_time=False, **train) -> AnswerTrainer:
    """The real trainer on an fp32 model, four steps."""
    extra = {"bf16": False} | ({"per_device_train_batch_size": 1} if one_at_a_time else {})
    recipe = make_recipe(tiny_model, epochs=4, dropout=0.0, log_every=1, checkpoint_every=1, extra=extra, **train)
    setting = decide(recipe, rows, TokenRows([], []))
    order = [*range(8), *reversed(range(8)), *range(8), *range(8)]
    config = trl_config(recipe, setting, place / "out", [], evaluate=False)
    return AnswerTrainer(
        model=adapted(tiny_model), args=config, train_dataset=as_dataset(rows, order), processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer.pad_token_id), prefix=setting.prefix,
    )  # fmt: skip


def trained(trainer: AnswerTrainer) -> tuple[list[float], dict[str, torch.Tensor]]:
    trainer.args.save_strategy = "no"
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return losses, {n: p.detach() for n, p in trainer.model.named_parameters() if p.requires_grad}


def test_eight_micro_batches_of_one_equal_one_of_eight(tiny_model, tokenizer, rows, tmp_path) -> None:
    many = make_trainer(tiny_model, tokenizer, rows, tmp_path, one_at_a_time=True, throughput="plain")
    one = make_trainer(tiny_model, tokenizer, rows, tmp_path, rows_per_step=8, throughput="shared-prefix")
    assert (many.args.gradient_accumulation_steps, one.args.gradient_accumulation_steps) == (8, 1)
    assert many.prefix == 0
    assert one.prefix > 30
    many_losses, many_weights = trained(many)
    one_losses, one_weights = trained(one)
    assert len(one_losses) == 4
    assert one_losses == pytest.approx(many_losses, rel=1e-4)
    assert_same(many_weights, one_weights, 1e-3)  # Adam divides by the root of tiny second moments


def test_auto_regroups_the_rows_of_a_step(tiny_model, tokenizer, rows, tmp_path) -> None:
    found = make_trainer(tiny_model, tokenizer, rows, tmp_path, rows_per_step=8)
    assert (found.args.per_device_train_batch_size, found.args.gradient_accumulation_steps) == (8, 1)
    assert found.prefix > 30


def test_our_loss_is_trls(tiny_model, tokenizer, rows, tmp_path) -> None:
    made = make_trainer(tiny_model, tokenizer, rows, tmp_path)
    inputs, count = batch(tokenizer, rows), torch.tensor(500)
    results = []
    for own in (True, False):
        made.own_loss = own
        made.model.zero_grad()
        loss = made.compute_loss(made.model, dict(inputs), num_items_in_batch=count)
        loss.backward()
        results.append((loss.item(), gradients(made.model)))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert ours == pytest.approx(theirs, rel=PRECISE)
    assert_same(their_gradients, our_gradients)


def test_adapter_off_is_the_base(tiny_model, tokenizer, rows) -> None:
    model, inputs = adapted(tiny_model).eval(), batch(tokenizer, rows)
    base = Qwen3ForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32).eval()
    ids = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    with torch.no_grad():
        on = model(**ids).logits
        with model.disable_adapter():
            off = model(**ids).logits
        wanted = base(**ids).logits
    assert torch.equal(off, wanted)
    assert not torch.allclose(on, wanted, atol=1e-2)


def test_merged_model_gives_the_same_logits(tiny_model, tokenizer, rows) -> None:
    model, inputs = adapted(tiny_model).eval(), batch(tokenizer, rows)
    ids = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    with torch.no_grad():
        beside = model(**ids).logits
        merged = model.merge_and_unload()(**ids).logits
    assert (merged - beside).abs().max() <= 1e-4 * beside.abs().max()


def test_a_number_that_is_none_is_written_as_null(tmp_path) -> None:
    from types import SimpleNamespace

    from mnatune.stages.train.tracking import MetricsFile, mean_loss

    file = MetricsFile(tmp_path / "metrics.jsonl", 1, [0, 5, 9])
    state = SimpleNamespace(is_world_process_zero=True, global_step=0, max_steps=2)
    file.on_train_begin(None, state, None)
    for step, loss in ((1, 2.0), (2, float("nan"))):
        state.global_step = step
        file.on_log(None, state, None, {"loss": loss})
    lines = [json.loads(line) for line in file.path.read_text(encoding="utf-8").splitlines()]
    assert [(line["loss"], line["num_tokens"]) for line in lines] == [(2.0, 5), (None, 9)]
    assert mean_loss(file.path) == 2.0
