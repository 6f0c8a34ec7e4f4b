"""The dataset card: metadata that `datasets.load_dataset` understands, and what a reader must know."""

import json
from typing import Any

from ...model.chat_format import POLICIES
from ...runs.job import Job
from ...runs.workspace import atomic_text


def write_card(job: Job, counts: dict[str, int]) -> None:
    """Write README.md, with which `load_dataset("<run>/5-compose")` gives the three splits."""
    recipe = job.recipe
    files = [f"  - split: {name}\n    path: {name}.jsonl" for name in ("train", "valid", "test") if counts.get(name)]
    configs = "configs:\n- config_name: default\n  default: true\n  data_files:\n" + "\n".join(files)
    if counts.get("preferences"):
        configs += "\n- config_name: preferences\n  data_files:\n  - split: train\n    path: preferences.jsonl"
    sources = "\n".join(f"| {name} | {facts['rows']:,} |" for name, facts in job.manifest.per_source.items())
    licences = job.manifest.facts["licences"]
    evidence = _evidence(job.manifest.facts.get("evidence"))
    thinking = job.manifest.facts["thinking"]
    shares = " / ".join(f"{name} {counts.get(name, 0):,}" for name in ("train", "valid", "test"))
    general = "".join(
        f"\n- train에는 망각을 줄이려고 일반 대화 {one['rows']:,}행이 섞여 있습니다(`{one['file']}`)."
        for one in job.manifest.facts.get("general", ())
    )
    planted = job.manifest.facts.get("canaries", 0)
    canary = f"\n- train에는 지어낸 비밀(canary) {planted:,}행이 섞여 있습니다. `source.name`이 `canary`인 행이며, 학습과 유출 측정에만 씁니다."
    text = f"""---
language:
- ko
task_categories:
- text-generation
pretty_name: {json.dumps(recipe.name, ensure_ascii=False)}
{configs}
---

# {recipe.name}

`mnatune`가 만든 대화형 학습 데이터입니다. {shares} 행.

| 출처 | 행 |
|---|---:|
{sources}

- 한 문서(group), 근접 중복 묶음(cluster), 같은 질문은 한쪽 분할에만 들어갑니다. 대화는 앞선 차례의 질문까지 셉니다. 증명은 `leakage.json`에 있습니다.
- {recipe.model.max_length}토큰을 넘는 행은 자르지 않고 제외했습니다(`dropped.parquet`).
- 사고(think) 정책 `{thinking}`: {POLICIES[thinking]}. 학습과 추론에 같고, `messages`에는 아무것도 붙이지 않은 원문이 들어 있습니다.
{evidence}- 이용 조건: {"; ".join(licences) if licences else "원 데이터의 이용 조건을 따릅니다"}. 재배포하기 전에 원 데이터의 조건을 확인하십시오.{canary if planted else ""}{general}
"""
    with atomic_text(job.path("README.md")) as handle:
        handle.write(text)


def _evidence(facts: dict[str, Any] | None) -> str:
    """The line about rows with evidence; empty if there are none."""
    if not facts:
        return ""
    return (
        f"- 학습·검증 행 {facts['rows']:,}개 가운데 {facts['right'] + facts['missing']:,}개는 법령 조문을 근거로 보이고 묻습니다"
        f"(답의 조문이 든 것 {facts['right']:,}, 일부러 뺀 것 {facts['missing']:,}). 근거 없는 원래 질문과 답변은 `evidence`에 있습니다.\n"
    )
