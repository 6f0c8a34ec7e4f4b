"""After a training no model is alive, however it ended; the garbage collector is switched off to see it."""

import gc
import os
import signal
import weakref

import pytest
import torch
from tiny_run import copy_run, make_recipe, train_job
from transformers import TrainerCallback

from mnatune.runs.errors import EnvironmentFault, Interrupted
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train import loop, train

PAIR = {
    "prompt": [{"role": "user", "content": "실사란?"}],
    "chosen": [{"role": "assistant", "content": "인수 전에 대상 회사를 조사하는 절차입니다."}],
    "rejected": [{"role": "assistant", "content": "모릅니다."}],
}


@pytest.fixture
def loaded(monkeypatch):
    """Weak references to every base that is loaded; nothing is collected while they are looked at."""
    found, load = [], loop.load_base

    def watched(*args, **options):
        model = load(*args, **options)
        found.extend((weakref.ref(model), weakref.ref(model.lm_head), weakref.ref(model.model.layers[0].mlp.up_proj)))
        return model

    gc.collect()
    gc.disable()
    monkeypatch.setattr(gc, "collect", lambda *args: 0)
    monkeypatch.setattr(loop, "load_base", watched)
    yield found
    gc.enable()


def alive(found) -> list:
    assert found, "nothing was loaded"
    return [type(reference()).__name__ for reference in found if reference() is not None]


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "grpo"])
def test_no_model_is_alive_after_training(whole, tiny_model, tmp_path, loaded, method) -> None:
    run = copy_run(whole[0], tmp_path)
    write_jsonl(run.folder("compose") / "preferences.jsonl", [PAIR] * 8)
    start = None if method == "sft" else str(whole[0].folder("train") / "adapter")
    options = {"answer_tokens": 8} if method == "grpo" else {}
    train(train_job(make_recipe(tiny_model, method=method, from_adapter=start, options=options, epochs=0.1), run))
    assert alive(loaded) == []


def full() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")


@pytest.mark.parametrize(
    ("harm", "error"),
    [(full, EnvironmentFault), (lambda: 1 // 0, ZeroDivisionError), (lambda: os.kill(os.getpid(), 15), Interrupted)],
    ids=["memory", "bug", "signal"],
)
def test_no_model_is_alive_after_a_failure(whole, recipe, tmp_path, loaded, monkeypatch, harm, error) -> None:
    class Harm(TrainerCallback):
        def on_step_begin(self, *args, **kwargs) -> None:
            harm()

    former = loop.run_trainer

    def run_trainer(job, trainer, *args) -> None:
        trainer.add_callback(Harm())
        former(job, trainer, *args)

    monkeypatch.setattr(loop, "run_trainer", run_trainer)
    with pytest.raises(error) as raised:
        train(train_job(recipe, copy_run(whole[0], tmp_path)))
    assert alive(loaded) == []
    assert raised.value is not None
    if error is EnvironmentFault:
        assert str(raised.value).startswith("the GPU's memory is full: training")
        assert "train.memory_gb" in raised.value.next_step
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
