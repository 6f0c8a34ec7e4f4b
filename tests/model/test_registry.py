"""The registry: promotion by verdict, rollback, verified weights, and a pointer that is always whole."""

import json
import threading
from pathlib import Path

import pytest

from mnatune.model.registry import Lineage, Registry
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.workspace import Run


def adapter(folder: Path, weights: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


def better(**more):
    return Lineage(base="starter", verdict={"verdict": "promote"}, **more)


def test_the_run_is_found_again_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(Path("runs/x"))
    run.perform("train", {}, {}, 0, "", lambda place: adapter(place.path("adapter"), b"w") and None)
    assert Lineage.of_run(run).run == str(tmp_path / "runs" / "x")


def test_before_the_first_promotion_the_base_serves(registry):
    assert registry.production() is None
    assert registry.models() == []
    with pytest.raises(UsageError, match="nothing to roll back"):
        registry.rollback()


def test_promote_and_roll_back_to_each_earlier_model(registry, tmp_path):
    first = registry.register(adapter(tmp_path / "a", b"first"), better())
    second = registry.register(adapter(tmp_path / "b", b"second"), better(parent=first.name))
    registry.promote(first.name)
    registry.promote(second.name)
    assert registry.production() == second
    assert registry.rollback() == first
    assert registry.production() == first
    assert registry.rollback() is None
    assert registry.production() is None
    told = [(e["action"], e["model"]) for e in registry.history()]
    assert told[2:4] == [("promote", first.name), ("promote", second.name)]
    assert told[4:] == [("rollback", first.name), ("rollback", "")]


def test_promoting_what_serves_already_changes_nothing(registry, tmp_path):
    model = registry.register(adapter(tmp_path / "a", b"w"), better())
    registry.promote(model.name)
    before = registry.pointer_path.read_bytes()
    registry.promote(model.name)
    assert registry.pointer_path.read_bytes() == before


@pytest.mark.parametrize("verdict", [{}, {"verdict": "hold"}, {"verdict": "reject"}])
def test_a_model_without_a_good_verdict_needs_a_reason(registry, tmp_path, verdict):
    model = registry.register(adapter(tmp_path / "a", b"w"), Lineage(verdict=verdict))
    with pytest.raises(UsageError, match="verdict"):
        registry.promote(model.name)
    assert registry.production() is None
    registry.promote(model.name, override="시험 운영")
    assert registry.history()[-1]["reason"] == "시험 운영"


def test_changed_weights_are_refused(registry, tmp_path):
    model = registry.register(adapter(tmp_path / "a", b"good"), better())
    registry.promote(model.name)
    (model.adapter / "adapter_model.safetensors").write_bytes(b"evil")
    with pytest.raises(DataError, match="not those that were registered"):
        registry.production()


def test_pickled_weights_never_enter(registry, tmp_path):
    folder = adapter(tmp_path / "a", b"w")
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match="pickled"):
        registry.register(folder, better())


def test_the_registry_survives_the_loss_of_the_run(registry, tmp_path):
    folder = adapter(tmp_path / "run", b"w")
    items = tmp_path / "items.jsonl"
    items.write_text('{"feedback": "f1", "row": "r1"}\n')
    model = registry.register(folder, better(run=str(folder)), feedback_items=items)
    for file in folder.iterdir():
        file.unlink()
    registry.promote(model.name[:6])
    assert (registry.production().adapter / "adapter_model.safetensors").read_bytes() == b"w"
    assert (registry.root / model.name / "feedback.jsonl").read_text() == items.read_text()


def test_the_pointer_is_whole_at_every_moment(registry, tmp_path):
    models = [registry.register(adapter(tmp_path / n, n.encode()), better()) for n in "ab"]
    registry.promote(models[0].name)
    faults, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            try:
                registry.pointer  # noqa: B018
            except DataError as error:
                faults.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):
        for model in models:
            registry.promote(model.name)
    stop.set()
    watcher.join()
    assert not faults
    assert len(registry.pointer.previous) == 100


def test_damage_is_told(registry):
    registry.root.mkdir()
    registry.pointer_path.write_text(json.dumps({"model": "x"}))
    with pytest.raises(DataError, match="damaged"):
        registry.production()
