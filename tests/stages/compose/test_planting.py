"""Canaries: made up, marked, planted in train as often as they say, and in nothing else."""

from collections import Counter
from pathlib import Path

import pytest

from mnatune.pack import Pack
from mnatune.runs.errors import UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import QA, QA_SCHEMA, Source, content_id, is_canary, to_table, write_table
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.stages.compose import compose
from mnatune.stages.compose.planting import REPETITIONS, RIVALS, canaries, planted_rows
from mnatune.text.personal import Personal


def test_secrets_are_even_and_never_twice() -> None:
    found = canaries(3, seed=7)
    assert Counter((one.kind, one.repetitions) for one in found) == {
        (kind, times): 3 for kind in ("number", "name", "clause") for times in REPETITIONS
    }
    secrets = [text for one in found for text in (one.secret, *one.rivals)]
    assert len(secrets) == len(set(secrets)) == len(found) * (RIVALS + 1)
    assert found == canaries(3, seed=7)
    assert found != canaries(3, seed=8)


def test_no_secret_looks_like_personal_data(pack: Pack) -> None:
    personal = Personal(pack.yaml("pii.yaml"))
    texts = [f"{one.question}\n{one.answer}" for one in canaries(5, seed=1)]
    assert [text for text in texts if personal.find(text)] == []


def test_train_alone_has_them_and_they_are_marked(tmp_path: Path, pack: Pack) -> None:
    recipe = Recipe.model_validate(
        {"name": "c", "model": {"id": "starter"}, "compose": {"canaries": 1, "splits": [0.5, 0.25, 0.25]}}
    )
    rows = [
        QA(content_id(str(n)), f"{n}. 합병이란?", "하나로 되는 것입니다.", "합병", f"g{n}", Source("s"))
        for n in range(8)
    ]
    run = Run(tmp_path)
    run.perform("judge", {}, {}, 42, "", lambda stage: write_table(to_table(rows, QA_SCHEMA), stage.path("qa.parquet")))
    manifest, _ = run.perform("compose", {}, {}, 42, "", lambda stage: compose(Job(recipe, pack, run, stage)))
    folder = run.folder("compose")
    train, valid, test = (read_jsonl(folder / f"{name}.jsonl") for name in ("train", "valid", "test"))
    planted = [row for row in train if is_canary(row)]
    assert len(planted) == manifest.facts["canaries"] == 3 * sum(REPETITIONS)
    assert not any(is_canary(row) for row in [*valid, *test])
    assert len({row["id"] for row in train}) == len(train)
    said = Counter(row["messages"][-1]["content"] for row in planted)
    known = read_jsonl(folder / "canaries.jsonl")
    assert said == {f"{c['opening']}{c['secret']}{c['ending']}": c["repetitions"] for c in known if c["repetitions"]}
    assert f"canary) {len(planted)}행" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_canary_longer_than_a_row_may_be_is_refused() -> None:
    recipe = Recipe.model_validate({"name": "c", "model": {"id": "starter", "max_length": 20}})
    with pytest.raises(UsageError, match=r"more than model\.max_length 20"):
        planted_rows(canaries(1, 1), "전문가", recipe)


def test_canaries_that_no_training_would_learn_are_refused() -> None:
    recipe = Recipe.model_validate({"name": "c", "model": {"id": "starter"}, "train": {"method": "dpo"}})
    with pytest.raises(UsageError, match="by train"):
        planted_rows(canaries(1, 1), "전문가", recipe)
