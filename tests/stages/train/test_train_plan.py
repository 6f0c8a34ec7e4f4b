"""The plan's arithmetic against the seed's own run, and against what PyTorch really keeps."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from tiny_run import compose, make_recipe
from transformers import Qwen3Config, Qwen3ForCausalLM

from mnatune.cli.doctor import _memory
from mnatune.model.memory import GIB, Shape, shape_of
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.recipe import Recipe, TrainSection, load_recipe
from mnatune.runs.workspace import Run
from mnatune.stages.train import setting
from mnatune.stages.train.plan import activation_bytes, fit, make_plan, refuse_unfitting
from mnatune.stages.train.processes import micro_batches
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
        model.get_base_model().model(input_ids=torch.zeros(2, tokens // 2, dtype=torch.long), use_cache=False)
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)


@pytest.mark.parametrize(("dropout", "targets"), [(0.0, ALL), (0.1, ALL), (0.0, ["q_proj", "v_proj"])])
def test_activations_are_what_autograd_keeps(dropout, targets) -> None:
    tokens = 512
    measured = (kept_bytes(3, tokens, dropout, targets) - kept_bytes(2, tokens, dropout, targets)) / tokens
    planned = activation_bytes(SMALL, TrainSection(dropout=dropout, targets=targets))
    assert planned == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_a_card_of_24_gb_fits_qwen3_8b(quantize) -> None:
    recipe = qwen(quantize=quantize, memory_gb=24)
    train = fit(recipe, [205] * 900 + [384] * 100)
    plan = make_plan(recipe.model_copy(update={"train": train}), [205] * 900 + [384] * 100)
    assert plan.total_gb <= 24
    assert train.quantize == quantize
    assert train.batch * train.accumulate == 8
    assert plan.steps == 375


def test_a_card_of_8_gb_is_given_nf4() -> None:
    train = fit(qwen(memory_gb=8), [205] * 1000)
    assert train.quantize == "nf4"
    assert train.batch * train.accumulate == 8


def test_a_card_of_4_gb_is_refused_with_the_keys_that_would_help() -> None:
    with pytest.raises(EnvironmentFault, match=r"needs \d\.\d GiB at least, and train.memory_gb is 4") as refused:
        fit(qwen(memory_gb=4), [205] * 1000)
    for key in ("model.max_length", "train.r", "model.id"):
        assert key in refused.value.next_step


def test_memory_is_counted_by_part() -> None:
    plan = make_plan(qwen(), SEED_LENGTHS)
    assert plan.memory["weights"] == pytest.approx(2 * plan.parameters, rel=1e-6)
    assert plan.memory["adapter"] + plan.memory["optimizer"] == 16 * plan.trainable
    quantized = make_plan(qwen(quantize="nf4"), SEED_LENGTHS)
    assert 5.5 < quantized.memory["weights"] / GIB < 6.2  # torchtune's QLoRA of an 8B needs 7.4 GiB in all
    bigger = make_plan(qwen(batch=8, accumulate=1), SEED_LENGTHS)
    assert bigger.memory["activations"] == 8 * plan.memory["activations"]
    assert bigger.tokens == plan.tokens


def test_regrouping_fills_the_budget_and_keeps_the_step() -> None:
    recipe = qwen()
    assert setting.regrouped(recipe, SEED_LENGTHS, 1000.0).batch == 8
    assert setting.regrouped(recipe, SEED_LENGTHS, 1.0).batch == 1
    some = make_plan(qwen(batch=2, accumulate=4), SEED_LENGTHS).total_gb + 0.1
    middle = setting.regrouped(recipe, SEED_LENGTHS, some)
    assert (middle.batch, middle.accumulate) == (2, 4)


def test_rows_of_a_step_are_shared_by_processes(monkeypatch) -> None:
    assert micro_batches(8, 3) == (2, 4)
    assert micro_batches(5, 8) == (5, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert micro_batches(8, 8) == (4, 1)
    assert micro_batches(8, 1) == (1, 4)
    with pytest.raises(UsageError, match="cannot be shared by 2 processes"):
        micro_batches(5, 8)


@pytest.fixture
def card(monkeypatch) -> float:
    """A card that has a little less than it is sold as."""
    have = 23.5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "card")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda at: SimpleNamespace(total_memory=int(have * GIB)))
    return have


def test_what_is_advised_fits_the_card(card) -> None:
    with pytest.raises(EnvironmentFault, match=r"the card has 23\.5") as refused:
        refuse_unfitting(make_plan(qwen(batch=8, accumulate=1), [1000] * 100))
    assert "train.memory_gb: 23;" in refused.value.next_step
    finding = next(_memory(qwen(batch=8, accumulate=1)))
    assert (finding.level, finding.cure.split(",")[0]) == ("fail", "set train.memory_gb: 23")


def test_fitting_never_exceeds_the_card(card) -> None:
    budget, lengths = 1000.0, [400] * 1000
    train = fit(qwen(memory_gb=budget), lengths)
    assert make_plan(qwen().model_copy(update={"train": train}), lengths).total_gb <= card
    with pytest.raises(EnvironmentFault, match=r"at least, and the card has 23\.5"):
        fit(qwen(memory_gb=budget), [200_000] * 1000)


def test_the_table_is_of_the_composed_rows_or_says_what_it_assumes(tiny_model, tmp_path) -> None:
    recipe = make_recipe(tiny_model, batch=1, accumulate=8)
    assumed = plan_table(recipe, Run(tmp_path / "empty"))
    assert "nothing composed yet: assuming 1,000 rows of 160 tokens" in assumed
    told = plan_table(recipe, compose(tmp_path / "run", rows=48))
    for line in (
        "48 composed rows",
        "batch 8 x accumulate 1",
        "trainable 8,192",
        "steps            6 (6 an epoch, 8 rows each)",
    ):
        assert line in told
