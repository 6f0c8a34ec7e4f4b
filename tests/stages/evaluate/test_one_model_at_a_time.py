"""Whoever loads a model gives it back: never two at once, none afterwards."""

import gc
import weakref
from pathlib import Path

import pytest

from mnatune.model import load
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.export import Subject, check_merged, dialogues, merge
from mnatune.pack import Pack
from mnatune.runs.recipe import Recipe
from mnatune.stages.evaluate import evaluate
from mnatune.stages.evaluate.compare import Home, adapter_sheet


class Loads:
    """Every base that was loaded, and how many were alive when one was."""

    def __init__(self) -> None:
        self.models: list[weakref.ref] = []
        self.alive_before: list[int] = []

    def alive(self) -> int:
        return sum(ref() is not None for ref in self.models)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    seen, really = Loads(), load.load_base

    def counted(*arguments, **options):
        seen.alive_before.append(seen.alive())
        model = really(*arguments, **options)
        seen.models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(load, "load_base", counted)
    monkeypatch.setattr("mnatune.model.export.merged.load_base", counted)
    return seen


def test_closing_an_engine_gives_the_model_back_without_the_collector(
    tiny: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
    gc.disable()
    try:
        with open_engine(str(tiny / "base"), {"tuned": tiny / "adapter"}) as engine:
            engine.answers(
                [
                    Task(name, Sampling(max_tokens=2), [{"role": "user", "content": "합병"}])
                    for name in ("tuned", "base")
                ]
            )
            assert loads.alive() == 1
        assert loads.alive() == 0
    finally:
        gc.enable()


def test_evaluation_loads_one_base_and_leaves_none(
    tmp_path: Path, trained, perform, recipe: Recipe, loads: Loads
) -> None:
    run = trained(tmp_path / "run")
    perform(run, recipe, evaluate)
    assert (loads.alive_before, loads.alive()) == ([0], 0)
    adapter_sheet(Home(run, recipe), run.require("train", "adapter"), tmp_path / "current.json")
    assert (loads.alive_before, loads.alive()) == ([0, 0], 0)
    adapter_sheet(Home(run, recipe), run.require("train", "adapter"), tmp_path / "current.json")
    assert len(loads.models) == 2, "the same adapter is asked once"


def test_a_checked_merge_never_holds_two_models(
    tmp_path: Path, tiny: Path, recipe: Recipe, pack: Pack, loads: Loads
) -> None:
    subject = Subject("tiny-tuned", tiny / "adapter", recipe)
    merge(subject, tmp_path / "merged", lambda folder: check_merged(subject, folder, dialogues(pack, 4)[:1]))
    assert loads.alive_before == [0] * len(loads.alive_before)
    assert len(loads.models) >= 3
    assert loads.alive() == 0
