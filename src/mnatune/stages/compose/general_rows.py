"""General Korean dialogues in the training split: a model that is trained on one field alone forgets the others.

A file holds a JSON object a line: `question` and `answer`, or `messages` that end with an answer. They are drawn by the recipe's
seed until they make up their share of the training rows; they are never in valid or test.

A row is left out that is longer than max_length (never cut), gives an item of the exam or of valid and test away in any
of its turns, or asks what another row asks.
"""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...model.dialogue_rows import given_rows, turns_of
from ...model.load import load_tokenizer
from ...model.prompt import Message, dialogue, examples
from ...runs.errors import DataError
from ...runs.job import Job
from ...runs.records import QA, content_id
from ...text.normalize import sameness
from ...text.shingles import ExamOverlap

CATEGORY = "일반"


class HeldOutQuestions:
    """The questions of the held-out rows, to find dialogues that give one away; of a dialogue each of its questions."""

    def __init__(self, rows: Sequence[QA]) -> None:
        questions = [turn for row in rows for turn in (*row.history[::2], row.question)]
        self._letters = {sameness(question) for question in questions}
        self._near = ExamOverlap(sorted(set(questions)))

    def in_dialogue(self, turns: Sequence[Message]) -> bool:
        """Whether a user turn asks one of them, or the turns hold most of the words of one."""
        asked = (turn["content"] for turn in turns if turn["role"] == "user")
        return any(sameness(question) in self._letters for question in asked) or bool(self._near.find([_text(turns)]))


def general_rows(
    job: Job, train: Sequence[QA], held_out: Sequence[QA]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of train.jsonl, and for each file what was taken and left out.

    Args:
        train: rows of the field in train.
        held_out: those in valid and test.
    """
    shares = job.recipe.compose.general
    if not shares:
        return [], []
    tokenizer = load_tokenizer(job.recipe.model.id, job.recipe.model.revision)
    exam, held = ExamOverlap(job.pack.exam_questions), HeldOutQuestions(held_out)
    total, asked = len(train) / (1 - sum(shares.values())), {sameness(row.question) for row in train}
    rows: list[dict[str, Any]] = []
    facts = []
    for name, share in shares.items():
        left_out: Counter[str] = Counter()
        fitting = []
        for row in _read(Path(name), job.pack.system_prompt):
            question = sameness(row["messages"][-2]["content"])
            if max(map(len, examples(tokenizer, row["messages"]))) > job.recipe.model.max_length:
                left_out[f"longer-than-{job.recipe.model.max_length}-tokens"] += 1
            elif exam.find([_text(row["messages"])]):
                left_out["exam-overlap"] += 1
            elif held.in_dialogue(row["messages"]):
                left_out["held-out-overlap"] += 1
            elif question in asked:
                left_out["duplicate"] += 1
            else:
                asked.add(question)
                fitting.append(row)
        wanted = round(share * total)
        draw = random.Random(f"{job.recipe.seed}/general/{Path(name).name}")
        chosen = draw.sample(fitting, min(wanted, len(fitting)))
        rows += chosen
        told = {"file": Path(name).name, "share": share, "wanted": wanted, "rows": len(chosen)}
        facts.append({**told, "left_out": dict(sorted(left_out.items()))})
    return rows, facts


def shortage(facts: list[dict[str, Any]]) -> list[str]:
    """A warning for each file that has fewer rows than its share."""
    return [
        f"compose.general: {one['file']} gives {one['rows']} of the {one['wanted']} rows that its share asks for"
        for one in facts
        if one["rows"] < one["wanted"]
    ]


def _text(turns: Sequence[Message]) -> str:
    """What is said in a dialogue, without its system prompt."""
    return "\n".join(turn["content"] for turn in turns if turn["role"] != "system")


def _read(path: Path, system: str) -> list[dict[str, Any]]:
    """The dialogues of a file as lines of a composed split.

    Raises:
        DataError: a line is no dialogue that ends with an answer, or there is none.
    """
    made = []
    for index, (where, row) in enumerate(given_rows(path)):
        turns: list[Message] = turns_of(row, "messages", where) if row.get("messages") else []
        if not turns and isinstance(row.get("question"), str) and isinstance(row.get("answer"), str):
            turns = [*dialogue(row["question"], system), {"role": "assistant", "content": row["answer"]}]
        roles = [turn["role"] for turn in turns]
        if roles[-2:] != ["user", "assistant"] or not all(turn["content"].strip() for turn in turns):
            raise DataError(
                "not a general dialogue: question and answer, or messages that end with an answer",
                where=where,
            )
        if roles[0] != "system":
            turns = [{"role": "system", "content": system}, *turns]
        identity = content_id(*(turn["content"] for turn in turns[1:]))
        place = {"name": path.stem, "archive": path.name, "member": "", "index": index, "licence": "", "place": ""}
        facts = {"category": CATEGORY, "group": identity, "cluster": "", "reference": "", "score": -1, "source": place}
        made.append({"id": identity, "messages": turns, **facts})
    return made
