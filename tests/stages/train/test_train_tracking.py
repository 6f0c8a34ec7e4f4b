"""Trackers: the seed's project and run, the same run after a resume, and never a reason to stop."""

import os
import sys
from types import SimpleNamespace

import pytest
from tiny_run import compose, make_recipe, train_job

from mnatune.runs.errors import EnvironmentFault
from mnatune.runs.recipe import TrainSection
from mnatune.stages.train import tracking, train
from mnatune.stages.train.tracking import prepare_tracker, wandb_ready

WANDB = TrainSection(tracking="wandb", track_as="deals/first")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith(("WANDB_", "TRACKIO_", "TENSORBOARD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    kept = dict(os.environ)
    yield
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]


@pytest.fixture
def opened(monkeypatch):
    """A stand-in for the wandb package; `broken` modes raise."""
    calls, broken = [], set()

    def init(**options):
        calls.append(options)
        if options["mode"] in broken:
            raise RuntimeError("the server said no\nand more")

    stub = SimpleNamespace(init=init, Settings=lambda **options: options)
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: object())
    return SimpleNamespace(calls=calls, broken=broken)


def test_without_a_login_the_run_is_offline_and_keeps_its_id(opened, tmp_path) -> None:
    for _ in range(2):
        assert prepare_tracker(WANDB, tmp_path / "state") == ["wandb"]
    first, second = opened.calls
    assert (first["mode"], first["project"], first["name"]) == (
        "offline",
        "deals",
        "first",
    )
    assert first["id"] == second["id"]
    assert first["resume"] == "allow"


def test_a_server_that_refuses_is_no_reason_to_stop(opened, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(tracking, "wandb_ready", lambda: True)
    opened.broken |= {"online"}
    assert prepare_tracker(WANDB, tmp_path / "state") == ["wandb"]
    assert [call["mode"] for call in opened.calls] == ["online", "offline"]
    assert "the server said no" in caplog.text
    opened.broken |= {"offline", "disabled"}
    assert prepare_tracker(WANDB, tmp_path / "state") == []


def test_a_key_without_a_network_is_not_ready(monkeypatch) -> None:
    assert not wandb_ready()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens on the discard port
    assert not wandb_ready()


def test_only_one_process_reports(opened, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert prepare_tracker(WANDB, tmp_path / "state") == []
    assert opened.calls == []


def test_a_tracker_that_is_not_installed_is_named_before_training(tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    run = compose(tmp_path, rows=8)
    with pytest.raises(EnvironmentFault, match="'tensorboard', which is not installed") as missing:
        train(train_job(make_recipe(tiny_model, tracking="tensorboard"), run))
    assert missing.value.next_step == "pip install 'mnatune[tracking]'"
    assert not (run.folder("train") / "metrics.jsonl").exists()
