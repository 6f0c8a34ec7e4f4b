"""What is decided for cards that are not here: a 24 GB card, an 80 GB card, two cards, a card without bf16."""

import json
import sys
from importlib import metadata

import pytest
from tiny_run import make_recipe

from mnatune.cli import doctor
from mnatune.model import device, quantized
from mnatune.model.device import Device
from mnatune.model.memory import shape_of, stage_peaks
from mnatune.model.prompt import Example
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.workspace import Run
from mnatune.stages.train import plan, setting, show
from mnatune.stages.train.loop import trl_config
from mnatune.stages.train.token_rows import TokenRows

ROWS = TokenRows([Example(list(range(100)), [100 + n] * 105) for n in range(64)], [""] * 64)
NONE = TokenRows([], [])
CARD_24 = Device("cuda", "NVIDIA GeForce RTX 4090", 23.6, 1)
CARD_80 = Device("cuda", "NVIDIA H100 80GB HBM3", 79.2, 1)
TWO = Device("cuda", "NVIDIA GeForce RTX 4090", 23.6, 2)
UNLISTED = Device("cuda", "NVIDIA Something New", 31.5, 1)
OLD = Device("cuda", "Tesla T4", 14.6, 1, bf16=False)
FLASH = Device("cuda", "NVIDIA H100 80GB HBM3", 79.2, 1, flash_attention=True)


@pytest.fixture
def put_in(monkeypatch):
    """put_in(device): this machine computes on it from now on."""

    def put(card: Device) -> None:
        for module in (device, plan, setting, show):
            monkeypatch.setattr(module, "find_device", lambda: card)
        monkeypatch.setattr(plan, "measured_tflops", lambda: 100.0)

    return put


def qwen(name: str = "qwen3-8b-qlora", **train) -> Recipe:
    recipe = load_recipe(name)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})


@pytest.mark.parametrize("name", ["qwen3-8b-lora", "qwen3-8b-qlora"])
@pytest.mark.parametrize("memory_gb", [None, 24])
@pytest.mark.parametrize("card", [CARD_24, CARD_80], ids=["24", "80"])
def test_a_plan_keeps_room_on_every_path(put_in, card, memory_gb, name) -> None:
    put_in(card)
    found = setting.decide(qwen(name, memory_gb=memory_gb), ROWS, NONE)
    assert found.plan.total_gb <= 0.92 * min(memory_gb or card.memory_gb, card.memory_gb)
    assert found.batch * found.accumulate == 8


def test_more_memory_computes_more_rows_at_once(put_in) -> None:
    sizes = []
    for card in (CARD_24, CARD_80):
        put_in(card)
        sizes.append(setting.decide(qwen(memory_gb=None), ROWS, NONE).batch)
    assert sizes[0] < sizes[1] == 8


def test_packing_is_chosen_with_its_attention_alone(put_in) -> None:
    put_in(CARD_80)
    found = setting.decide(qwen(), ROWS, NONE)
    assert (found.padding_free, found.prefix, found.attention) == (False, 0, ""), "plain where nothing was measured"
    with pytest.raises(EnvironmentFault, match="packing needs FlashAttention"):
        setting.decide(qwen(throughput="packing"), ROWS, NONE)
    put_in(FLASH)
    found = setting.decide(qwen(), ROWS, NONE)
    assert (found.padding_free, found.attention) == (True, "flash_attention_2")


def test_a_card_without_bf16_is_refused_by_name(put_in) -> None:
    put_in(OLD)
    with pytest.raises(EnvironmentFault, match="Tesla T4 has no bf16"):
        setting.decide(qwen(), ROWS, NONE)


def test_one_process_uses_one_of_two_cards_and_says_so(put_in, caplog, tmp_path, tiny_model, monkeypatch) -> None:
    put_in(TWO)
    found = setting.decide(qwen(), ROWS, NONE)
    assert "one of 2 visible GPUs is used; torchrun --nproc_per_node 2" in caplog.text
    config = trl_config(make_recipe(tiny_model), found, tmp_path, [], evaluate=False)
    assert config.n_gpu <= 1
    monkeypatch.setattr(doctor, "_peaks", lambda *args: (1.0, ""))
    told = [f.cure for f in doctor._torch(qwen()) if f.level == "warn"]
    assert told == ["torchrun --nproc_per_node 2 -m mnatune train … uses all"]


def test_sharded_launches_are_refused(put_in, monkeypatch) -> None:
    put_in(TWO)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="FSDP and DeepSpeed are not supported"):
        setting.decide(qwen(), ROWS, NONE)


