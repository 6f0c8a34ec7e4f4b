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


def forge(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"lora_alpha": 3200}')


def swap(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"evil")


def add(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ evil }}")


def remove(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def relink(folder: Path) -> None:
    copy = (folder / "adapter_config.json").rename(folder.parents[2] / "elsewhere.json")
    (folder / "adapter_config.json").symlink_to(copy)


def rewrite_recipe(folder: Path) -> None:
    (folder.parent / "recipe.yaml").write_text("name: other")


@pytest.mark.parametrize("tamper", [forge, swap, add, remove, relink, rewrite_recipe])
def test_changed_files_are_refused(registry, tmp_path, tamper):
    recipe = tmp_path / "recipe.lock.yaml"
    recipe.write_text("name: x")
    source = adapter(tmp_path / "a", b"good")
    model = registry.register(source, better(), recipe=recipe)
    registry.promote(model.name)
    tamper(model.adapter)
    for act in (registry.production, lambda: registry.promote(model.name), lambda: registry.register(source, better())):
        with pytest.raises(DataError, match="not those that were registered"):
            act()


def test_other_settings_of_the_same_weights_are_another_model(registry, tmp_path):
    one = registry.register(adapter(tmp_path / "a", b"w"), better())
    (tmp_path / "a" / "adapter_config.json").write_text('{"lora_alpha": 64}')
    assert registry.register(tmp_path / "a", better()).name != one.name


@pytest.mark.parametrize("name", ["README.md", "mnatune.json", "adapter_config.json"])
def test_a_link_brings_no_file_of_this_machine_into_the_registry(registry, tmp_path, name):
    folder = adapter(tmp_path / "a", b"w")
    (tmp_path / "secret").write_text("{}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="link"):
        registry.register(folder, better())


@pytest.mark.parametrize(
    "config",
    [{"target_modules": "(a+)+$"}, {"target_modules": ["q_proj", "(.*)*x"]}, {"rank_pattern": {"^(a|a)*$": 8}}],
)
def test_a_pattern_that_may_run_for_ever_never_enters(registry, tmp_path, config):
    folder = adapter(tmp_path / "a", b"w")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="pattern"):
        registry.register(folder, better())
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(DataError, match="configuration"):
        registry.register(folder, better())
    (folder / "adapter_config.json").write_text(json.dumps({"target_modules": ["q_proj"], "rank_pattern": None}))
    registry.register(folder, better())


@pytest.mark.parametrize("text", ["", "[]", '{"lineage": 3}', '{"lineage": {}, "name": "x"}'])
def test_a_damaged_model_is_told(registry, tmp_path, text):
    model = registry.register(adapter(tmp_path / "a", b"w"), better())
    (model.adapter.parent / "model.json").write_text(text)
    with pytest.raises(DataError, match=r"model\.json"):
        registry.get(model.name)


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
