"""Every shipped recipe against the code; wrong recipes and what is said about them."""

import re
from pathlib import Path

import pytest

from mnatune.runs.errors import UsageError
from mnatune.runs.recipe import Recipe, bundled, load_recipe, save_lock
from mnatune.runs.recipe_text import HABITS
from mnatune.runs.removed_keys import REMOVED

RECIPES = sorted(p.name for p in bundled("recipes").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipe_loads_and_survives_its_lock(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(bundled("recipes") / name)
    save_lock(recipe, tmp_path / "lock.yaml")
    assert load_recipe(tmp_path / "lock.yaml") == recipe


def test_seed_defaults_are_the_documented_ones() -> None:
    train = load_recipe("qwen3-8b-lora").train
    assert (train.r, train.alpha, train.dropout, train.epochs, train.rows_per_step) == (8, 32, 0.1, 3, 8)
    assert (train.learning_rate, train.max_grad_norm, train.log_every) == (1e-4, 0.3, 10)
    assert Recipe(name="x").train.targets == train.targets
    assert train.track_as.split("/") == ["Qwen3-8B-M&A", "qlora_finetuning-qwen3-8B-mna"]
    default = Recipe(name="x").train
    assert (default.rows_per_step, default.track_as) == (8, "mnatune")


def test_lora_and_qlora_differ_by_values_only() -> None:
    lora, qlora = (load_recipe(f"qwen3-8b-{kind}").model_dump() for kind in ("lora", "qlora"))
    differing = {key for key in lora["train"] if lora["train"][key] != qlora["train"][key]}
    assert differing == {"quantize", "memory_gb"}


def test_the_recipe_has_at_most_seventy_keys() -> None:
    sections = [field.annotation for field in Recipe.model_fields.values()]
    assert sum(len(getattr(section, "model_fields", "x")) for section in sections) <= 70


def known(dotted: str) -> bool:
    section, _, key = dotted.partition(".")
    return key in getattr(Recipe.model_fields[section].annotation, "model_fields", ())


def test_what_a_removed_key_became_is_said_and_exists(tmp_path: Path) -> None:
    assert list(REMOVED) == sorted(REMOVED)
    for key, now in REMOVED.items():
        assert not known(key), key
        named = re.match(r"(\w+\.\w+)", now)
        assert named is None or known(named[1]), now
        file = tmp_path / "r.yaml"
        section, _, name = key.partition(".")
        file.write_text(f"name: x\n{section}:\n  {name}: 1\n", encoding="utf-8")
        with pytest.raises(UsageError, match=re.escape(f"{file}:3: {key}: this key is gone: {now}")):
            load_recipe(file)


def test_a_habit_of_another_tool_finds_the_key() -> None:
    for said, key in (("train.lr", "learning_rate"), ("compose.lr", "train.learning_rate"), ("model.base_model", "id")):
        with pytest.raises(UsageError, match=f"did you mean '{key}'"):
            load_recipe("quickstart", [f"{said}=1"])
    keys = {
        key
        for section in Recipe.model_fields
        for key in getattr(Recipe.model_fields[section].annotation, "model_fields", ())
    }
    assert set(HABITS.values()) <= keys


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("{method: dpo, options: {margn: 2}}", "margn: unknown key of dpo; did you mean 'margin'?"),
        ("{method: sft, options: {margin: 2}}", "margin: unknown key of sft; its keys: none"),
        ("{method: grpo, options: {generations: 1}}", "generations: Input should be greater than or equal to 2"),
        ("{method: grpo, options: {rewards: {citation_exist: 1}}}", "did you mean 'citation_exists'?"),
        ("{method: grpo, options: {rewards: {ends: -1}}}", "the weight of ends must not be negative"),
        ("{method: grpo, options: {rewards: {ends: .nan}}}", "Input should be a finite number"),
        ("{epochs: .inf}", "Input should be a finite number"),
        ("{method: grpo, options: {rewards: {ends: 0}}}", "at least one reward needs a weight above 0"),
        ("{lora: {modules_to_save: [lm_head]}}", "modules_to_save is refused: a whole trained embedding"),
        ("{lora: {use_rslra: true}}", "did you mean 'use_rslora'?"),
    ],
)
def test_a_methods_options_and_loras_are_its_own(tmp_path: Path, options: str, told: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"name: x\ntrain: {options}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        load_recipe(file)
    assert f"{file}:2" in caught.value.what


@pytest.mark.parametrize("rows", [0, -1])
def test_a_data_set_of_no_rows_is_refused(rows: int) -> None:
    with pytest.raises(UsageError, match=r"compose\.max_rows: Input should be greater than or equal to 1"):
        load_recipe("quickstart", [f"compose.max_rows={rows}"])


def test_options_have_the_methods_defaults() -> None:
    assert load_recipe("quickstart", ["train.method=dpo", "train.options.margin=2"]).train.own.model_dump() == {
        "rows": None,
        "margin": 2,
    }
    assert load_recipe("quickstart", ["train.method=grpo"]).train.own.model_dump()["generations"] == 8


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


def test_words_and_numbers_mean_what_they_say(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(
        "name: 1e5 아님\nmodel: {revision: off}\nevaluate: {guards: off}\n"
        "train: {extra: {weight_decay: 1e-2, group_by_length: no, save_strategy: no}}\n",
        encoding="utf-8",
    )
    recipe = load_recipe(file)
    assert (recipe.model.revision, recipe.evaluate.guards) == ("off", "off")
    assert recipe.train.extra == {"weight_decay": 0.01, "group_by_length": False, "save_strategy": "no"}
    assert load_recipe("quickstart", ["evaluate.guards=off", "evaluate.guards=all"]).evaluate.guards == "all"


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\ntrain: {r: 4}\nseed: 1\ntrain: {alpha: 4}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="'train' stands twice, in line 2 and here") as caught:
        load_recipe(file)
    assert caught.value.where == f"{file}:4"


@pytest.mark.parametrize("encoding", ["cp949", "utf-16"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: 합병 전문가\n", encoding=encoding)
    with pytest.raises(UsageError, match="not UTF-8"):
        load_recipe(file)
    file.write_text("name: 합병\n", encoding="utf-8-sig")  # Windows' Notepad
    assert load_recipe(file).name == "합병"


@pytest.mark.parametrize(
    "section",
    [
        "endpoint: {base_url: 'http://me:geheim@h/v1'}",
        "endpoint: {base_url: 'http://h/v1?api_key=geheim'}",
        "collect: {start_urls: ['https://me:geheim@h/']}",
        "evaluate: {answered_by: {base: 'http://me:geheim@h/v1#m'}}",
    ],
)
def test_no_password_enters_a_run(tmp_path: Path, section: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"name: x\n{section}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="MNATUNE_API_KEY") as caught:
        load_recipe(file)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", "name: x\nname2: {a: b\n"])
def test_what_is_no_recipe_is_said_so(text: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        load_recipe(file)


def test_an_earlier_recipe_that_says_thinking_off_still_loads():
    assert load_recipe("quickstart", ["model.thinking=off"]) == load_recipe("quickstart", [])
    with pytest.raises(UsageError, match="chat template decides"):
        load_recipe("quickstart", ["model.thinking=none"])
