"""Any two: evaluated runs by their stored answers, trained runs, adapter folders and served models by asking."""

import shutil
from pathlib import Path

import pytest

from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.pack import Pack
from mnatune.reports.compared_models import comparison_page, comparison_text, write_comparison
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.recipe import EvaluateSection, Recipe, load_recipe, save_lock
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.compare import Home, compare, compare_all, stored


def compared(first, second, home=None):
    """The comparison of two."""
    return compare_all((first, second), home)[0]


@pytest.fixture(scope="module")
def quick(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"evaluate": EvaluateSection(items=3)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, trained, perform, quick: Recipe) -> Run:
    """An evaluated run with its recipe."""
    made: Run = trained(tmp_path_factory.mktemp("compared") / "run")
    save_lock(quick, made.root / "recipe.lock.yaml")
    perform(made, quick, evaluate)
    return made


@pytest.fixture(scope="module")
def other_adapter(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The run's adapter with its weights turned round."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("adapter") / "other"
    shutil.copytree(tiny / "adapter", folder)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: -w if "lora_B" in name else w for name, w in weights.items()}, folder / "adapter_model.safetensors"
    )
    return folder


def values(found: dict) -> dict[str, tuple[float, float]]:
    return {row["name"]: (row["base"]["value"], row["tuned"]["value"]) for row in found["metrics"]}


def test_two_evaluated_runs_are_compared_by_what_is_stored(tmp_path: Path, run: Run, pack: Pack) -> None:
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.root, copy.root)
    found = compared(str(run.root), str(copy.root))
    assert found["items"]["held_out"] == 3
    assert found["items"]["exam"] > 3
    assert {"loss", "chrf", "exam_letter", "false_premise"} <= values(found).keys()
    assert all(row["difference"]["value"] == 0 for row in found["metrics"])
    assert "items in common: held out 3" in comparison_text([found])
    for name in ("answers.jsonl", "exam.jsonl"):
        file = copy.folder("evaluate") / name
        write_jsonl(file, [{**row, "id": f"other-{row['id']}"} for row in read_jsonl(file)])
    with pytest.raises(DataError, match="no item in common"):
        compare(stored(run), stored(copy), pack)


def test_an_adapter_folder_is_asked_the_runs_questions(run: Run, tiny: Path, other_adapter: Path) -> None:
    same = compared(str(run.root), str(tiny / "adapter"))
    assert {"loss", "chrf", "exam_letter", "exam_text", "exam_generated", "false_premise"} <= values(same).keys()
    for row in same["metrics"]:
        assert row["difference"]["value"] == pytest.approx(0, abs=1e-3), row["name"]
    other = compared(str(run.root), str(other_adapter))
    assert values(other)["loss"][0] == pytest.approx(values(same)["loss"][0])
    assert values(other)["loss"][1] != pytest.approx(values(same)["loss"][1])
    assert not list((run.root / "compare").iterdir())  # what was kept for continuing is gone


def test_two_adapters_share_one_base_and_each_answers_for_itself(run: Run, tiny: Path, other_adapter: Path) -> None:
    home = Home(run, load_recipe(run.root / "recipe.lock.yaml"))
    both = values(compared(str(other_adapter), str(tiny / "adapter"), home))
    alone = values(compared(str(run.root), str(other_adapter)))
    assert both["loss"] == pytest.approx((alone["loss"][1], alone["loss"][0]), rel=1e-4)
    assert both["chrf"] == pytest.approx((alone["chrf"][1], alone["chrf"][0]), rel=1e-4)


def test_a_run_that_is_only_trained_and_a_served_model(
    tmp_path: Path, run: Run, trained, quick: Recipe, own_server: str
) -> None:
    fresh: Run = trained(tmp_path / "fresh")
    save_lock(quick, fresh.root / "recipe.lock.yaml")
    found = compared(str(fresh.root), f"{own_server}#base-tuned")
    assert all(row["difference"]["value"] == 0 for row in found["metrics"])
    assert {"chrf", "exam_generated", "false_premise"} <= values(found).keys()
    assert not values(found).keys() & {"loss", "exam_letter"}  # no likelihoods over HTTP
    base = compared(str(run.root), f"{own_server}#base")
    assert any(row["difference"]["value"] for row in base["metrics"])


def test_what_cannot_be_compared_is_told(tmp_path: Path, run: Run, tiny: Path) -> None:
    with pytest.raises(UsageError, match="no questions to ask"):
        compared(str(tiny / "adapter"), "http://127.0.0.1:9/v1#m")
    with pytest.raises(UsageError, match="no adapter folder"):
        compared(str(run.root), str(tmp_path))


def test_models_beside_each_other_answer_as_they_do_alone(tiny: Path, other_adapter: Path) -> None:
    base = str(tiny / "base")
    adapters = {"one": tiny / "adapter", "two": other_adapter}

    def answers(adapters: dict[str, Path], *names: str) -> list[list[int]]:
        asked = [
            Task(name, Sampling(max_tokens=12), [{"role": "user", "content": "합병이란 무엇입니까?"}]) for name in names
        ]
        with open_engine(base, adapters) as engine:
            return [answer.ids for answer in engine.answers(asked)]

    alone = [*answers({}, "base"), *(answers({name: adapter}, name)[0] for name, adapter in adapters.items())]
    assert len({tuple(ids) for ids in alone}) == 3
    assert answers(adapters, "base", "one", "two", "two", "one", "base") == [*alone, *reversed(alone)]


def test_several_are_compared_with_the_first_on_one_page(run: Run, other_adapter: Path, monkeypatch) -> None:
    copy = Run(run.root.parent / "두 번째 <b>")
    shutil.copytree(run.root, copy.root, dirs_exist_ok=True)
    found = compare_all((str(run.root), str(copy.root), str(other_adapter)))
    assert [one["b"] for one in found] == [str(copy.root), str(other_adapter)]
    assert values(found[1]) == values(compared(str(run.root), str(other_adapter)))
    page = write_comparison(found)
    text = page.read_text(encoding="utf-8")
    assert page.parent == run.root.parent
    assert page.name.startswith("compare-run-두_번째__b_-")
    assert text == comparison_page(found)
    assert "두 번째 &lt;b&gt;" in text
    assert "size: A4" in text
    assert not any(mark in text for mark in ("http://", "https://", "<script", "src="))
    assert text.count("<table>") == 2
    again = write_comparison(found)
    assert again != page
    assert page.read_text(encoding="utf-8") == text
    with pytest.raises(UsageError, match="exists already"):
        write_comparison(found, page)
    english = comparison_text(found)
    monkeypatch.setenv("MNATUNE_LANG", "ko")
    assert "차이 (95% 신뢰구간)" in comparison_text(found)
    assert not any("가" <= letter <= "힣" for letter in english.replace(copy.root.name, ""))


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "a")])
def test_a_comparison_needs_different_models(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="two or more different"):
        compare_all(names)
