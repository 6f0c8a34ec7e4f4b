"""Marking by an LLM judge: essays by rubric line, and base against tuned on the same question in both orders.

The judge is the recipe's endpoint. Every paid reply is in its ledger under the hash of the prompts, so a change of
wording is a new judge and a second run costs nothing. Replies that cannot be used are counted by fault and left out of
the metric, never scored as 0. The judge should be of another family than the tuned model: models prefer their own kind.

Does not: correct for a judge's liking of length or style.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...model.endpoint import Ask, Endpoint, check_flat, json_in, ledger_key
from ...model.prompt import Message
from ...pack import Pack
from ...runs.recipe import Recipe
from ...runs.workspace import value_hash
from ...text.untrusted import fill, without_markers
from .items import HeldOut
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
    """The judge of a recipe.

    Args:
        spending: account that its cost is charged to.

    Attributes:
        faults: unusable replies by their code.
    """

    def __init__(self, pack: Pack, recipe: Recipe, spending: str) -> None:
        self._prompts = {name: str(pack.prompts[name]) for name in PROMPTS}
        self._markers = (self._prompts["data_begin"].strip(), self._prompts["data_end"].strip())
        self._hash = value_hash([self._prompts, SHOWN_CHARS])
        self._base = recipe.model.id
        self.endpoint = Endpoint(recipe.endpoint, spending)
        self.faults: Counter[str] = Counter()

    def facts(self) -> dict[str, Any]:
        """The judge's name, prompt hash and unusable replies, and whether it belongs to the tuned model's family."""
        family = _family(self.endpoint.model)
        return {
            "judge": self.endpoint.model,
            "prompts_sha256": self._hash,
            "unusable": dict(sorted(self.faults.items())),
            "same_family": bool(family) and family == _family(self._base),
        }

    def essays(self, rows: Sequence[Mapping[str, Any]], answers: Mapping[str, Mapping[str, str]]) -> list[Sample]:
        """Points met of the points judged, per item; `answers` is model → item id → text."""
        lines = [(model, row, line) for model in answers for row in rows for line in row["rubric"]]
        texts = [
            {"question": str(r["question"]), "answer": answers[m][str(r["id"])], "rubric_line": str(line["text"])}
            for m, r, line in lines
        ]
        points: dict[tuple[str, str], tuple[float, float]] = {}
        for (model, row, line), met in zip(lines, self.met(texts), strict=True):
            if met is not None:
                won, judged = points.get((str(row["id"]), model), (0.0, 0.0))
                points[str(row["id"]), model] = won + float(line["points"]) * met, judged + float(line["points"])
        samples = []
        for row in rows:
            name = str(row["id"])
            base, tuned = (points.get((name, model), (0.0, 0.0)) for model in ("base", "tuned"))
            samples.append(Sample("essay", name, name, str(row.get("topic", "")), base, tuned))
        return samples

    def pairs(
        self, items: Sequence[HeldOut], answers: Mapping[str, Mapping[str, str]]
    ) -> tuple[list[Sample], dict[str, float]]:
        """Wins of the tuned model on the held-out questions, and the win rate with its consistency over both orders."""
        texts = [
            {"question": i.question, "answer_a": answers["base"][i.id], "answer_b": answers["tuned"][i.id]}
            for i in items
        ]
        names = {"A": "base", "B": "tuned", "tie": "tie"}
        judged = [(i, found) for i, found in zip(items, self.winners(texts), strict=True) if found is not None]
        samples = []
        for item, (forth, back) in judged:
            won = {"B": 1.0, "A": 0.0, "tie": 0.5}[forth if forth == back else "tie"]
            samples.append(Sample("pairwise", item.id, item.group, item.category, (1 - won, 1.0), (won, 1.0)))
        return samples, win_rate([names[f] for _, (f, _) in judged], [names[b] for _, (_, b) in judged])

    def met(self, lines: Sequence[dict[str, str]]) -> list[bool | None]:
        """Whether an answer meets a rubric line, of {question, answer, rubric_line}; None without a usable reply."""
        replies = self._ask(("essay_judge_system", "essay_judge_user", MET), lines)
        return [None if reply is None else bool(reply["met"]) for reply in replies]

    def winners(self, texts: Sequence[dict[str, str]]) -> list[tuple[str, str] | None]:
        """The better of answer_a and answer_b, "A", "B" or "tie", of {question, answer_a, answer_b}.

        Asks in both orders and reports both verdicts in terms of the given order; None unless both replies are usable.
        """
        swapped = [{**text, "answer_a": text["answer_b"], "answer_b": text["answer_a"]} for text in texts]
        replies = self._ask(("pairwise_system", "pairwise_user", WINNER), [*texts, *swapped])
        other = {"A": "B", "B": "A", "tie": "tie"}
        return [
            None if forth is None or back is None else (str(forth["winner"]), other[str(back["winner"])])
            for forth, back in zip(replies[: len(texts)], replies[len(texts) :], strict=True)
        ]

    def _ask(
        self, prompts: tuple[str, str, dict[str, Any]], texts: Iterable[dict[str, str]]
    ) -> list[dict[str, Any] | None]:
        """The judge's replies in order; None for unusable ones."""
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
