"""Marking by an LLM judge: essays by rubric line, and base against tuned on the same question in both orders.

The judge is the recipe's endpoint. Every paid reply is in its ledger under the hash of the prompts, so a change of
wording is a new judge and a second run costs nothing. Replies that cannot be used are counted by fault and left out of
the metric, never scored as 0. The judge should be of another family than the tuned model: models prefer their own kind.

Does not: correct for a judge's liking of length or style.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...job import Job
from ...models.endpoint import Ask, Endpoint, check_flat, json_in, ledger_key
from ...models.prompt import Message
from ...text.untrusted import fill, without_markers
from ...workspace import value_hash
from .items import Item
from .metrics import Sample
from .statistics import win_rate

SHOWN_CHARS = 6000  # of every text inserted into a prompt
REPLY_TOKENS = 400
PROMPTS = ("essay_judge_system", "essay_judge_user", "pairwise_system", "pairwise_user", "data_begin", "data_end")
MET: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "met": {"type": "boolean"}},
    "required": ["reason", "met"],
    "additionalProperties": False,
}
WINNER: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "winner": {"type": "string", "enum": ["A", "B", "tie"]}},
    "required": ["reason", "winner"],
    "additionalProperties": False,
}
FAMILIES = ("qwen", "llama", "gemma", "gpt", "claude", "gemini", "exaone", "mistral", "deepseek", "solar", "hyperclova")


class Referee:
    """The judge of a run.

    Attributes:
        faults: unusable replies by their code.
    """

    def __init__(self, job: Job) -> None:
        self._prompts = {name: str(job.pack.prompts[name]) for name in PROMPTS}
        self._markers = (self._prompts["data_begin"].strip(), self._prompts["data_end"].strip())
        self._hash = value_hash([self._prompts, SHOWN_CHARS])
        self._base = job.recipe.model.id
        self.endpoint = Endpoint(job.recipe.endpoint, str(job.run.root.resolve()))
        self.faults: Counter[str] = Counter()

    def facts(self) -> dict[str, Any]:
        """Which judge, by which prompts, what it could not answer, and whether it is of the model's own family."""
        family = _family(self.endpoint.model)
        return {
            "judge": self.endpoint.model,
            "prompts_sha256": self._hash,
            "unusable": dict(sorted(self.faults.items())),
            "same_family": bool(family) and family == _family(self._base),
        }

    def essays(self, rows: Sequence[Mapping[str, Any]], answers: Mapping[str, Mapping[str, str]]) -> list[Sample]:
        """Points met of the points judged, per item; `answers` is model → item id → text."""
        lines = [
            (model, row, line, {"question": str(row["question"]), "answer": answers[model][str(row["id"])]})
            for model in answers
            for row in rows
            for line in row["rubric"]
        ]
        replies = self._ask(
            ("essay_judge_system", "essay_judge_user", MET),
            [{**texts, "rubric_line": str(line["text"])} for _, _, line, texts in lines],
        )
        points: dict[tuple[str, str], list[float]] = {}
        for (model, row, line, _), reply in zip(lines, replies, strict=True):
            if reply is not None:
                cell = points.setdefault((str(row["id"]), model), [0.0, 0.0])
                cell[0] += float(line["points"]) * bool(reply["met"])
                cell[1] += float(line["points"])
        return [self._essay_sample(row, points) for row in rows]

    def pairs(
        self, items: Sequence[Item], answers: Mapping[str, Mapping[str, str]]
    ) -> tuple[list[Sample], dict[str, float]]:
        """Wins of the tuned model on the held-out questions, and the win rate with its consistency over both orders."""
        texts = [
            {"question": i.question, "answer_a": answers[first][i.id], "answer_b": answers[second][i.id]}
            for first, second in (("base", "tuned"), ("tuned", "base"))
            for i in items
        ]
        replies = self._ask(("pairwise_system", "pairwise_user", WINNER), texts)
        forth, back = replies[: len(items)], replies[len(items) :]
        judged = [(i, a, b) for i, a, b in zip(items, forth, back, strict=True) if a is not None and b is not None]
        first = [{"A": "base", "B": "tuned"}.get(str(a["winner"]), "tie") for _, a, _ in judged]
        second = [{"A": "tuned", "B": "base"}.get(str(b["winner"]), "tie") for _, _, b in judged]
        samples = []
        for (item, _, _), a, b in zip(judged, first, second, strict=True):
            won = {"tuned": 1.0, "base": 0.0, "tie": 0.5}[a if a == b else "tie"]
            samples.append(Sample("pairwise", item.id, item.group, item.category, (1 - won, 1.0), (won, 1.0)))
        return samples, win_rate(first, second)

    def _essay_sample(self, row: Mapping[str, Any], points: Mapping[tuple[str, str], Sequence[float]]) -> Sample:
        name = str(row["id"])
        base, tuned = (tuple(points.get((name, model), (0.0, 0.0))) for model in ("base", "tuned"))
        return Sample("essay", name, name, str(row.get("topic", "")), (base[0], base[1]), (tuned[0], tuned[1]))

    def _ask(
        self, prompts: tuple[str, str, dict[str, Any]], texts: Iterable[dict[str, str]]
    ) -> list[dict[str, Any] | None]:
        """The judge's replies in order; None where none could be used."""
        system, user, schema = prompts

        def check(text: str) -> tuple[dict[str, Any], bool]:
            value, clean = json_in(text)
            return check_flat(value, schema), clean

        asks = []
        for values in texts:
            shown = {name: without_markers(text, self._markers, SHOWN_CHARS) for name, text in values.items()}
            messages: list[Message] = [
                {"role": "system", "content": self._prompts[system]},
                {"role": "user", "content": fill(self._prompts[user], shown)},
            ]
            key = ledger_key(user, self._hash, values, self.endpoint.model)
            asks.append(Ask(key, messages, schema, check, REPLY_TOKENS))
        found: dict[str, dict[str, Any] | None] = {}
        failed: dict[str, str] = {}
        unique = {ask.key: ask for ask in asks}
        self.endpoint.ask(
            unique.values(),
            lambda o: found.__setitem__(o.key, o.value) if o.state == "ok" else failed.__setitem__(o.key, o.code),
        )
        self.faults.update(failed[ask.key] for ask in asks if ask.key in failed)
        return [found.get(ask.key) for ask in asks]


def _family(model: str) -> str:
    return next((name for name in FAMILIES if name in model.lower()), "")
