"""The plan's arithmetic against the seed's own run, and against what PyTorch really keeps."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from tiny_run import compose, make_recipe
from transformers import Qwen3Config, Qwen3ForCausalLM

from mnatune.model.memory import GIB, Shape, shape_of
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.recipe import Recipe, TrainSection, load_recipe
from mnatune.runs.workspace import Run
from mnatune.stages.train.loop import new_adapter
from mnatune.stages.train.methods import METHODS
from mnatune.stages.train.plan import activation_bytes, batch_sizes, fit, make_plan
from mnatune.stages.train.show import plan_table

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEED_LENGTHS = [205] * 8_904 + [206] * 2_226  # 11,130 rows of 205.2 tokens in the mean, as the seed's run


def qwen(**train) -> Recipe:
    recipe = load_recipe("qwen3-8b-lora")
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})


def test_the_seeds_own_run() -> None:
    plan = make_plan(qwen(), SEED_LENGTHS)
    assert plan.parameters == pytest.approx(8.19e9, rel=1e-3)
    assert plan.trainable == 21_823_488
    assert plan.steps == 4_173
    assert plan.tokens == pytest.approx(6.85e6, rel=1e-3)
    assert plan.warmup_steps == 126


def test_parameters_are_those_of_the_model(tiny_model) -> None:
    model = Qwen3ForCausalLM.from_pretrained(str(tiny_model))
    assert shape_of(str(tiny_model)).parameters == sum(p.numel() for p in model.parameters())
    lora = get_peft_model(model, LoraConfig(r=4, target_modules=ALL))
    trainable = sum(p.numel() for p in lora.parameters() if p.requires_grad)
    assert make_plan(make_recipe(tiny_model), [100] * 16).trainable == trainable


SMALL = Shape(256, 2, 8, 2, 64, 768, 1000, True)


def kept_bytes(layers: int, tokens: int, dropout: float, targets: list[str]) -> int:
    """Bytes of all tensors that autograd saves in a forward pass, weights excepted."""
    config = Qwen3Config(
        vocab_size=1000, hidden_size=256, intermediate_size=768, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=2, head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    lora = LoraConfig(r=8, lora_alpha=8, lora_dropout=dropout, target_modules=targets)
    model = get_peft_model(model, lora).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.autocast("cpu", torch.bfloat16), disable_input_dtype_casting(model), hooks:
        ids, mask = torch.zeros(2, 2, tokens // 2, dtype=torch.long)
        mask = mask + (torch.arange(tokens // 2) < tokens // 2 - 1)  # one padded row: with a mask keys are repeated
        model.get_base_model().model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)


@pytest.mark.parametrize(("dropout", "targets"), [(0.0, ALL), (0.1, ALL), (0.0, ["q_proj", "v_proj"])])
def test_activations_are_what_autograd_keeps(dropout, targets) -> None:
    tokens = 512
    measured = (kept_bytes(3, tokens, dropout, targets) - kept_bytes(2, tokens, dropout, targets)) / tokens
    planned = activation_bytes(SMALL, TrainSection(dropout=dropout, targets=targets))
    assert planned == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_a_card_of_24_gb_fits_qwen3_8b(quantize) -> None:
    plan = fit(qwen(quantize=quantize, memory_gb=24), [205] * 900 + [384] * 100)
    assert plan.total_gb <= 24 * 0.92, "a tenth stays free for fragmentation"
    assert plan.quantize == quantize
    assert plan.rows_per_step == 8
    assert plan.steps == 375


def test_a_card_of_10_gb_is_given_nf4() -> None:
    plan = fit(qwen(memory_gb=10), [205] * 1000)
    assert (plan.quantize, plan.rows_per_step) == ("nf4", 8)


def test_a_card_of_4_gb_is_refused_with_the_keys_that_would_help() -> None:
    with pytest.raises(EnvironmentFault, match=r"needs \d\.\d GiB at least; 3\.7 of the 4\.0 GiB of train") as refused:
        fit(qwen(memory_gb=4), [205] * 1000)
    for key in ("model.max_length", "train.r", "model.id"):
        assert key in refused.value.next_step


@pytest.mark.parametrize(("rows", "warmed"), [(1, 0), (2, 1), (100, 3)])
def test_no_warm_up_takes_the_only_step(rows, warmed) -> None:
    """The first step of a warm-up has a rate of 0: a training of one step would learn nothing."""
    assert make_plan(qwen(epochs=1, rows_per_step=1), [200] * rows).warmup_steps == warmed


def test_memory_is_counted_by_part() -> None:
    plan = make_plan(qwen(), SEED_LENGTHS)
    assert plan.memory["weights"] == pytest.approx(2 * plan.parameters, rel=1e-6)
    assert plan.memory["adapter"] + plan.memory["optimizer"] == 16 * plan.trainable
    quantized = make_plan(qwen(quantize="nf4"), SEED_LENGTHS)
    assert 5.5 < quantized.memory["weights"] / GIB < 6.2  # torchtune's QLoRA of an 8B needs 7.4 GiB in all
    bigger = make_plan(qwen(), SEED_LENGTHS, 8)
    assert bigger.memory["activations"] == 8 * plan.memory["activations"]
    assert bigger.tokens == plan.tokens


def test_rows_at_once_fill_the_budget_and_share_out_the_step(monkeypatch) -> None:
    recipe = qwen(rows_per_step=8)
    assert batch_sizes(recipe.train, 8) == [8, 4, 2, 1]
    assert batch_sizes(recipe.train, 6, least=2) == [6, 3, 2]
    assert batch_sizes(qwen(extra={"per_device_train_batch_size": 2}).train, 8) == [2]
    with pytest.raises(UsageError, match="cannot be computed 3 at a time"):
        batch_sizes(qwen(extra={"per_device_train_batch_size": 3}).train, 8)
    with pytest.raises(UsageError, match="cannot be computed 2 at a time"):
        batch_sizes(recipe.train, 1, least=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert batch_sizes(recipe.train, 8) == [4, 2, 1]
    with pytest.raises(UsageError, match="cannot be shared by 2 processes"):
        batch_sizes(recipe.train, 5)


def test_the_table_is_of_the_composed_rows_or_says_what_it_assumes(tiny_model, tmp_path) -> None:
    recipe = make_recipe(tiny_model, rows_per_step=8)
    assumed = plan_table(recipe, Run(tmp_path / "empty"))
    assert "nothing composed yet: assuming 1,000 rows of 160 tokens" in assumed
    told = plan_table(recipe, compose(tmp_path / "run", rows=48))
    for line in (
        "48 composed rows",
        "8 of 8 rows at once",
        "evaluate",
        "a server's cache may hold",
        "trainable 8,192",
        "steps            6 (6 an epoch, 8 rows each)",
    ):
        assert line in told


@pytest.mark.parametrize("variant", ["use_rslora", "use_dora"])
def test_a_variant_of_lora_is_peft_s_and_is_counted(tiny_model, variant) -> None:
    recipe = make_recipe(tiny_model, lora={variant: True})
    model = new_adapter(Qwen3ForCausalLM.from_pretrained(str(tiny_model)), recipe.train)
    assert getattr(model.peft_config["default"], variant)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert make_plan(recipe, [100] * 16).trainable == trainable
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == pytest.approx(8 / 4**0.5 if variant == "use_rslora" else 8 / 4)


def test_answers_drawn_while_training_are_planned(tiny_model) -> None:
    recipe = make_recipe(tiny_model, method="grpo", rows_per_step=8, options={"generations": 4, "answer_tokens": 50})
    needs = METHODS["grpo"].needs(recipe, [110] * 64)
    plan = make_plan(recipe, [110] * 64, needs=needs)
    assert (plan.steps, plan.generated) == (8, 8 * 8 * 50)
    plain = make_plan(recipe, [110] * 64)
    assert plan.memory["adapter"] == plain.memory["adapter"] + 4 * plan.trainable
    assert plan.flop > plain.flop
    wide = qwen(method="grpo", rows_per_step=512, options={"generations": 8, "answer_tokens": 4096})
    drawn = make_plan(wide, [5000] * 512, needs=METHODS["grpo"].needs(wide, [5000] * 512))
    assert drawn.memory["rollout"] > 300 * GIB, "512 rows of 5,000 tokens of keys and values are more than a step"


@pytest.mark.parametrize(("method", "rate"), [("sft", 1e-4), ("dpo", 1e-6), ("kto", 1e-6), ("grpo", 1e-5)])
def test_each_method_has_a_learning_rate_of_its_own(method, rate) -> None:
    recipe = qwen(method=method, learning_rate=None)
    assert METHODS[method].needs(recipe, [100]).learning_rate == rate


def test_the_table_of_the_plan_is_of_the_methods_rows(tiny_model, tmp_path) -> None:
    run = compose(tmp_path / "run", rows=6)
    recipe = make_recipe(tiny_model, method="grpo", learning_rate=None, options={"generations": 8, "answer_tokens": 20})
    told = plan_table(recipe, run)
    assert "method           grpo, learning rate 1e-05" in told
    assert "48 composed rows" in told
    assert "drawn            960 tokens at most" in told
