"""General Korean must not get worse: the pack's list of lm-evaluation-harness tasks, base against tuned, item by item.

Tasks and the metric to read are data (`guards` in the pack's evaluate.yaml). A chat server can do the tasks that
generate; tasks that compare likelihoods need the model in this process. The harness's own tasks take their data from
the Hugging Face hub; a pack may bring tasks of its own, with their data, as YAML under `guards/`. In this process
prompts are rendered under the think policy, as everywhere. Needs the extra [lm-eval].
"""

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ...model.endpoint.wire import KEY_VARIABLE
from ...model.engine.local import LocalEngine
from ...model.prompt import prompt_text
from ...pack import Pack
from ...runs.errors import DataError, EnvironmentFault, missing_extra, needs
from .statistics import compare_paired

Requests = Literal["generate", "likelihood"]
Scores = dict[str, dict[str, float]]  # task → item → score
OWN_TASKS = "guards"
CONCURRENCY = 8
BATCH = 8


def guard_tasks(pack: Pack, requests: Requests | None = None) -> list[dict[str, Any]]:
    """The pack's tasks: {task, label, metric, requests}; with `requests`, only those."""
    words = pack.yaml("evaluate.yaml") if (pack.root / "evaluate.yaml").is_file() else {}
    tasks = list(words.get("guards", []))
    return [task for task in tasks if requests in (None, task["requests"])]


class Harness:
    """lm-evaluation-harness with a pack's tasks and their data loaded.

    Args:
        requests: "generate" leaves out the tasks that a chat server cannot do.
        limit: items per task; 0 takes all.

    Raises:
        EnvironmentFault: the harness is not installed, or a task's data cannot be loaded.
        DataError: the pack lists no task, or an unknown one.
    """

    def __init__(self, pack: Pack, requests: Requests | None = None, limit: int = 0) -> None:
        with needs("lm_eval", "lm-eval"):
            from lm_eval.tasks import TaskManager
        self.tasks = guard_tasks(pack, requests)
        if not self.tasks:
            raise DataError("the pack names no guard task", where="evaluate.yaml", next_step="set evaluate.guards: off")
        self._limit = limit or None
        own = str(pack.root / OWN_TASKS) if (pack.root / OWN_TASKS).is_dir() else None
        self._manager = TaskManager(include_path=own, include_defaults=False)
        if self._missing():  # only then are the harness's own thousands of task files read
            self._manager = TaskManager(include_path=own)
        if missing := self._missing():
            raise DataError(
                f"lm-evaluation-harness knows no task {', '.join(missing)}",
                where="evaluate.yaml: guards",
                next_step=f"correct the name, or put the task's YAML into the pack's {OWN_TASKS}/",
            )
        for task in self.tasks:
            _load(self._manager, task["task"])

    def _missing(self) -> list[str]:
        """Tasks that the loaded index lacks."""
        known = set(self._manager.all_tasks)
        return [task["task"] for task in self.tasks if task["task"] not in known]

    def served(self, base_url: str, model: str) -> Scores:
        """Scores of a model behind an OpenAI-compatible server, such as one at http://127.0.0.1:8000/v1."""
        arguments = {
            "model": model,
            "base_url": f"{base_url.rstrip('/')}/chat/completions",
            "num_concurrent": CONCURRENCY,
            "tokenizer_backend": None,
            "header": {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY_VARIABLE, "").strip()) else {},
        }
        try:
            return self._scores("local-chat-completions", arguments)
        except ImportError as error:
            raise missing_extra(error.name or "tenacity", "lm-eval") from error

    def in_process(self, engine: LocalEngine, model: str) -> Scores:
        """Scores of a model in this process."""
        from lm_eval.models.huggingface import HFLM

        class UnderPolicy(HFLM):  # type: ignore[misc]
            """Renders dialogues as training and serving do."""

            def apply_chat_template(self, chat_history: list[Any], add_generation_prompt: bool = True) -> str:
                return prompt_text(self.tokenizer, chat_history)

        with engine.variant(model) as loaded:
            return self._scores(UnderPolicy(loaded.causal, tokenizer=loaded.tokenizer, batch_size=BATCH), None)

    def _scores(self, model: Any, arguments: dict[str, Any] | None) -> Scores:
        from lm_eval import simple_evaluate

        found = simple_evaluate(
            model=model,
            model_args=arguments,
            tasks=[task["task"] for task in self.tasks],
            task_manager=self._manager,
            limit=self._limit,
            apply_chat_template=True,
            log_samples=True,
            bootstrap_iters=0,
        )
        return {task["task"]: _task_scores(found, task) for task in self.tasks}


def guard_rows(
    pack: Pack, base: Mapping[str, Mapping[str, float]], tuned: Mapping[str, Mapping[str, float]], seed: int = 0
) -> list[dict[str, Any]]:
    """Rows in the shape of metrics.json, without Holm's correction; every task is a guard, its items are paired."""
    rows = []
    for task in guard_tasks(pack):
        name = task["task"]
        shared = sorted(set(base.get(name, {})) & set(tuned.get(name, {})))
        if shared:
            before, after = (np.array([[found[name][item], 1.0] for item in shared]) for found in (base, tuned))
            binary = set(np.unique(np.append(before[:, 0], after[:, 0]))) <= {0.0, 1.0}
            compared = compare_paired(before, after, shared, binary=binary, seed=seed)
            facts = {"name": name, "label": task["label"], "area": "guard", "kind": "higher", "unit": "percent"}
            note = "lm-evaluation-harness, " + {"generate": "생성", "likelihood": "보기 우도"}[task["requests"]]
            rows.append({**facts, "guard": True, "note": note, **compared.as_dict(100.0)})
    return rows


def _load(manager: Any, name: str) -> None:
    """Load one task, so that missing data fail before any question is answered."""
    try:
        manager.load([name])
    except Exception as error:  # whatever hub client, reader or file system says: the task cannot be used here
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise EnvironmentFault(
            f"the data of the lm-evaluation-harness task {name!r} cannot be loaded: {said}",
            where="evaluate.guards",
            next_step="run once where the Hugging Face hub can be reached (unset HF_HUB_OFFLINE), bring the data with the "
            f"pack ({OWN_TASKS}/), or set evaluate.guards: off",
        ) from error


def _task_scores(found: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, float]:
    """Item → score of one task; merges the sub-tasks of a group."""
    metric, _, chosen = str(task["metric"]).partition(",")
    scores = {}
    for name, samples in found["samples"].items():
        if name == task["task"] or name.startswith(f"{task['task']}_"):
            for sample in samples:
                if metric in sample and (chosen in ("", "none") or sample.get("filter", chosen) == chosen):
                    scores[f"{name}/{sample['doc_id']}"] = float(sample[metric])
    if not scores:
        raise DataError(
            f"lm-evaluation-harness gave no scores for {task['task']!r} under {task['metric']!r}",
            where="evaluate.yaml: guards",
        )
    return scores