def test_hours_of_a_card_that_is_not_listed_are_measured(put_in) -> None:
    put_in(UNLISTED)
    found = plan.make_plan(qwen(), ROWS.lengths)
    assert found.hours == pytest.approx(found.flop / (100e12 * plan.ASSUMED_MFU) / 3600)


@pytest.mark.parametrize(("card", "kind"), [(24, "none"), (16, "nf4"), (12, "nf4")])
def test_the_table_states_every_stage(put_in, tmp_path, card, kind) -> None:
    put_in(Device("cpu", "x86_64", 64.0))
    told = show.plan_table(qwen("qwen3-8b-lora", memory_gb=card), Run(tmp_path))
    assert f"quantize {kind}" in told
    stages = {line.split()[0]: line for line in told.split("peak by stage")[1].splitlines() if "GiB  " in line}
    assert stages.keys() == {"train", "evaluate", "serve", "export"}
    assert "does not fit" not in stages["train"]
    assert ("does not fit" in stages["export"]) == (card < 24), "16 GB of bf16 weights"


def test_what_follows_a_14b_qlora_training_fits_the_card_too(put_in) -> None:
    put_in(CARD_24)
    recipe = qwen(memory_gb=24)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"id": "Qwen/Qwen3-14B"})})
    found = setting.decide(recipe, ROWS, NONE).plan
    peaks = stage_peaks(shape_of("Qwen/Qwen3-14B"), "nf4", found.trainable)
    assert sum(peaks["evaluate"].values()) <= 0.92 * 23.6 * 2**30


def test_the_adapter_that_is_continued_keeps_its_shape(tmp_path, tiny_model, caplog) -> None:
    config = {"r": 32, "lora_alpha": 64, "lora_dropout": 0.05, "target_modules": ["v_proj", "q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    recipe = make_recipe(tiny_model, from_adapter=str(tmp_path))  # r 4, alpha 8, dropout 0.1
    found = setting.decide(recipe, ROWS, NONE)
    assert found.facts()["adapter"] == {"r": 32, "alpha": 64, "dropout": 0.05, "targets": ["q_proj", "v_proj"]}
    assert found.plan.trainable == 32 * 2 * ((64 + 64) + (64 + 32))
    assert "train.r: 32 of the adapter to continue is used, not 4" in caplog.text
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(UsageError, match="is no LoRA adapter folder"):
        setting.decide(recipe, ROWS, NONE)


def test_the_recipe_s_learning_rate_goes_before_the_method_s() -> None:
    def rate(stated: float | None) -> float:
        recipe = qwen("qwen3-8b-lora")
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"learning_rate": stated})})
        return setting.Setting(*setting.fitted(recipe, [100] * 8, plan.Needs(learning_rate=1e-6))).learning_rate

    assert rate(None) == 1e-6
    assert rate(1e-2) == 1e-2


@pytest.mark.parametrize("kind", ["nf4", "fp8"])
def test_a_missing_extra_has_its_pip_line(monkeypatch, tiny_model, kind) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault) as missing:
        quantized.quantization(kind)
    assert missing.value.next_step == "pip install 'mnatune[quantize]'"


@pytest.mark.parametrize(("found", "refused"), [("0.13.0", True), ("0.15.0+cpu", True), ("0.16.0", False)])
def test_an_old_torchao_is_named_before_peft_raises(monkeypatch, found, refused) -> None:
    monkeypatch.setattr(quantized, "version", lambda name: found)
    if refused:
        with pytest.raises(EnvironmentFault, match=f"torchao {found.split('+')[0]}"):
            quantized.refuse_old_torchao()
    else:
        quantized.refuse_old_torchao()


def test_a_machine_without_torchao_is_fine(monkeypatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(quantized, "version", missing)
    quantized.refuse_old_torchao()
    assert sys.modules


def test_doctor_counts_the_download_and_lets_a_cpu_train_what_it_can(put_in, monkeypatch, tiny_model) -> None:
    put_in(Device("cpu", "x86_64", 24.0))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10 * 2**30}))
    monkeypatch.setattr(doctor, "_is_here", lambda *args: False)
    disk = next(doctor._disk(qwen()))
    assert disk.level == "fail"
    assert "free 17 GiB for the model's download" in disk.cure
    monkeypatch.setattr(doctor, "_is_here", lambda *args: True)
    assert next(doctor._disk(qwen())).level == "ok"
    small = make_recipe(tiny_model)
    assert [f.level for f in doctor._without_card(small, "torch")] == ["ok"]
    assert [f.level for f in doctor._without_card(qwen(), "torch")] == ["fail"]
