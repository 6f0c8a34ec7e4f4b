"""Prompt distillation: the student learns without a passage what the same model, its adapter off, answers with it.

The sequence is the row's own answer, which was checked against its passage; at each of its tokens the student is drawn to the
teacher's whole distribution (forward KL), not to the one token that stands there. Teacher and student are one model in memory.
Rows without a passage are learnt by their tokens, as in supervised training. The teacher reads once, before the first step.

Before the first step the model answers every question without its passage, so that what it knows is not taught again; the
answers are kept in the stage's state folder, and facts.jsonl tells of each question what was found.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import set_seed

from ...model.chat_format import chat_format
from ...model.engine.protocol import Answer, Sampling, Task
from ...model.evidence_prompt import EvidenceWords
from ...model.load import base_fingerprint, load_tokenizer
from ...runs.errors import DataError, UsageError
from ...runs.job import Job
from ...runs.workspace import file_hash, value_hash, write_json, write_jsonl
from .checkpoints import WRITING, CheckpointKeeper
from .distill_rows import (
    AT_ONCE,
    SPARE,
    DistillRow,
    distill_needs,
    distill_options,
    distill_rows,
    fitting_rows,
    is_right,
    known_facts,
    mixed,
    reading_of,
)
from .loop import adapted, adapter_hash, collator, find_resume, keep_tally, recipe_hash, to_the_end, trl_config
from .method import rows_file
from .policy_engine import POLICY, engine_over
from .processes import process_count
from .setting import TRLS_LOSS, Setting, fitted
from .teacher import TeacherStates, taught_states
from .token_rows import IGNORED, step_order, tokens_by_step
from .tracking import MetricsFile, prepare_tracker
from .trainer import AnswerTrainer, answer_states, in_chunks

ASKED = "closed_book.json"  # in the stage's state folder


def train_on_passages(job: Job) -> None:
    """Do the train stage with `train.method: distill`.

    Raises:
        UsageError: several processes, or a loss of TRL's.
        DataError: no row has a passage, or the model knows every fact.
    """
    recipe, options = job.recipe, distill_options(job.recipe)
    if process_count() > 1 or TRLS_LOSS & recipe.train.extra.keys():
        raise UsageError("train.method: distill trains in one process and with its own loss", where="train.extra")
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    path, words = rows_file(job.run, options.rows), EvidenceWords.of(job.pack.prompts)
    rows = teachable(job, path, tokenizer, words)
    identity = {
        "recipe": recipe_hash(recipe),
        "data": file_hash(path),
        "base model": base_fingerprint(recipe.model.id, recipe.model.revision),
        "starting adapter": adapter_hash(recipe.train),
        "prompts": value_hash([job.pack.hashes("prompts.yaml"), recipe.generation.repetition_penalty]),
    }
    keeper = CheckpointKeeper(job.path("checkpoints"), identity, recipe.train)
    resume = find_resume(keeper)
    section, plan = fitted(recipe, [len(row.example) for row in rows], distill_needs(reading_of(rows)))
    set_seed(recipe.seed)  # before the adapter: its matrices are drawn at random
    model = adapted(recipe, Setting(section, plan))
    answers = closed_book(job, model, tokenizer, rows, value_hash(identity))
    known = known_facts(rows, answers)
    chosen = mixed(rows, {fact for fact, knows in known.items() if knows}, options.unknown, recipe.seed)
    tell_facts(job, rows, chosen, answers, known)
    lengths = [len(row.example) for row in chosen]
    recipe = recipe.model_copy(update={"train": section})  # quantised as it was loaded
    setting = Setting(*fitted(recipe, lengths, distill_needs(reading_of(chosen))))
    job.manifest.facts |= {"plan": setting.plan.facts(), "setting": setting.facts()}
    job.manifest.facts["thinking"] = chat_format(tokenizer).policy
    order = step_order(lengths, setting.plan.rows_per_step, section.epochs, recipe.seed)
    marks = tokens_by_step(lengths, order, setting.plan.rows_per_step)
    metrics = MetricsFile(job.path("metrics.jsonl"), section.epochs, marks)
    held_out = distill_rows(job.run.require("compose", "valid.jsonl"), tokenizer, words, empty_ok=True)
    valid = fitting_rows(held_out, recipe.model.max_length)
    report_to = prepare_tracker(section, job.path("state"))
    own = collator(tokenizer, setting)
    states = taught_states(job, model, own, [*chosen, *valid], setting.batch, value_hash(identity))
    set_seed(recipe.seed)
    trainer = DistillTrainer(
        model=model,
        args=trl_config(recipe, setting, keeper.folder / WRITING, report_to, evaluate=bool(valid)),
        train_dataset=_dataset(chosen).select(order),
        eval_dataset=_dataset(valid, len(chosen)) if valid else None,
        processing_class=tokenizer,
        data_collator=TaughtCollator(own, states),
        callbacks=[keeper, metrics],
        tokens_by_step=marks,
    )
    del model  # the trainer's, which is dismissed at the end
    keep_tally(trainer, keeper, resume)
    to_the_end(job, trainer, tokenizer, (keeper, metrics, resume))
    states.remove()


def teachable(job: Job, path: Path, tokenizer: Any, words: EvidenceWords) -> list[DistillRow]:
    """The rows to choose from; those that are too long without their passage are counted and left out.

    Raises:
        DataError: none with a passage is left.
    """
    read, limit = distill_rows(path, tokenizer, words), job.recipe.model.max_length
    rows = fitting_rows(read, limit)
    if not any(row.teacher for row in read):
        raise DataError(
            "no row has a passage that a teacher could read", where=str(path),
            next_step="read documents and set synthesize.per_passage above 0, or set compose.evidence",
        )  # fmt: skip
    if not any(row.teacher for row in rows):
        raise DataError(
            f"no row with a passage fits model.max_length {limit}", where=str(path),
            next_step="raise model.max_length, or shorten the questions and answers",
        )  # fmt: skip
    job.manifest.rows_in = len(read)
    job.manifest.drop(f"longer-than-{limit}-tokens", len(read) - len(rows))
    return rows


def closed_book(job: Job, model: Any, tokenizer: Any, rows: Sequence[DistillRow], identity: str) -> dict[str, str]:
    """By id, what the model answers to the rows with a passage when it is asked without; asked once for one training."""
    path = job.path("state") / ASKED
    if path.is_file() and (kept := json.loads(path.read_text(encoding="utf-8")))["of"] == identity:
        return dict(kept["answers"])
    taught, penalty = [row for row in rows if row.teacher], job.recipe.generation.repetition_penalty
    answers: dict[str, str] = {}
    parts = [taught[at : at + AT_ONCE] for at in range(0, len(taught), AT_ONCE)]
    for part in job.track(parts, "asking without passages"):
        tasks = [
            Task(
                POLICY,
                Sampling(len(row.example.completion) + SPARE, repetition_penalty=penalty),
                prompt=row.example.prompt,
            )
            for row in part
        ]
        with engine_over(model, tokenizer, tasks) as engine:
            for row, answer in zip(part, engine.answers(tasks), strict=True):
                if not isinstance(answer, Answer):
                    raise answer
                answers[row.id] = answer.text
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"of": identity, "answers": answers})
    return answers


def tell_facts(
    job: Job,
    rows: Sequence[DistillRow],
    chosen: Sequence[DistillRow],
    answers: dict[str, str],
    known: dict[str, bool | None],
) -> None:
    """Write facts.jsonl, and count rows and facts for the manifest.

    Raises:
        DataError: nothing is left to teach.
    """
    taught = [row for row in rows if row.teacher]
    write_jsonl(
        job.path("facts.jsonl"),
        (
            {
                "id": row.id,
                "question": row.question,
                "answer": row.answer,
                "closed_book": answers[row.id],
                "right": is_right(row, answers[row.id]),
                "known": known[row.fact],
            }
            for row in taught
        ),
    )
    left = sum(bool(row.teacher) for row in chosen)
    if not left:
        raise DataError("the model knows every fact of the passages already", where=str(job.path("facts.jsonl")))
    job.manifest.rows_out = len(chosen)
    job.manifest.drop("known-fact", len(taught) - left)
    job.manifest.drop("not-mixed", len(rows) - len(taught) - (len(chosen) - left))
    counts = Counter({True: "known", False: "unknown", None: "unchecked"}[knows] for knows in known.values())
    share = left / len(chosen)
    wanted = distill_options(job.recipe).unknown
    job.manifest.facts["facts"] = {**counts, "rows": left, "others": len(chosen) - left, "share": round(share, 4)}
    if share > wanted + 0.01:
        warning = f"{share:.0%} of the rows hold facts that the model does not know, not {wanted:.0%}: there are too few others"
        job.manifest.facts["warnings"] = [warning]


class TaughtCollator:
    """The student's rows as always; beside them, as `wanted`, the teacher's states at the answers of those with a passage."""

    def __init__(self, own: Any, states: TeacherStates) -> None:
        self._own, self._states = own, states

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """A micro-batch."""
        student = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
        wanted = [self._states.of(row["teacher"]) for row in rows if row["teacher"] >= 0]
        batch = {**self._own(student), "taught": torch.tensor([row["teacher"] >= 0 for row in rows])}
        return batch | ({"wanted": torch.cat(wanted)} if wanted else {})


class DistillTrainer(AnswerTrainer):
    """AnswerTrainer that draws the answers of rows with a passage to the distribution of the model without its adapter."""

    def summed_loss(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """KL to the teacher over the answers of rows with a passage, cross-entropy over those of the others."""
        hidden, labels = answer_states(model, inputs, 0)
        scored = inputs["labels"][:, 1:] != IGNORED
        taught = inputs["taught"][:, None].expand_as(scored)[scored]
        total, correct = taught_loss(model.get_output_embeddings(), hidden, labels, taught, inputs.get("wanted"))
        return total, correct, len(labels)


def taught_loss(
    head: Any, hidden: torch.Tensor, labels: torch.Tensor, taught: torch.Tensor, wanted: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss in fp32, and the tokens that are predicted right.

    Args:
        hidden, labels: the student's states and the answers' tokens.
        taught: which of them have a teacher.
        wanted: the teacher's states at those, in order.
    """
    states = torch.zeros_like(hidden, requires_grad=False)
    if wanted is not None:
        states[taught] = wanted.to(states.dtype)
    bare = getattr(head, "base_layer", head)  # the teacher's head, where the adapter is on the head too

    def score(
        own: torch.Tensor, theirs: torch.Tensor, tokens: torch.Tensor, soft: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(own).float()
        right = (logits.argmax(-1) == tokens).sum()
        loss = functional.cross_entropy(logits[~soft], tokens[~soft], reduction="sum")
        if soft.any():
            with torch.no_grad():
                target = bare(theirs[soft]).float().log_softmax(-1)
            loss = loss + functional.kl_div(logits[soft].log_softmax(-1), target, reduction="sum", log_target=True)
        return loss, right

    return in_chunks(score, head, hidden, states, labels, taught)


def _dataset(rows: Sequence[DistillRow], first: int = 0) -> Any:
    """The rows as columns; `teacher` is a row's place in the teacher's states, -1 where it has no passage."""
    from datasets import Dataset

    def columns(at: int, row: DistillRow) -> dict[str, Any]:
        prompt, answer = row.example.prompt, row.example.completion
        labels = [IGNORED] * len(prompt) + answer
        return {"input_ids": prompt + answer, "labels": labels, "teacher": at if row.teacher else -1}

    return Dataset.from_list([columns(at, row) for at, row in enumerate(rows, first)])
