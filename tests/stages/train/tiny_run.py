"""A run with a few composed rows, and a recipe that trains a tiny model on them in seconds."""

import json
import shutil

from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Manifest, Run, Stage, write_jsonl

SYSTEM = "당신은 금융,법률 및 M&A 분야 전문가입니다.\n사용자 질문에 대해 반드시 한국어로만 답변하세요."
TERMS = ("주식매수청구권", "실사", "진술과 보장", "영업양도", "합병비율", "우선협상대상자", "경업금지", "에스크로")


def answer(number: int) -> str:
    """Answers of different lengths."""
    return (
        f"{TERMS[number % 8]}은(는) 거래에서 "
        + "당사자의 권리와 의무를 정하는 " * (1 + number % 5)
        + f"제{number}조의 내용입니다."
    )


def messages(number: int) -> list[dict[str, str]]:
    """A dialogue of one turn."""
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{number}. {TERMS[number % 8]}이란 무엇인가요?"},
        {"role": "assistant", "content": answer(number)},
    ]


def compose(root, rows: int = 48, valid: int = 6) -> Run:
    """A run whose compose stage is done."""
    run = Run(root)
    folder = run.folder("compose")
    folder.mkdir(parents=True)
    for name, numbers in (("train", range(rows)), ("valid", range(900, 900 + valid)), ("test", range(0))):
        write_jsonl(folder / f"{name}.jsonl", ({"id": str(n), "messages": messages(n)} for n in numbers))
    Stage(folder, Manifest("compose", "key", {}, {}, 42)).finish(0.0)
    return run


def make_recipe(model, **train) -> Recipe:
    """The tiny recipe with other values in its train section."""
    section = {
        "r": 4, "alpha": 8, "dropout": 0.1, "epochs": 1, "rows_per_step": 8, "learning_rate": 1e-2,
        "log_every": 2, "checkpoint_every": 2, "max_grad_norm": 1.0, **train,
    }  # fmt: skip
    return Recipe.model_validate({"name": "tiny", "model": {"id": str(model), "max_length": 160}, "train": section})


def train_job(recipe: Recipe, run: Run) -> Job:
    """A train stage's work order, without the journey around it."""
    folder = run.folder("train")
    folder.mkdir(exist_ok=True)
    return Job(recipe, Pack.load("mna_ko"), run, Stage(folder, Manifest("train", "key", {}, {}, recipe.seed)))


def copy_run(run: Run, root) -> Run:
    """The same composed rows in another folder."""
    shutil.copytree(run.folder("compose"), Run(root).folder("compose"))
    return Run(root)


def curve(run: Run) -> list[dict]:
    """The lines of metrics.jsonl without what the machine did."""
    names = ("step", "loss", "grad_norm", "learning_rate", "mean_token_accuracy", "num_tokens", "eval_loss", "epoch")
    lines = (run.folder("train") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: line[name] for name in names if name in line} for line in map(json.loads, lines)]


def adapter_bytes(run: Run) -> bytes:
    """The trained weights as they lie on disk."""
    return (run.folder("train") / "adapter" / "adapter_model.safetensors").read_bytes()
