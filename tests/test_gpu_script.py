"""bench/gpu.py on a CPU and a tiny model: every part gives figures, and a second run does only what failed."""

import json

import pytest

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'mnatune[quantize]'")


def test_every_part_runs_on_a_tiny_model(gpu, tmp_path) -> None:
    """Without `resume`, whose proof has tests of its own."""
    found = {name: part() for name, part in gpu.parts(tmp_path, tiny=True).items() if name != "resume"}
    for name in ("train-bf16", "train-nf4", "answer-bf16", "answer-nf4"):
        assert found[name]["tokens_per_second"] > 0
        assert found[name]["planned_gib"] > 0
    assert found["serve"]["errors"] == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert gpu.machine()["peak_gib"] > 0


def test_a_second_run_does_only_what_failed(gpu, tmp_path, monkeypatch) -> None:
    done, out = [], tmp_path / "gpu.json"

    def in_own_process(name, place, *, tiny):
        done.append(name)
        return {"error": "no memory"} if len(done) == 2 else {"seconds": 1.0, "device": "a card"}

    monkeypatch.setattr(gpu, "in_own_process", in_own_process)
    gpu.measure(out, tmp_path, tiny=True)
    assert done == list(gpu.parts(tmp_path, tiny=True))
    failed = done[1]
    done.clear()
    report = gpu.measure(out, tmp_path, tiny=True)
    assert done == [failed]
    assert json.loads(out.read_text(encoding="utf-8")) == report
    assert report["device"] == "a card"
    assert not any("error" in part for part in report["ours"].values())
