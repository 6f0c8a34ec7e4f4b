"""A sweep does what is common once, continues where it was stopped, and corrects for the number of runs."""

import json
from pathlib import Path

import pytest

from mnatune.runs import journey
from mnatune.runs.errors import UsageError
from mnatune.runs.recipe import load_recipe
from mnatune.runs.stage_folder import BEGUN, MANIFEST
from mnatune.runs.workspace import Run, Stage, write_jsonl
from mnatune.service.sweep import combinations, is_difference, results, shared_stages, sweep, sweep_text

RANKS = ["train.r=4,8,16"]


def test_every_combination_is_a_run_of_its_own() -> None:
    runs = combinations("quickstart", ["seed=7"], ["train.r=8,16", "train.learning_rate=1e-4,3e-4,1e-3"])
    assert [one.name for one in runs] == [
        f"r={r},learning_rate={rate}" for r in (8, 16) for rate in ("0.0001", "0.0003", "0.001")
    ]
    assert [(one.recipe.train.r, one.recipe.train.learning_rate) for one in runs][1] == (8, 3e-4)
    assert {one.recipe.seed for one in runs} == {7}
    nested = combinations("quickstart", [], ["train.lora={use_dora: true},{use_rslora: true}"])
    assert [one.recipe.train.lora.use_dora for one in nested] == [True, False]
    assert all(set(one.name).isdisjoint("/{}: ") for one in nested)
    alike = combinations("quickstart", [], [f"train.from_adapter={'long/' * 20}a,{'long/' * 20}b"])
    assert alike[0].name != alike[1].name


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ([], "for one key or several"),
        (["train.r=8"], "takes section.key=VALUE,VALUE"),
        (["train.r"], "takes section.key=VALUE,VALUE"),
        (["train.r=8,8"], "two combinations are the same"),
        (["train.r=8,,16"], "takes section.key=VALUE,VALUE"),
        (["train.r=4,8", "train.r=16,32"], "each once"),
        (["train.rank=4,8"], "did you mean 'r'"),
    ],
)
def test_what_is_no_grid_is_refused(over, told) -> None:
    with pytest.raises(UsageError, match=told):
        combinations("quickstart", [], over)


@pytest.mark.parametrize(
    ("over", "common"),
    [
        ("train.r=4,8", ["read", "curate", "judge", "compose"]),
        ("compose.general={},{pack:general: 0.1}", ["read", "curate", "judge"]),
        ("judge.keep_above=20,30", ["read", "curate"]),
        ("generation.repetition_penalty=1.0,1.5", ["read", "curate", "judge", "compose", "train"]),
        ("evaluate.items=4,8", ["read", "curate", "judge", "compose", "train"]),
        ("seed=1,2", []),
        ("pack=mna_ko,inheritance_ko", []),
    ],
)
def test_what_comes_before_the_first_difference_is_common(over, common) -> None:
    assert shared_stages(combinations("quickstart", [], [over])) == common


def test_a_method_that_has_the_model_answer_depends_on_how_it_answers() -> None:
    runs = combinations("quickstart", ["train.method=distill"], ["generation.repetition_penalty=1.0,1.5"])
    assert shared_stages(runs) == ["read", "curate", "judge", "compose"]


@pytest.fixture
def done(monkeypatch):
    """Stages that write a file and are quick; a list of (run, stage) as they are done."""
    done: list[tuple[str, str]] = []

    def work_of(stage: str):
        def work(job) -> None:
            done.append((job.run.root.name, stage))
            job.path("made.txt").write_text(f"{stage} {job.recipe.seed}", encoding="utf-8")
            if stage == "train":
                job.manifest.facts |= {"measured": {"seconds": 1.0, "tokens": 10}, "saved": {"eval_loss": 2.0}}
            if stage == "evaluate":
                _evaluated(job.stage, job.recipe.train.r)

        return work

    monkeypatch.setattr(journey, "_function_of", work_of)
    monkeypatch.setattr(journey, "report", lambda out: Path())
    return done


def _evaluated(stage: Stage, rank: int) -> None:
    """60 questions of which a rank of 16 answers all, and any other rank every second one."""
    rows = [
        {
            "id": str(n), "reference": "r", "category": "c", "group": str(n),
            "metrics": {"tuned": {"citation_f1": 100.0 * (rank == 16 or n % 2)}, "base": {"citation_f1": 0.0}},
        }
        for n in range(60)
    ]  # fmt: skip
    write_jsonl(stage.path("answers.jsonl"), rows)
    write_jsonl(stage.path("exam.jsonl"), [])
    stage.manifest.facts["verdict"] = "hold"


def test_common_stages_are_done_once_and_verified_in_every_run(done, tmp_path) -> None:
    runs = combinations("quickstart", ["evaluate.primary=citation_f1"], RANKS)
    told: list[str] = []
    found = sweep(runs, tmp_path, told.append, lambda *stage: None)
    assert told == ["shared", "r=4", "r=8", "r=16"]
    common = ["read", "curate", "judge", "compose"]
    assert done == [
        *(("shared", stage) for stage in common),
        *((name, stage) for name in told[1:] for stage in ("train", "evaluate")),
    ]
    made = [Run(tmp_path / name).folder("compose") / "made.txt" for name in told]
    assert len({path.stat().st_ino for path in made}) == 1, "one file on disk"
    assert [one["differs"] for one in found["runs"]] == [False, False, True]
    assert found["runs"][2]["primary"]["value"] == 100
    assert found["runs"][2]["difference"]["value"] == 50
    assert json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8")) == found
    assert "r=16" in (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert sweep_text(found).count("*") == 2

    done.clear()
    sweep(runs, tmp_path, told.append, lambda *stage: None)
    assert done == [], "all is done"
    stopped = Run(tmp_path / "r=8").folder("evaluate")
    (stopped / MANIFEST).unlink()
    (stopped / BEGUN).touch()
    changed = Run(tmp_path / "r=4").folder("compose") / "made.txt"
    changed.unlink()
    changed.write_text("something else", encoding="utf-8")
    sweep(runs, tmp_path, told.append, lambda *stage: None)
    assert ("r=8", "evaluate") in done
    assert ("r=4", "compose") in done, "a file that is not what was shared is not taken"
    assert ("r=16", "train") not in done
    assert made[0].read_text(encoding="utf-8") == "compose 42"


def test_p_is_corrected_for_the_number_of_runs(done, tmp_path) -> None:
    runs = combinations("quickstart", ["evaluate.primary=citation_f1"], RANKS)
    difference = {"value": 5.0, "low": 0.1, "high": 9.9, "p": 0.03}
    row = {"name": "citation_f1", "base": {"value": 1.0}, "tuned": {"value": 6.0}, "difference": difference}
    found = results(runs, tmp_path, [{"metrics": [row]}] * 2)
    assert [one["difference"] and one["difference"]["p_holm"] for one in found] == [None, 0.06, 0.06]
    assert not any(one["differs"] for one in found), "0.03 alone would have been below 5 %"
    assert results(runs[:2], tmp_path, [{"metrics": [row]}])[1]["differs"]
    assert not is_difference({**difference, "low": -0.1, "p_holm": 0.01})
    assert results(runs, tmp_path, [{"metrics": []}] * 2)[2]["primary"] is None
    assert load_recipe("quickstart").evaluate.primary == "domain"
