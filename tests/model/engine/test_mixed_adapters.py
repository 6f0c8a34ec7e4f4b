"""Several adapters over one base: one batch for all, only so many loaded at once, nothing shared across walls."""

import asyncio
import random
import shutil

import pytest
import torch
from made_adapter import make_adapter
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mnatune.model.engine import lane as lanes
from mnatune.model.engine.lane import Lane
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.engine.refusals import Refusal
from mnatune.model.engine.scheduler import BatchLimits
from mnatune.runs.errors import DataError

SYSTEM = "당신은 금융과 법률, 인수합병 분야의 전문가입니다. 한국어로만 답변하세요. " * 2
QUESTIONS = ("합병이란?", "주식매수청구권은 누가 언제까지 행사하나요? " * 3, "상법 제522조", "분할")


def task(name, question, limit=12, wall=""):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    return Task(name, Sampling(max_tokens=limit), messages=messages, wall=wall)


def ids(answers):
    return [answer.ids for answer in answers]


@pytest.fixture(scope="module")
def adapters(tiny_model, tmp_path_factory):
    """Adapters of several ranks and layers, and the last one of a kind that cannot share a batch (DoRA)."""
    root = tmp_path_factory.mktemp("adapters")
    kinds = [
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        LoraConfig(r=2, lora_alpha=3, use_rslora=True, target_modules=["down_proj", "q_proj", "lm_head"]),
        LoraConfig(r=8, rank_pattern={"q_proj": 3}, target_modules=["q_proj", "k_proj", "o_proj", "up_proj"]),
        LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "down_proj"]),
    ]
    made = {}
    for at, config in enumerate(kinds):
        torch.manual_seed(at)
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
        with torch.no_grad():
            for name, weight in tuned.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.5)
        tuned.save_pretrained(root / f"m{at}", save_embedding_layers=False)
        made[f"m{at}"] = root / f"m{at}"
    return made


@pytest.fixture(scope="module")
def alone(tiny_model, adapters):
    """Each question's answer by each model, on an engine that has no other adapter."""
    found = {}
    for name in (*adapters, "base"):
        with open_engine(str(tiny_model), {name: adapters[name]} if name in adapters else {}) as engine:
            for question in QUESTIONS:
                found[name, question] = engine.answers([task(name, question)])[0].ids
    assert len({tuple(map(tuple, (found[name, q] for q in QUESTIONS))) for name in (*adapters, "base")}) == 5
    return found


def test_a_batch_of_several_adapters_answers_as_each_alone(tiny_model, adapters, alone):
    asked = [(name, question) for name in (*adapters, "base") for question in QUESTIONS]
    with open_engine(str(tiny_model), adapters) as engine:
        widths = []
        step = Lane.step
        for seed in range(3):
            random.Random(seed).shuffle(asked)
            Lane.step = lambda lane, out: widths.append({row.slot for row in lane.rows}) or step(lane, out)
            try:
                answers = engine.answers([task(*one) for one in asked])
            finally:
                Lane.step = step
            assert ids(answers) == [alone[one] for one in asked]
    assert max(map(len, widths)) == 4  # base and the three that can share
    assert {len(slots) for slots in widths if "slot-4" in slots} == {1}  # DoRA is by itself


def test_adapters_mix_over_a_quantised_base(tiny_model, adapters):
    asked = [(name, question) for question in QUESTIONS for name in ("m0", "m2", "base")]
    with open_engine(str(tiny_model), adapters, quantize="nf4") as engine:
        mixed = engine.answers([task(*one) for one in asked])
        for name in ("m0", "m2", "base"):
            own = engine.answers([task(name, question) for question in QUESTIONS])
            assert ids(own) == [one.ids for one, (other, _) in zip(mixed, asked, strict=True) if other == name]


