"""The dataset card: front matter that `load_dataset` can read, and the licences of the rows themselves."""

from pathlib import Path

import pytest
import yaml

from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import QA, QA_SCHEMA, Source, content_id, to_table, write_table
from mnatune.runs.workspace import Run
from mnatune.stages.compose import compose


def row(number: int, licence: str) -> QA:
    question, answer = f"{number}. 합병이란 무엇인가요?", "둘 이상의 회사가 하나로 되는 것입니다."
    return QA(content_id(question, answer), question, answer, "합병", f"g{number}", Source("s", licence=licence))


@pytest.mark.parametrize("name", ["M&A: 첫째", "[초안] 합병", "*별", '"따옴표" # 끝'])
def test_the_card_is_read_and_names_the_licences_of_the_rows(tmp_path: Path, pack: Pack, name: str) -> None:
    recipe = Recipe.model_validate({"name": name, "model": {"id": "starter"}})
    rows = [row(n, licence) for n, licence in enumerate(["CC BY 4.0", "사내", "", "CC BY 4.0"])]
    run = Run(tmp_path)
    run.perform("judge", {}, {}, 42, "", lambda stage: write_table(to_table(rows, QA_SCHEMA), stage.path("qa.parquet")))
    manifest, _ = run.perform("compose", {}, {}, 42, "", lambda stage: compose(Job(recipe, pack, run, stage)))
    card = (run.folder("compose") / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["pretty_name"] == name
    assert manifest.facts["licences"] == ["CC BY 4.0", "사내"]
    assert "이용 조건: CC BY 4.0; 사내." in card
