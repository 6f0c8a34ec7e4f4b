"""The report's table of what the models give away, where it was measured."""

import json
from pathlib import Path

from fake_run import FakeRun

from mnatune.reports import report

SIDES = {"base": 0, "tuned": 0}


def level(n: int, out: int, auc: float | None) -> dict:
    sides = {"base": 0, "tuned": out}
    row = {
        "n": n,
        "exposure": {"base": 1.4, "tuned": 3.25},
        "kinds": {"number": 1.0},
        "extracted": {way: dict.fromkeys(("question", "opening", "half"), sides) for way in ("greedy", "sampled")},
    }
    value = {"value": auc, "low": auc, "high": auc}
    return row if auc is None else row | {"auc": {"base": value, "tuned": value}}


def test_what_was_measured_is_shown(fake: FakeRun) -> None:
    run = fake.build()
    assert "학습 자료를 내놓는가" not in report(run).read_text(encoding="utf-8")
    path: Path = run.folder("evaluate") / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    runs = {model: {"longest": 17, "median": 4, "n": 20} for model in ("base", "tuned")}
    metrics["privacy"] = {
        "bits": 6.0,
        "levels": {"0": level(9, 0, None), "16": level(9, 5, 0.97)},
        "extracted_once": [],
        "verbatim": {"train": runs, "held_out": runs},
        "masked": {"rows": 0, **SIDES},
    }
    path.write_text(json.dumps(metrics), encoding="utf-8")
    page = report(run).read_text(encoding="utf-8")
    for told in ("학습 자료를 내놓는가", "비밀 64개", "0.97 / 0.97 (0.97–0.97)", "0 / 5", "17 / 17", "재지 않았습니다"):
        assert told in page
