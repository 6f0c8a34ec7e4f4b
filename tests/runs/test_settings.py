"""A finished stage of other settings is never overwritten unasked; continuing and changed data stay natural."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mnatune
from mnatune.cli import app
from mnatune.runs.errors import UsageError
from mnatune.runs.journey import differences, perform, section_of
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.workspace import Run, file_hash

ANSWER = "합병은 둘 이상의 회사가 하나로 합쳐지는 것이며 주주총회의 특별결의를 거쳐야 합니다."


def rows(folder: Path, count: int) -> Path:
    file = folder / "rows.jsonl"
    lines = [
        {"question": f"합병 절차의 {n}번째 단계는 무엇인가요?", "answer": f"{n}번째. {ANSWER}"} for n in range(count)
    ]
    file.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return file


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    source = {"kind": "qa", "path": str(rows(tmp_path, 6)), "name": "s"}
    return Recipe.model_validate({"name": "t", "model": {"id": "starter"}, "read": {"sources": [source]}})


def changed(recipe: Recipe, section: str, **values: object) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=values)})


def hashes(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): file_hash(p) for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def done(recipe: Recipe, tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    for stage in ("read", "curate", "judge"):
        perform(stage, recipe, run)
    return run


def test_other_settings_are_refused_and_change_nothing(recipe: Recipe, done: Run) -> None:
    before = hashes(done.root)
    with pytest.raises(UsageError) as told:
        mnatune.judge(changed(recipe, "judge", keep_above=50), done)
    assert "judge: judge.keep_above is 30 there, 50 now" in told.value.what
    assert told.value.next_step.endswith("this run; --force does it again with these settings")
    with pytest.raises(UsageError, match="seed is 42 there, 7 now"):
        mnatune.read(recipe.model_copy(update={"seed": 7}), done)
    assert hashes(done.root) == before


def test_an_earlier_stage_of_other_settings_is_refused_too(recipe: Recipe, done: Run) -> None:
    """Or rows that passed 30 points would be trained on under a recipe that says 50."""
    with pytest.raises(UsageError, match="keep_above") as told:
        mnatune.compose(changed(recipe, "judge", keep_above=50), done)
    assert "`mnatune run` with --force judge" in told.value.next_step
    mnatune.curate(changed(recipe, "judge", keep_above=50), done)  # no later stage stands in the way
    assert load_recipe(done.root / "recipe.lock.yaml").judge.keep_above == 30, "nor is what it was done with rewritten"


def test_the_whole_run_is_refused_before_it_starts(recipe: Recipe, done: Run) -> None:
    before = hashes(done.root)
    other = changed(changed(recipe, "judge", keep_above=50), "curate", mask=[])
    with pytest.raises(UsageError) as told:
        mnatune.run(other, done)
    assert "curate.mask" in told.value.what
    assert "--force curate --force judge" in told.value.next_step
    assert hashes(done.root) == before


def test_force_does_it_again(recipe: Recipe, done: Run) -> None:
    again = mnatune.judge(changed(recipe, "judge", keep_above=99), done, force=True)
    assert again.rows_out == 0 or again.section["judge"]["keep_above"] == 99
    assert load_recipe(done.root / "recipe.lock.yaml").judge.keep_above == 99


def test_what_does_not_change_a_result_is_no_other_setting(recipe: Recipe, done: Run) -> None:
    _, skipped = perform("judge", changed(recipe, "endpoint", per_minute=(1, 1), model="m"), done)
    assert skipped
    _, skipped = perform("judge", recipe.model_copy(update={"name": "다른 이름"}), done)
    assert skipped
    assert load_recipe(done.root / "recipe.lock.yaml").name == "다른 이름"


def test_where_training_is_logged_is_no_setting_of_its_result() -> None:
    recipe = load_recipe("quickstart")
    logged = changed(recipe, "train", tracking="wandb", track_as="p/r")
    assert section_of("train", logged) == section_of("train", recipe)
    assert section_of("train", changed(recipe, "train", epochs=9)) != section_of("train", recipe)


def test_changed_data_and_a_moved_run_need_no_force(recipe: Recipe, done: Run, tmp_path: Path) -> None:
    rows(tmp_path, 9)
    manifest, skipped = perform("read", recipe, done)
    assert (manifest.rows_out, skipped) == (9, False)
    shutil.copytree(done.root, tmp_path / "moved")
    assert perform("read", recipe, Run(tmp_path / "moved"))[1]


def test_the_bundled_sample_may_move_with_its_run(tmp_path: Path) -> None:
    quick = load_recipe("quickstart")
    perform("read", quick, Run(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert perform("read", quick, Run(tmp_path / "b"))[1]
    assert load_recipe(tmp_path / "b" / "recipe.lock.yaml") == quick


def test_an_interrupted_stage_continues_with_other_settings(recipe: Recipe, done: Run) -> None:
    (done.folder("judge") / "manifest.json").unlink()
    (done.folder("judge") / ".begun").touch()
    assert not perform("judge", changed(recipe, "judge", keep_above=50), done)[1]


def test_another_pack_is_another_setting_unless_it_is_a_copy(recipe: Recipe, done: Run, tmp_path: Path) -> None:
    copy = tmp_path / "packs" / "own"
    shutil.copytree(mnatune.Pack.load("mna_ko").root, copy)
    own = recipe.model_copy(update={"pack": str(copy)})
    assert perform("judge", own, done)[1]
    perform("judge", recipe, done)
    (copy / "drops.yaml").write_text((copy / "drops.yaml").read_text(encoding="utf-8") + "\n# own\n", encoding="utf-8")
    with pytest.raises(UsageError, match="pack is mna_ko there"):
        perform("curate", own, done)


def test_keys_of_another_version_are_not_compared() -> None:
    assert differences({"a": {"old": 1, "x": 1}}, {"a": {"new": 2, "x": 1}}) == []
    assert differences({"a": {"x": 1}, "seed": 1}, {"a": {"x": [2]}, "seed": 1}) == ["a.x is 1 there, [2] now"]


def test_the_command_line_says_what_differs(recipe: Recipe, done: Run, tmp_path: Path) -> None:
    options = ["judge", str(done.root / "recipe.lock.yaml"), "--out", str(done.root)]
    assert "skipped" in CliRunner().invoke(app, options).output
    with pytest.raises(UsageError, match="keep_above is 30 there, 31 now"):
        CliRunner().invoke(app, [*options, "--set", "judge.keep_above=31"], catch_exceptions=False)
    assert CliRunner().invoke(app, [*options, "--set", "judge.keep_above=31", "--force"]).exit_code == 0


def test_training_depends_on_the_endpoint_only_where_a_judge_pays(recipe: Recipe) -> None:
    def section(model: str, **rewards: float) -> dict:
        given = changed(changed(recipe, "endpoint", base_url="http://127.0.0.1:1/v1", model=model), "train", epochs=1)
        return section_of(
            "train", changed(given, "train", method="grpo", options={"rewards": {"ends": 1.0, **rewards}})
        )

    assert section("one") == section("other")
    assert section("one", rubric=0.0) == section("other", rubric=0.0)
    assert section("one", rubric=1.0) != section("other", rubric=1.0)
