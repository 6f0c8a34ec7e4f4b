"""DPO and KTO on a few rows, from a supervised adapter, through the same checkpoints."""

import json
import os
import signal

import pytest
from tiny_run import TERMS, adapter_bytes, compose, copy_run, curve, make_recipe, messages, train_job
from transformers import TrainerCallback

from mnatune.runs.errors import DataError, Interrupted, UsageError
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train import loop, train
from mnatune.stages.train.methods.dpo import DPO_FORM
from mnatune.stages.train.methods.kto import KTO_FORM, balance
from mnatune.stages.train.preference_rows import preferences


def pair(number: int, margin: int = 1) -> dict:
    worse = [{"role": "assistant", "content": f"{TERMS[number % 8]}은 잘 모릅니다."}]
    dialogue = messages(number)
    return {"id": str(number), "prompt": dialogue[:2], "chosen": dialogue[2:], "rejected": worse, "margin": margin}


def thumb(number: int) -> dict:
    dialogue = messages(number)
    return {"id": str(number), "prompt": dialogue[:2], "completion": dialogue[2:], "label": number % 3 != 0}


@pytest.fixture
def run(tmp_path):
    made = compose(tmp_path / "run", rows=8)
    write_jsonl(made.folder("compose") / "preferences.jsonl", [pair(n, 1 + n % 2) for n in range(16)])
    return made


def from_whole(whole) -> str:
    return str(whole[0].folder("train") / "adapter")


def test_dpo_learns_to_prefer(whole, tiny_model, run) -> None:
    recipe = make_recipe(
        tiny_model, method="dpo", from_adapter=from_whole(whole), rows_per_step=4, log_every=1, checkpoint_every=1
    )
    job = train_job(recipe, run)
    train(job)
    lines = curve(run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "the reference is the adapter at the start"
    assert lines[-1]["loss"] < 0.65
    rows = (run.folder("train") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rows[-1])["rewards/accuracies"] == 1.0
    assert adapter_bytes(run) != whole[1]
    config = json.loads((run.folder("train") / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert job.manifest.rows_out == 16
    # what is saved is the trained adapter, not the reference beside it
    assert sorted(p.name for p in (run.folder("train") / "adapter").iterdir() if p.suffix == ".safetensors") == [
        "adapter_model.safetensors"
    ]


def test_kto_on_thumbs(whole, tiny_model, run, tmp_path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    write_jsonl(export / "unpaired.jsonl", [thumb(n) for n in range(8)])
    recipe = make_recipe(
        tiny_model,
        method="kto",
        from_adapter=from_whole(whole),
        options={"rows": str(export)},
        rows_per_step=4,
        log_every=1,
        checkpoint_every=1,
    )
    job = train_job(recipe, run)
    train(job)
    assert [line["step"] for line in curve(run)] == [1, 2]
    assert adapter_bytes(run) != whole[1]
    assert (job.manifest.facts["desirable_weight"], job.manifest.facts["undesirable_weight"]) == (1.0, 1.6667)


@pytest.mark.parametrize(("wanted", "unwanted"), [(5, 3), (1, 30), (7, 7), (40, 2)])
def test_both_kinds_of_thumbs_count_alike(wanted, unwanted) -> None:
    weights = balance([True] * wanted + [False] * unwanted)
    assert min(weights.values()) == 1.0
    assert weights["desirable_weight"] * wanted == pytest.approx(weights["undesirable_weight"] * unwanted, rel=1e-3)


def test_thumbs_of_one_kind_are_not_weighted() -> None:
    assert set(balance([False] * 9).values()) == {1.0}


def test_pairs_come_apart_for_kto_and_are_filtered_by_margin(run) -> None:
    path = run.folder("compose") / "preferences.jsonl"
    assert len(list(preferences(path, DPO_FORM))) == 16
    assert all(row["margin"] == 2 for row in preferences(path, DPO_FORM, margin=2))
    write_jsonl(path, [pair(1), {**pair(1), "rejected": [{"role": "assistant", "content": "다른 답"}]}])
    apart = list(preferences(path, KTO_FORM))
    assert [row["label"] for row in apart] == [True, False, False]


def test_what_preference_training_refuses(whole, tiny_model, run) -> None:
    adapter = from_whole(whole)
    with pytest.raises(UsageError, match="starts from a supervised adapter"):
        train(train_job(make_recipe(tiny_model, method="dpo"), run))
    one = make_recipe(tiny_model, method="kto", from_adapter=adapter, rows_per_step=1)
    with pytest.raises(UsageError, match="cannot be computed 2 at a time"):
        train(train_job(one, run))
    with pytest.raises(DataError, match="no preference to train on"):
        train(train_job(make_recipe(tiny_model, method="dpo", from_adapter=adapter, options={"margin": 9}), run))
    (run.folder("compose") / "preferences.jsonl").write_text('{"prompt": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"preferences\.jsonl:1"):
        train(train_job(make_recipe(tiny_model, method="dpo", from_adapter=adapter), run))
    (run.folder("compose") / "preferences.jsonl").unlink()
    with pytest.raises(DataError, match="nothing to prefer"):
        train(train_job(make_recipe(tiny_model, method="dpo", from_adapter=adapter), run))


class Term(TrainerCallback):
    """SIGTERM in the third step."""

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_resumed_training_equals_the_whole_one(whole, tiny_model, run, tmp_path, monkeypatch, method) -> None:
    values = {"from_adapter": from_whole(whole), "rows_per_step": 4, "log_every": 1, "checkpoint_every": 1}
    recipe = make_recipe(tiny_model, method=method, **values)
    other = copy_run(run, tmp_path / "other")
    train(train_job(recipe, run))
    former = loop.run_trainer

    def killed(job, trainer, *args) -> None:
        trainer.add_callback(Term())
        former(job, trainer, *args)

    monkeypatch.setattr(loop, "run_trainer", killed)
    with pytest.raises(Interrupted):
        train(train_job(recipe, other))
    monkeypatch.undo()
    train(train_job(recipe, other))
    assert adapter_bytes(other) == adapter_bytes(run)
    assert curve(other) == curve(run)
