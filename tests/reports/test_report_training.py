"""The training section shows what the method measures."""

import json

from mnatune.reports.training import training
from mnatune.runs.workspace import Manifest, Run, Stage

HELD_OUT = {
    "questions": 48,
    "before": {"reward": 0.412},
    "after": {"reward": 0.379},
    "fallen": ["citation_exists"],
}


def shown(root, method: str, lines: list[dict], facts: dict):
    run = Run(root)
    folder = run.folder("train")
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    manifest = Manifest("train", "key", {"train": {"method": method, "r": 8, "alpha": 32}, "model": {}}, {}, 1)
    manifest.facts |= facts
    Stage(folder, manifest).finish(1.0)
    found = training(run)
    assert found is not None
    return found


def test_rewards_have_their_curves_and_the_stop_its_reason(tmp_path) -> None:
    line = {"loss": 0.1, "reward": 1.4, "reward_std": 0.3, "kl": 0.01, "rewards/ends/mean": 0.7, "rewards/margins": 1.0}
    lines = [{"step": step, "num_tokens": 10 * step, "seconds": step, **line} for step in (1, 2)]
    found = shown(tmp_path, "grpo", lines, {"held_out": HELD_OUT, "plan": {"generated": 4_000, "tokens": 10}})
    ids = [chart.caption.id for chart in found.curves]
    assert {"curve-reward", "curve-kl", "curve-rewards-ends-mean"} <= set(ids)
    assert "curve-rewards-margins" not in ids, "that is another method's figure"
    assert found.settings["방법"].startswith("GRPO(검증되는 보상으로 배움)")
    assert found.settings["보류 질문의 보상"] == "0.412 → 0.379 (48문항)"
    assert found.settings["멈춘 까닭"] == "지켜야 할 지표가 떨어짐: 있는 조문"
    assert any("스스로 쓴 답변" in measure.note for measure in found.measures)


def test_preferences_have_theirs(tmp_path) -> None:
    lines = [{"step": 1, "loss": 0.6, "num_tokens": 9, "seconds": 1, "rewards/accuracies": 0.7, "rewards/margins": 0.2}]
    found = shown(tmp_path, "dpo", lines, {})
    assert {"curve-rewards-accuracies", "curve-rewards-margins"} <= {chart.caption.id for chart in found.curves}
    assert "보류 질문의 보상" not in found.settings


def test_what_was_known_before_it_was_taught_is_told(tmp_path) -> None:
    facts = {"known": 30, "unknown": 120, "unchecked": 7, "rows": 508, "others": 500, "share": 0.504}
    line = {"step": 1, "loss": 0.6, "num_tokens": 9, "seconds": 1}
    found = shown(tmp_path, "distill", [line], {"facts": facts, "plan": {"tokens": 10, "read": 610_000}})
    assert found.settings["글 속의 사실"] == "모름 120 · 앎 30(가르치지 않음) · 확인할 값이 없음 7"
    assert found.settings["가르친 행"] == "글이 딸린 행 508 (50%) · 그 밖의 행 500"
    assert found.settings["방법"].startswith("DISTILL(글을 보고 한 답을 글 없이 배움)")
    assert any(measure.note == "교사가 글과 함께 읽는 것은 따로 61만" for measure in found.measures)