def test_one_adapter_after_a_mixed_batch_and_back(tiny_model, adapters, alone):
    """What is on is known after every change: single rows, mixed ones, scoring."""
    with open_engine(str(tiny_model), adapters) as engine:
        for names in (["m0"], ["m1", "base"], ["m1"], ["base"], ["m0", "m1"], ["m3"], ["m1", "m0"], ["base"]):
            got = engine.answers([task(name, QUESTIONS[0]) for name in names])
            assert ids(got) == [alone[name, QUESTIONS[0]] for name in names]


def serve(engine, work):
    async def run():
        await engine.start()
        try:
            return await asyncio.wait_for(work(), 60)
        finally:
            await engine.stop()

    return asyncio.run(run())


async def text_of(engine, one):
    stream = await engine.open(one)
    return "".join([piece.text async for piece in stream.pieces])


@pytest.mark.parametrize("limit", [1, 2])
def test_adapters_beyond_the_limit_wait_and_are_loaded_again(tiny_model, adapters, alone, limit):
    """More models than places, asked in turns while others run: every answer comes, and is that model's own."""
    with open_engine(str(tiny_model), adapters, limits=BatchLimits(adapters=limit, rows=4)) as engine:
        shelf, counts = engine._queue.shelf, []
        attach = engine.loaded.attach
        engine.loaded.attach = lambda *given: (attach(*given), counts.append(len(shelf.loaded) + 1))[0]
        asked = [(name, question) for question in QUESTIONS for name in (*adapters, "base")]

        async def work():
            return await asyncio.gather(*(text_of(engine, task(*one)) for one in asked))

        decode = engine.loaded.tokenizer.decode
        wanted = [decode(alone[one], skip_special_tokens=True).strip() for one in asked]
        assert serve(engine, work) == wanted
        assert max(counts) == limit
        assert len(counts) >= 4  # loaded again and again


def test_a_crowd_on_one_model_does_not_keep_another_out(tiny_model, adapters):
    """With one place, a late request for another model is answered before the crowd that came after it."""
    with open_engine(str(tiny_model), adapters, limits=BatchLimits(adapters=1, rows=2)) as engine:
        queue, ended = engine._queue, []
        for number in range(13):
            name = "m1" if number == 4 else "m0"
            one = task(name, QUESTIONS[0], limit=3 + 4 * (number % 2))  # the crowd's rows never end all at once
            row = engine._row(one, engine._encode(one))
            row.slot, row.ended = engine._slots[name], lambda row, number=number: ended.append(number)
            queue.submit(row)
        while queue.busy():
            queue.take_turns()
        assert sorted(ended) == list(range(13))
        assert ended.index(4) == 4


def test_a_model_leaves_and_comes_while_others_answer(tiny_model, adapters, alone):
    with open_engine(str(tiny_model), {"m0": adapters["m0"]}) as engine:

        async def work():
            stream = await engine.open(task("m0", QUESTIONS[1]))
            first = await anext(stream.pieces)
            await engine.serve_adapter("m1", adapters["m1"])
            await engine.serve_adapter("m0", None)
            cut = first.text + "".join([piece.text async for piece in stream.pieces])
            with pytest.raises(Refusal) as refused:
                await engine.open(task("m0", QUESTIONS[1]))
            while len(engine._queue.shelf.slots) > 1:
                await asyncio.sleep(0.005)
            return cut, refused.value.status, [m.id for m in engine.models()], await text_of(engine, task("m1", "분할"))

        decode = engine.loaded.tokenizer.decode
        told = [decode(alone[one], skip_special_tokens=True).strip() for one in (("m0", QUESTIONS[1]), ("m1", "분할"))]
        assert serve(engine, work) == (told[0], 404, ["m1", "base"], told[1])


def test_a_model_whose_files_are_gone_fails_alone(tiny_model, tmp_path, alone, adapters):
    lost = make_adapter(tiny_model, tmp_path / "lost", 9)
    given = {"m0": adapters["m0"], "lost": lost}
    with open_engine(str(tiny_model), given, limits=BatchLimits(adapters=1)) as engine:
        engine.answers([task("m0", QUESTIONS[0])])  # now the other is not loaded
        shutil.rmtree(lost)
        found = engine.answers([task("lost", QUESTIONS[0]), task("m0", QUESTIONS[0])])
        assert (found[0].status, found[0].code) == (503, "engine_unavailable")
        assert str(tmp_path) not in found[0].message
        assert found[1].ids == alone["m0", QUESTIONS[0]]


