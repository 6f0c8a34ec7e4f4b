"""General Korean must not get worse: the pack's list of lm-evaluation-harness tasks, base against tuned, item by item.

Tasks and the metric to read are data (`guards` in the pack's evaluate.yaml). A chat server can do the tasks that
generate; tasks that compare likelihoods need the model in process (or a server with log-probabilities). Task data come
from the hub. Needs the extra [lm-eval].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...errors import DataError, missing_extra
from ...pack import Pack
from .statistics import compare_paired

Requests = Literal["generate", "likelihood"]


def guard_tasks(pack: Pack, requests: Requests | None = None) -> list[dict[str, Any]]:
    """The pack's tasks: {task, label, metric, requests}; with `requests`, only those."""
    tasks = list(pack.yaml("evaluate.yaml").get("guards", []))
    return [task for task in tasks if requests in (None, task["requests"])]


def run_served(
    pack: Pack, base_url: str, model: str, *, limit: int | None = None, concurrency: int = 8
) -> dict[str, Any]:
    """Scores of a served model on the tasks that generate.

    Args:
        base_url: an OpenAI-compatible server, such as http://127.0.0.1:8000/v1.
        model: the model's name there.
        limit: items per task; None takes all.

    Returns:
        task → {item: score}.
    """
    arguments = {
        "model": model,
        "base_url": f"{base_url.rstrip('/')}/chat/completions",
        "num_concurrent": concurrency,
        "tokenizer_backend": None,
    }
    return _run("local-chat-completions", arguments, guard_tasks(pack, "generate"), limit)


def run_in_process(pack: Pack, model: str, adapter: Path | None = None, *, limit: int | None = None) -> dict[str, Any]:
    """Scores of a local model, with an adapter or without, on all tasks; task → {item: score}."""
    arguments: dict[str, Any] = {"pretrained": model}
    if adapter:
        arguments["peft"] = str(adapter)
    return _run("hf", arguments, guard_tasks(pack), limit)


def guard_rows(
    pack: Pack, base: Mapping[str, Mapping[str, float]], tuned: Mapping[str, Mapping[str, float]], seed: int = 0
) -> list[dict[str, Any]]:
    """Rows in the shape of metrics.json, for `decide(external=…)`; every task is a guard, its items are paired."""
    rows = []
    for task in guard_tasks(pack):
        name = task["task"]
        shared = sorted(set(base.get(name, {})) & set(tuned.get(name, {})))
        if shared:
            before, after = (np.array([[found[name][item], 1.0] for item in shared]) for found in (base, tuned))
            binary = set(np.unique(np.append(before[:, 0], after[:, 0]))) <= {0.0, 1.0}
            compared = compare_paired(before, after, shared, binary=binary, seed=seed)
            facts = {"name": name, "label": task["label"], "area": "guard", "kind": "higher", "unit": "percent"}
            rows.append({**facts, "guard": True, "note": "lm-evaluation-harness", **compared.as_dict(100.0)})
    return rows


def _run(kind: str, arguments: dict[str, Any], tasks: Sequence[Mapping[str, Any]], limit: int | None) -> dict[str, Any]:
    try:
        from lm_eval import simple_evaluate
    except ImportError as error:
        raise missing_extra("lm_eval", "lm-eval") from error
    found = simple_evaluate(
        model=kind,
        model_args=arguments,
        tasks=[task["task"] for task in tasks],
        limit=limit,
        apply_chat_template=True,
        log_samples=True,
    )
    return {task["task"]: _scores(found, task) for task in tasks}


def _scores(found: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, float]:
    """Item → score of one task; a group's sub-tasks are put together."""
    metric, _, chosen = str(task["metric"]).partition(",")
    scores = {}
    for name, samples in found["samples"].items():
        if name == task["task"] or name.startswith(f"{task['task']}_"):
            for sample in samples:
                if chosen in ("", "none") or sample.get("filter", chosen) == chosen:
                    scores[f"{name}/{sample['doc_id']}"] = float(sample[metric])
    if not scores:
        raise DataError(
            f"lm-eval gave no scores for {task['task']!r} under {task['metric']!r}", next_step="evaluate.yaml"
        )
    return scores
