"""The product on a base quantised to nf4, on a CPU: the same answers from every entry point, and near what is merged."""

import shutil

import pytest

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'mnatune[quantize]'")

import torch
from made_adapter import make_adapter
from test_one_engine import Place, api_stream, api_whole, ask, evaluate, plain_calls, tokens_of

from mnatune.cli.ask import open_run
from mnatune.model import load
from mnatune.model.engine.local import open_engine
from mnatune.model.export import Subject, check_merged, merge
from mnatune.model.load import base_quantization
from mnatune.model.prompt import dialogue, prompt_ids
from mnatune.runs.job import Job
from mnatune.runs.recipe import TrainSection, save_lock
from mnatune.runs.workspace import Manifest, Run, Stage, read_jsonl, write_json
from mnatune.service.server import ServeOptions, build
from mnatune.stages.evaluate.backends import open_sides
from mnatune.stages.evaluate.compare import Local

QUESTIONS = 12
LEAST_EQUAL = 0.7  # of the greedy next tokens, merged against quantised; 0.81 were measured
MOST_DIVERGENCE = 0.1  # nats per token; 0.059 were measured, and 0.215 between the merged model and the bare base


@pytest.fixture(scope="module")
def rows(pack):
    found = read_jsonl(pack.path("qa.jsonl"))
    return found[:: len(found) // QUESTIONS][:QUESTIONS]


def test_every_entry_point_makes_the_same_tokens(tiny_model, tiny_adapters, pack, rows, tmp_path, monkeypatch) -> None:
    asked = [dialogue(str(row["question"]), "당신은 전문가입니다.") for row in rows]
    place = Place(tiny_model, tiny_adapters[0], pack, tmp_path)
    found = {
        entry.__name__: tokens_of(entry, asked, place, monkeypatch, "nf4")
        for entry in (plain_calls, ask, evaluate, api_whole, api_stream)
    }
    for name, ids in found.items():
        assert ids == found["plain_calls"], name
    assert tokens_of(plain_calls, asked, place, monkeypatch) != found["plain_calls"], "the base is quantised"


def test_the_merged_model_answers_nearly_as_the_quantised_one(starter, pack, rows, tmp_path) -> None:
    """Merged into the unquantised base, and exactly that by the export's own check."""
    adapter = make_adapter(starter, tmp_path / "adapter", 1, strength=0.2)
    recipe = Place(starter, adapter, pack, tmp_path).recipe
    subject = Subject("nf4", adapter, recipe.model_copy(update={"train": TrainSection(quantize="nf4")}))
    merged = merge(subject, tmp_path / "merged")
    asked = [dialogue(str(row["question"]), pack.system_prompt) for row in rows]
    assert not check_merged(subject, merged, asked[:4], 4).faults

    def scores(base, adapters, kind):
        """Log-probabilities at every place of the pack's own answers."""
        found = []
        name = next(iter(adapters), "base")
        with open_engine(str(base), adapters, quantize=kind) as engine, engine.variant(name) as model:
            for messages, row in zip(asked, rows, strict=True):
                prompt = prompt_ids(model.tokenizer, messages)
                ids = prompt + model.tokenizer(row["answer"], add_special_tokens=False)["input_ids"]
                with torch.inference_mode():
                    logits = model.causal(input_ids=torch.tensor([ids])).logits[0, len(prompt) - 1 :]
                found.append(logits.float().log_softmax(-1))
        return torch.cat(found)

    quantised, plain = scores(starter, {"tuned": adapter}, "nf4"), scores(merged, {}, "none")
    bare = scores(starter, {}, "none")
    equal = (quantised.argmax(-1) == plain.argmax(-1)).float().mean().item()
    divergence = (plain.exp() * (plain - quantised)).sum(-1).mean().item()
    of_adapter = (plain.exp() * (plain - bare)).sum(-1).mean().item()
    assert equal >= LEAST_EQUAL
    assert divergence <= MOST_DIVERGENCE < of_adapter / 2, "an adapter left out would be seen"


def test_answering_leaves_the_quantised_weights_as_they_are(tiny_model) -> None:
    """bitsandbytes would repack them on some CPUs, with coarser scales, and a resumed training would differ."""

    def scales(model):
        layers = [layer.weight for layer in model.backbone.modules() if hasattr(layer, "quant_state")]
        assert layers
        return [(weight.data.clone(), weight.quant_state.absmax.clone()) for weight in layers]

    with open_engine(str(tiny_model), quantize="nf4") as engine, engine.variant("base") as model:
        before = scales(model)
        with torch.inference_mode():
            model.causal(input_ids=torch.tensor([[5, 6, 7]]))
        for one, other in zip(before, scales(model), strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


def test_who_loads_a_trained_adapter_quantises_as_training_did(
    tiny_model, tiny_adapters, pack, tmp_path, monkeypatch
) -> None:
    """`train.memory_gb` chose nf4 where the recipe says none; the adapter's lineage knows."""
    run, recipe = Run(tmp_path), Place(tiny_model, tiny_adapters[0], pack, tmp_path).recipe
    adapter = shutil.copytree(tiny_adapters[0], run.folder("train") / "adapter")
    assert base_quantization(adapter, "none") == "none"
    write_json(adapter / "mnatune.json", {"quantize": "nf4"})
    Stage(run.folder("train"), Manifest("train", "", {}, {}, 1)).finish(0.0)
    save_lock(recipe, run.root / "recipe.lock.yaml")
    kinds, really = [], load.load_base

    def seen(*place, quantize, **options):
        kinds.append(quantize)
        return really(*place, quantize="none", **options)

    monkeypatch.setattr(load, "load_base", seen)
    open_run(run.root)[1].close()
    with open_sides(Job(recipe, pack, run, Stage(tmp_path, Manifest("evaluate", "", {}, {}, 1)))):
        pass
    build(ServeOptions(run=run.root, feedback="", keys=tmp_path / "keys.json"))
    assert kinds == ["nf4", "nf4", "nf4"]
    assert Local.of(recipe, adapter).quantize == "nf4"