def test_a_cut_off_adapter_leaves_nothing_behind(tiny_model, adapters, alone, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(adapters["m1"], cut)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with open_engine(str(tiny_model), {"m0": adapters["m0"]}) as engine:
        with pytest.raises(DataError, match="cut off"):
            engine.attach("m1", cut)
        engine.attach("m1", adapters["m1"])
        assert engine._queue.shelf.loaded == list(engine.loaded._model.peft_config)
        names = ["m0", "m1", "base"]
        assert ids(engine.answers([task(n, QUESTIONS[0]) for n in names])) == [alone[n, QUESTIONS[0]] for n in names]


def test_weights_that_are_no_numbers_are_refused(tiny_model, adapters, tmp_path):
    """One product serves all rows: a NaN of one adapter would spoil the others' answers."""
    from safetensors.torch import load_file, save_file

    spoilt = tmp_path / "spoilt"
    shutil.copytree(adapters["m1"], spoilt)
    weights = load_file(spoilt / "adapter_model.safetensors")
    next(tensor for name, tensor in weights.items() if "lora_B" in name)[0, 0] = float("nan")
    save_file(weights, spoilt / "adapter_model.safetensors")
    for others in ({}, {"m0": adapters["m0"]}):
        with open_engine(str(tiny_model), others) as engine:
            with pytest.raises(DataError, match="no finite numbers"):
                engine.attach("m1", spoilt)
            assert [model.id for model in engine.models()] == [*others, "base"]
            assert engine.answers([task("base", QUESTIONS[0])])[0].ids


def test_an_adapter_of_another_base_is_refused_although_no_place_is_free(tiny_model, tiny_adapters, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_adapters[0], other)
    (other / "mnatune.json").write_text('{"base_sha256": "another"}', encoding="utf-8")
    with open_engine(str(tiny_model), {"m0": tiny_adapters[0]}, limits=BatchLimits(adapters=1)) as engine:
        with pytest.raises(DataError, match="another base"):
            engine.attach("other", other)
        assert [model.id for model in engine.models()] == ["m0", "base"]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_was_read_crosses_a_wall(tiny_model, adapters, alone, monkeypatch, seed):
    """Every opening is read from prompts of one wall and one model, and used for these alone; answers stay the same."""
    walls = ("han", "dul", "")
    dice = random.Random(seed)
    asked = [(name, question, wall) for name in ("m0", "base") for question in QUESTIONS for wall in walls]
    dice.shuffle(asked)
    read, used = {}, []
    shared, openings = Lane._shared_opening, Lane._openings

    def noting(lane, group, prompts):
        found = shared(lane, group, prompts)
        if found is not None:
            read.setdefault(id(found), (found, set()))[1].add(group)
        return found

    def using(lane, rows):
        found = openings(lane, rows)
        used.extend(((row.slot, row.wall), opening) for row, opening in zip(rows, found, strict=True) if opening)
        return found

    monkeypatch.setattr(Lane, "_shared_opening", noting)
    monkeypatch.setattr(Lane, "_openings", using)
    monkeypatch.setattr(lanes, "SHARED", 4)
    with open_engine(str(tiny_model), {"m0": adapters["m0"]}, limits=BatchLimits(rows=5)) as engine:

        async def work():
            return await asyncio.gather(*(text_of(engine, task(n, q, wall=w)) for n, q, w in asked))

        decode = engine.loaded.tokenizer.decode
        texts = serve(engine, work)
        assert texts == [decode(alone[n, q], skip_special_tokens=True).strip() for n, q, _ in asked]
    assert len({wall for (_, wall), _ in used}) == 3
    assert all(len(groups) == 1 for _, groups in read.values())
    assert all(read[id(opening)][1] == {group} for group, opening in used)
