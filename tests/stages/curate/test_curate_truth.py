"""From an archive in the layout of AI Hub 71748 to the funnel: every count equals what was put in."""

import json
import random
import zipfile
from pathlib import Path

import pytest
from korean import row

from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, bundled
from mnatune.runs.workspace import Run
from mnatune.stages.curate import curate
from mnatune.stages.read import read

KEPT, LEFT_OUT = ("사회", "산업", "기타"), ("예체능", "종교", "보건")


def label(dice: random.Random, number: int, group: str, echo: bool) -> dict[str, object]:
    pair = row(dice)
    answer = f" {pair['question']} " if echo else pair["answer"]
    head = {"data_id": f"l{number}", "data_category": {"main": "문어체", "middle": group}, "question": pair["question"]}
    if number % 2:
        return {**head, "answer": {"contents": answer}}
    return {
        **head,
        "answer01": {"ranking": 2, "contents": "둘째 답입니다."},
        "answer02": {"ranking": 1, "contents": answer},
    }


def build(root: Path, dice: random.Random) -> dict[str, int]:
    """A tree of 300 corpus rows, 90 training labels with 12 echoes and 30 validation labels with 4."""
    truth = {
        "other": 0,
        "labels": 90,
        "echo": 12,
        "left_out": 0,
        "validation": 30,
        "validation_echo": 4,
        "validation_left_out": 0,
    }
    for folder in ("Other", "Training/02.라벨링데이터", "Validation/02.라벨링데이터"):
        (root / folder).mkdir(parents=True)
    with zipfile.ZipFile(root / "Other/Other.zip", "w") as archive:
        for member in range(10):
            documents = []
            for number in range(10):
                group = dice.choice(KEPT if number % 4 else LEFT_OUT)
                documents.append(
                    {
                        "data_id": f"d{member}-{number}",
                        "data_category": {"middle": group},
                        "contents": [{"QA": [row(dice) for _ in range(3)]}],
                    }
                )
                truth["other"] += 3
                truth["left_out"] += 3 * (group in LEFT_OUT)
            archive.writestr(f"/SL{member:03d}.json", json.dumps(documents))
        archive.writestr("/README.json", "{}")
    for folder, name, count, echoes, left_out in (
        ("Training", "TL_02.RLHF데이터.zip", 90, 12, "left_out"),
        ("Validation", "VL.zip", 30, 4, "validation_left_out"),
    ):
        rows = []
        for number in range(count):
            group = dice.choice(KEPT + LEFT_OUT)
            rows.append(label(dice, number, group, number < echoes))
            truth[left_out] += number >= echoes and group in LEFT_OUT
        with zipfile.ZipFile(root / folder / "02.라벨링데이터" / name, "w") as archive:
            for part, name_ in ((rows[: count // 3], "RMlabel"), (rows[count // 3 :], "SFTlabel")):
                archive.writestr(f"/{name_}.json", json.dumps({"dataset_info": {}, "data_info": part}))
    return truth


@pytest.mark.parametrize("seed", [1, 2])
def test_every_count_equals_the_truth(seed, tmp_path):
    truth = build(tmp_path / "hub", random.Random(seed))
    recipe = Recipe.model_validate(
        {"name": "test", "read": {"sources": [{"kind": "archive", "path": str(tmp_path / "hub")}]}}
    )
    run, pack = Run(tmp_path / "run"), Pack(bundled("packs") / "mna_ko")
    first, _ = run.perform("read", {}, {}, 42, "", lambda place: read(Job(recipe, pack, run, place)))
    second, _ = run.perform("curate", {}, {}, 42, "", lambda place: curate(Job(recipe, pack, run, place)))
    facts = first.per_source["aihub-71748"]
    assert facts["layout/corpus"] == truth["other"]
    assert facts["layout/labels"] == truth["labels"] + truth["validation"]
    assert facts["split/train"] == truth["other"] + truth["labels"]
    assert facts["split/valid"] == truth["validation"]
    assert facts["members_skipped"] == {"no question-answer records": 1}
    left = {split: {step["step"]: step["rows"] for step in steps} for split, steps in second.facts["funnel"].items()}
    assert left["train"]["echo"] == truth["other"] + truth["labels"] - truth["echo"]
    assert left["train"]["category"] == left["train"]["echo"] - truth["left_out"]
    assert left["valid"]["echo"] == truth["validation"] - truth["validation_echo"]
    assert left["valid"]["category"] == left["valid"]["echo"] - truth["validation_left_out"]
    assert second.rows_in == first.rows_out
    assert second.rows_out == second.rows_in - sum(second.dropped.values())
