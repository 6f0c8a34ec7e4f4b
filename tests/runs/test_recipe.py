"""Every shipped recipe against the code; wrong recipes and what is said about them."""

from pathlib import Path

import pytest

from mnatune.runs.errors import UsageError
from mnatune.runs.recipe import REMOVED, Recipe, TrainSection, bundled, load_recipe, save_lock

RECIPES = sorted(p.name for p in bundled("recipes").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipe_loads_and_survives_its_lock(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(bundled("recipes") / name)
    save_lock(recipe, tmp_path / "lock.yaml")
    assert load_recipe(tmp_path / "lock.yaml") == recipe


def test_seed_defaults_are_the_documented_ones() -> None:
    train = load_recipe("qwen3-8b-lora").train
    assert (train.r, train.alpha, train.dropout, train.epochs, train.rows_per_step) == (8, 32, 0.1, 3, 8)
    assert (train.learning_rate, train.warmup, train.max_grad_norm, train.log_every) == (1e-4, 0.03, 0.3, 10)
    assert Recipe(name="x").train.targets == train.targets
    assert train.track_as.split("/") == ["Qwen3-8B-M&A", "qlora_finetuning-qwen3-8B-mna"]
    default = Recipe(name="x").train
    assert (default.rows_per_step, default.track_as) == (8, train.track_as)


@pytest.mark.parametrize("key", sorted(REMOVED))
def test_a_removed_key_names_the_new_one(key, tmp_path) -> None:
    section, name = key.split(".")
    file = tmp_path / "old.yaml"
    file.write_text(f"name: old\n{section}:\n  {name}: 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="was removed; use") as refused:
        load_recipe(file)
    assert f"{file}:3: {key} was removed; use {REMOVED[key]}" in str(refused.value)


def test_keys_stay_few() -> None:
    assert list(REMOVED) == sorted(REMOVED)
    assert len(TrainSection.model_fields) <= 21
    assert not any(key.partition(".")[2] in TrainSection.model_fields for key in REMOVED if key.startswith("train."))


def test_lora_and_qlora_differ_by_values_only() -> None:
    lora, qlora = (load_recipe(f"qwen3-8b-{kind}").model_dump() for kind in ("lora", "qlora"))
    differing = {key for key in lora["train"] if lora["train"][key] != qlora["train"][key]}
    assert differing == {"quantize", "memory_gb"}


def test_unknown_key_names_place_and_neighbour(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\ntrain:\n  r: 4\n  learning_rat: 1\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_recipe(file)
    assert f"{file}:4" in caught.value.what
    assert "did you mean 'learning_rate'?" in caught.value.what
    assert caught.value.exit_code == 2


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\nsed: 1\ncompose:\n  splits: [1, 1, 1]\nread:\n  sources:\n  - kind: zip\n    path: p\n")
    with pytest.raises(UsageError) as caught:
        load_recipe(file)
    assert all(f"{file}:{line}" in caught.value.what for line in (2, 4, 7))


@pytest.mark.parametrize(
    ("override", "value"),
    [("train.learning_rate=5e-5", 5e-5), ("train.extra={neftune_noise_alpha: 5}", None), ("seed=7", 7)],
)
def test_overrides_are_typed(override: str, value: float | None) -> None:
    recipe = load_recipe("quickstart", [override])
    section, _, _ = override.partition("=")
    found = recipe
    for name in section.split("."):
        found = getattr(found, name)
    assert found == ({"neftune_noise_alpha": 5} if value is None else value)


@pytest.mark.parametrize("override", ["train", "train.r=", "seed.x=1", "train.r=zero", "train.r=[", "tran.r=3"])
def test_wrong_overrides_are_refused(override: str) -> None:
    with pytest.raises(UsageError):
        load_recipe("quickstart", [override])


def test_missing_recipe_offers_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("quikstart")
    assert "quickstart" in caught.value.next_step


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", "name: x\nname2: {a: b\n"])
def test_what_is_no_recipe_is_said_so(text: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        load_recipe(file)
