"""Whatever comes and goes beside it, a row sees what it would see alone: logits, not only tokens, are compared."""

import random

import pytest
import torch

from mnatune.model.engine import sampler
from mnatune.model.engine.lane import Lane
from mnatune.model.engine.lane_rows import LaneRow, Outgoing
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling
from mnatune.model.prompt import prompt_ids

OPENING = {"role": "system", "content": "당신은 금융과 법률, 인수합병 분야의 전문가입니다. 한국어로만 답변하세요. " * 2}
QUESTIONS = [
    "합병이란?",
    "주식매수청구권은 누가 언제까지 행사하나요? " * 4,
    "상법 제522조",
    "영업양수도와 주식양수도의 차이",
    "합병이란?",
    "분할",
]
LIMITS = [9, 3, 12, 7, 10, 5]
ROUNDING = 1e-3  # fp32 sums in another order differ by about 1e-4 here; a row read wrongly differs by whole logits


@pytest.fixture(scope="module")
def engine(tiny_model, tiny_adapters):
    with open_engine(str(tiny_model), {"tuned": tiny_adapters[0]}) as made:
        yield made


def alone(model, prompt, limit):
    """Logits of every step, from forward passes without a cache."""
    ids, steps = list(prompt), []
    with torch.inference_mode():
        for _ in range(limit):
            steps.append(model.causal(input_ids=torch.tensor([ids])).logits[0, -1].float())
            ids.append(int(steps[-1].argmax()))
    return steps


def batches(dice):
    """Which rows join before each step: a random arrival order, up to three at once."""
    left = list(range(len(QUESTIONS)))
    dice.shuffle(left)
    while left:
        count = dice.choice([0, 1, 1, 2, 3])
        yield [left.pop() for _ in range(min(count, len(left)))]


@pytest.mark.parametrize("openings", [[OPENING], []], ids=["shared opening", "nothing shared"])
@pytest.mark.parametrize("name", ["tuned", "base"])
def test_a_row_sees_what_it_sees_alone_whatever_comes_and_goes(engine, name, openings, monkeypatch):
    seen = []
    really = sampler.Draws.next_tokens

    def noting(self, logits):
        seen.append(logits.float().clone())
        return really(self, logits)

    monkeypatch.setattr(sampler.Draws, "next_tokens", noting)
    slot = "slot-1" if name == "tuned" else None
    with engine.variant(name) as model:
        prompts = [prompt_ids(model.tokenizer, [*openings, {"role": "user", "content": q}]) for q in QUESTIONS]
        wanted = [alone(model, prompt, limit) for prompt, limit in zip(prompts, LIMITS, strict=True)]
        for seed in range(6):
            lane, rows, arrivals = Lane(model), {}, batches(random.Random(seed))
            while True:
                joining = next(arrivals, None)
                if joining is None and not lane.rows:
                    break
                for work, taking in (("join", joining), ("step", None)):
                    if work == "join" and taking:
                        fresh = {LaneRow(prompts[at], LIMITS[at], Sampling(), slot): at for at in taking}
                        rows |= fresh
                        lane.join(list(fresh), Outgoing())
                        compare(seen.pop(), list(fresh), rows, wanted)
                    elif work == "step" and lane.rows:
                        running = list(lane.rows)
                        lane.step(Outgoing())
                        compare(seen.pop(), running, rows, wanted)
            assert all(len(row.ids) == LIMITS[at] or row.finish == "stop" for row, at in rows.items())


def compare(logits, running, rows, wanted):
    for row, found in zip(running, logits, strict=True):
        expected = wanted[rows[row]][len(row.ids) - 1]
        assert float((found - expected).abs().max()) < ROUNDING


def test_equal_prompts_of_one_adapter_and_wall_are_read_once_and_each_row_has_its_own_answer(engine, monkeypatch):
    seen, read = [], []
    really = sampler.Draws.next_tokens

    def noting(self, logits):
        seen.append(logits.float().clone())
        return really(self, logits)

    monkeypatch.setattr(sampler.Draws, "next_tokens", noting)
    with engine.variant("tuned") as model:
        one, other = (prompt_ids(model.tokenizer, [{"role": "user", "content": q}]) for q in QUESTIONS[:2])
        rows = [
            LaneRow(prompt, 3, Sampling(), "slot-1", wall=wall)
            for prompt, wall in [(one, ""), (other, ""), (one, ""), (one, "한빛"), (one, "한빛")]
        ]
        wanted = {row: alone(model, row.prompt, 2) for row in rows}
        forward = model.backbone.forward

        def counted(*args, **kwargs):
            read.append(tuple(kwargs["input_ids"].shape))
            return forward(*args, **kwargs)

        monkeypatch.setattr(model.backbone, "forward", counted)
        lane = Lane(model)
        lane.join(rows, Outgoing())
        assert read == [(3, max(len(one), len(other)))]
        lane.step(Outgoing())
        for step, logits in enumerate(seen):
            for row, found in zip(rows, logits, strict=True):
                assert float((found - wanted[row][step]).abs().max()) < ROUNDING
