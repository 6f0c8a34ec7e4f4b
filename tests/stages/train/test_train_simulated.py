"""The plan against a simulated step of Qwen3-8B's width, on a few layers, so that it takes seconds."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("bitsandbytes")
sys.path.append(str(Path(__file__).parents[3] / "bench"))


@pytest.mark.parametrize("name", ["8b 8x384", "8b 8x384 checkpointing dropout", "8b nf4 8x384 dropout"])
def test_plan_and_simulation_agree(name) -> None:
    from simulated import CASES, simulate

    assert simulate(replace(CASES[name], layers=2))["ratio"] == pytest.approx(1, abs=0.03)
