"""A second field is a second folder: its pack passes every check, and the recipe that docs/pack.md shows for it loads."""

import re
from pathlib import Path

from mnatune.pack import Pack
from mnatune.pack.check import check
from mnatune.runs.recipe import load_recipe
from mnatune.stages.curate.rules import Drops
from mnatune.stages.read.fieldmap import FieldMap

DOCS = Path(__file__).parents[2] / "docs/pack.md"


def test_the_second_pack_passes_and_has_what_the_page_says():
    outcomes, data = check(Pack.load("inheritance_ko"), {"drops.yaml": Drops, "maps/*.yaml": FieldMap})
    assert {outcome.name: outcome.failures for outcome in outcomes if outcome.failures} == {}
    page = DOCS.read_text(encoding="utf-8")
    stated = re.search(
        r"질문과 답변 (\d+)행, 사지선다 (\d+)문항, 서술형 (\d+)문항, 거짓 전제 (\d+)문항, 용어 (\d+)개", page
    )
    held = (data.qa, data.choice, data.essay, data.false_premise, data.glossary)
    assert stated is not None
    assert tuple(map(int, stated.groups())) == tuple(map(len, held))


def test_ten_lines_are_a_recipe_for_it(tmp_path):
    block = re.search(r"```yaml\n(name: 상속·증여\n.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    path = tmp_path / "inheritance.yaml"
    path.write_text(block[1], encoding="utf-8")
    assert len(block[1].splitlines()) <= 10
    assert load_recipe(path).pack == "inheritance_ko"
