"""A tiny model with a random adapter, and a run that has been trained with it."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from mnatune.model.engine.local import LocalEngine, open_engine
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import EvaluateSection, GenerationSection, ModelSection, Recipe, save_lock
from mnatune.runs.workspace import Run, write_jsonl


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Path:
    """Folder with `base/`, a Qwen3 of two thin layers with random weights, and `adapter/`, a random LoRA on it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    root = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(starter)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=1024, tie_word_embeddings=True,
        initializer_range=0.3,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).to(torch.float32)
    model.save_pretrained(root / "base", safe_serialization=True)
    tokenizer.save_pretrained(root / "base")
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    tuned.save_pretrained(root / "adapter")
    return root


@pytest.fixture(scope="session")
def engine(tiny: Path) -> Iterator[LocalEngine]:
    with open_engine(str(tiny / "base"), {"tuned": tiny / "adapter"}) as made:
        yield made


@pytest.fixture(scope="session")
def recipe(tiny: Path) -> Recipe:
    return Recipe(
        name="tiny",
        model=ModelSection(id=str(tiny / "base")),
        evaluate=EvaluateSection(items=3, samples=2),
        generation=GenerationSection(max_new_tokens=10),
    )


@pytest.fixture(scope="session")
def trained(tiny: Path, pack: Pack) -> Callable[[Path], Run]:
    """Makes a run whose composed and trained stages are written by hand."""

    def make(root: Path) -> Run:
        run = Run(root)
        run.perform("compose", {}, {}, 1, "", lambda stage: _write_splits(stage.folder, pack.system_prompt))
        run.perform("train", {}, {}, 1, "", lambda stage: _copy(tiny / "adapter", stage.path("adapter")))
        return run

    return make


@pytest.fixture(scope="session")
def perform(pack: Pack) -> Callable[..., Path]:
    """Performs the evaluate stage of a run by a function of the job; returns the stage's folder."""

    def do(run: Run, recipe: Recipe, work: Callable[[Job], object], pack: Pack = pack) -> Path:
        run.perform("evaluate", {}, {}, 1, "", lambda stage: work(Job(recipe, pack, run, stage)) and None)
        return run.folder("evaluate")

    return do


def _write_splits(folder: Path, system: str) -> None:
    rows = [
        {
            "id": f"row-{n}",
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": f"합병반대주주는 {n}일 안에 무엇을 할 수 있습니까?"},
                {"role": "assistant", "content": f"상법 제522조의3에 따라 {n}일 안에 매수를 청구할 수 있습니다."},
            ],
            "category": f"갈래{n % 2}",
            "group": f"문서{n // 2}",
            "source": {"name": "pack"},
        }
        for n in range(10)
    ]
    write_jsonl(folder / "test.jsonl", rows[:8])
    write_jsonl(folder / "valid.jsonl", rows[8:])


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def own_pack(tmp_path_factory: pytest.TempPathFactory, pack: Pack) -> Pack:
    """The pack with two tasks of its own for lm-evaluation-harness, and their data: nothing comes from a hub."""
    root = tmp_path_factory.mktemp("own") / "pack"
    shutil.copytree(pack.root, root)
    folder = root / "guards"
    folder.mkdir()
    write_jsonl(
        folder / "sums.jsonl",
        [
            {"q": f"{a} 더하기 {b}는?", "choices": [str(a + b), str(a + b + 1)], "gold": 0}
            for a in range(3)
            for b in range(4)
        ],
    )
    task = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "sums.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "metadata": {"version": 1},
    }
    chosen = {
        "task": "own_choice",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    }
    written = {
        "task": "own_generated",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"max_gen_toks": 4, "until": ["\n"]},
        "metric_list": [{"metric": "exact_match"}],
    }
    for one in (chosen, written):
        (folder / f"{one['task']}.yaml").write_text(yaml.safe_dump(task | one, allow_unicode=True), encoding="utf-8")
    words = pack.yaml("evaluate.yaml")
    words["guards"] = [
        {"task": "own_choice", "label": "고르기", "metric": "acc,none", "requests": "likelihood"},
        {"task": "own_generated", "label": "쓰기", "metric": "exact_match,none", "requests": "generate"},
    ]
    (root / "evaluate.yaml").write_text(yaml.safe_dump(words, allow_unicode=True), encoding="utf-8")
    return Pack.load(str(root))


@pytest.fixture(scope="session")
def own_server(
    tmp_path_factory: pytest.TempPathFactory, trained: Callable[[Path], Run], recipe: Recipe
) -> Iterator[str]:
    """Address of `mnatune serve` over the trained run: it serves the base and the tuned model."""
    import uvicorn

    from mnatune.service.server import ServeOptions, build

    root = tmp_path_factory.mktemp("served")
    run = trained(root / "run")
    save_lock(recipe, run.root / "recipe.lock.yaml")
    app = build(ServeOptions(run=run.root, feedback="", keys=root / "keys.json"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(20)
