"""The result: adapter, tokenizer, template, lineage and model card in one folder that plain PEFT can load."""

import json
import shutil
from typing import Any

from ...model.chat_format import POLICIES
from ...runs.job import Job
from ...runs.workspace import atomic_path, file_hash, in_charge, write_json
from .checkpoints import CheckpointKeeper, eval_loss, step_of
from .processes import wait_for_all

WEIGHTS = "adapter_model.safetensors"


def save_adapter(job: Job, trainer: Any, tokenizer: Any, keeper: CheckpointKeeper) -> None:
    """Write `adapter/` atomically: the checkpoint with the lowest validation loss, or the last state without any.

    Every process must call it.
    """
    steps = trainer.state.global_step
    gathered = job.path("checkpoints") / ".adapter"
    trainer.save_model(str(gathered))
    wait_for_all()
    if not in_charge():
        return
    best = keeper.best_verified()
    source = best if best and step_of(best) != steps else gathered
    saved: dict[str, Any] = {"step": step_of(best) if best else steps, "of": steps}
    job.manifest.facts["saved"] = saved | ({"eval_loss": eval_loss(best)} if best else {})
    with atomic_path(job.path("adapter")) as folder:
        folder.mkdir()
        for name in ("adapter_config.json", WEIGHTS):
            shutil.copyfile(source / name, folder / name)
        tokenizer.save_pretrained(str(folder))
        write_json(folder / "mnatune.json", lineage(job, keeper.identity))
        (folder / "README.md").write_text(model_card(job), encoding="utf-8")
    shutil.rmtree(gathered)
    job.manifest.facts["adapter_sha256"] = file_hash(job.path("adapter") / WEIGHTS)


def lineage(job: Job, identity: dict[str, str]) -> dict[str, Any]:
    """From this adapter back to its base, recipe and data."""
    compose = job.run.manifest("compose")
    return {
        "base": job.recipe.model.id,
        "revision": job.recipe.model.revision,
        "base_sha256": identity["base model"],
        "recipe_sha256": identity["recipe"],
        "data_sha256": identity["data"],
        "quantize": job.manifest.facts["setting"]["quantize"],
        "thinking": job.manifest.facts["thinking"],
        "pack": job.recipe.pack,
        "composed": compose.outputs if compose else {},
    }


def model_card(job: Job) -> str:
    """A Korean model card with the data's sources."""
    recipe, compose = job.recipe, job.run.manifest("compose")
    sources = "\n".join(
        f"| {name} | {facts['rows']:,} |" for name, facts in (compose.per_source if compose else {}).items()
    )
    licences = compose.facts.get("licences", []) if compose else []
    train, setting = recipe.train, job.manifest.facts["setting"]
    lora, thinking = setting["adapter"], job.manifest.facts["thinking"]
    return f"""---
base_model: {json.dumps(recipe.model.id, ensure_ascii=False)}
library_name: peft
language:
- ko
tags:
- lora
- mnatune
---

# {recipe.name}

`{recipe.model.id}` 위에 학습한 LoRA 어댑터입니다. `mnatune`로 만들었습니다.

| 항목 | 값 |
|---|---|
| 방식 | {train.method}, 양자화 {setting["quantize"]} |
| LoRA | r {lora["r"]}, alpha {lora["alpha"]}, dropout {lora["dropout"]} |
| 학습률 / 에폭 | {setting["learning_rate"]:g} / {train.epochs:g} |
| 최대 길이 | {recipe.model.max_length} 토큰 |
| 사고(think) 정책 | {thinking}: {POLICIES[thinking]} |

## 학습 데이터

| 출처 | 행 |
|---|---:|
{sources}

이용 조건: {"; ".join(licences) if licences else "원 데이터의 이용 조건을 따릅니다"}.

## 한계

법률·세무 자문을 대신하지 않습니다. 답변의 조문과 숫자는 반드시 원문으로 확인하십시오.
"""
