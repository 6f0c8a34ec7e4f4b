"""Estimates the cost of judging before the first call: rows, tokens, money and hours for each scorer."""

import random
from typing import Any

from ...model.endpoint.rubric import Rubric
from ...model.load import load_tokenizer
from ...pack import Pack
from ...runs.errors import EnvironmentFault
from ...runs.recipe import Recipe
from ...runs.records import question_of
from ...runs.workspace import Run
from ...text.lexicon import Lexicon
from .judge_rows import JudgeRows

SAMPLED = 2000  # rows whose prompts are tokenised
REPLY_TOKENS = 130  # of a reply in the rubric's shape: reason of 200 characters, evidence of 40, four numbers
CHARS_PER_TOKEN = 1.44  # where no tokenizer can be loaded: Korean legal text under Qwen3's, measured
PLANS = {
    "all": "every row",
    "prefiltered": "rows with a term of the lexicon",
    "cascade_least": "cascade, at least",
    "cascade_most": "cascade, at most",
}


def estimate(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Rows, tokens, cost and hours for judging all rows, those with a term of the lexicon, and the cascade.

    Prompts of a random sample are tokenised with the recipe's model's tokenizer; hours follow from the recipe's limits
    per minute alone, so a slow server takes longer. The cascade's share is its cap, so it costs at most that.
    """
    from .canaries import CALLS
    from .cascade import AUDIT_SHARE, MOST_CALLS, sample_size

    pack = Pack.load(recipe.pack)
    rows, rubric = JudgeRows(run), Rubric(pack)
    lexicon = Lexicon(pack.yaml("lexicon.yaml"))
    drawn = set(random.Random(recipe.seed).sample(range(rows.count), min(SAMPLED, rows.count)))
    chosen = [row for _, row in rows.chosen(sorted(drawn))]
    lengths, how = _prompt_tokens(recipe, [rubric.ask(row, "") for row in chosen])
    tokens_in = sum(lengths) / max(1, len(lengths))
    candidates = sum(lexicon.score(question_of(row), row["answer"])[0] > 0 for row in chosen) / max(1, len(chosen))
    size = sample_size(rows.count)
    least = size + round(AUDIT_SHARE * size) + CALLS
    plans = {
        "all": rows.count + CALLS,
        "prefiltered": round(candidates * rows.count) + CALLS,
        "cascade_least": least if size else rows.count + CALLS,
        "cascade_most": round(MOST_CALLS * rows.count) if size else rows.count + CALLS,
    }
    facts = {"rows": rows.count, "tokens_per_prompt": round(tokens_in, 1), "tokens_per_reply": REPLY_TOKENS}
    priced = {name: _priced(recipe, calls, tokens_in) for name, calls in plans.items()}
    return facts | {"tokenizer": how, "sampled": len(chosen), "plans": priced}


def _prompt_tokens(recipe: Recipe, asks: list[Any]) -> tuple[list[float], str]:
    texts = ["\n".join(message["content"] for message in ask.messages) for ask in asks]
    try:
        tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    except EnvironmentFault:
        return [len(text) / CHARS_PER_TOKEN for text in texts], f"{CHARS_PER_TOKEN} characters per token (no tokenizer)"
    return [float(len(ids)) for ids in tokenizer(texts)["input_ids"]] if texts else [], recipe.model.id


def _priced(recipe: Recipe, calls: int, tokens_in: float) -> dict[str, float]:
    section = recipe.endpoint
    into, out = calls * tokens_in, calls * REPLY_TOKENS
    minutes = max(calls / section.per_minute[0], (into + out) / section.per_minute[1])
    return {
        "calls": calls,
        "tokens_in": round(into),
        "tokens_out": round(out),
        "cost": round((into * section.prices[0] + out * section.prices[1]) / 1e6, 2),
        "hours": round(minutes / 60, 2),
    }


def estimate_table(facts: dict[str, Any]) -> str:
    """What `estimate` returned, for a terminal."""
    lines = [
        f"{facts['rows']:,} rows, {facts['tokens_per_prompt']:,.0f} tokens a prompt,"
        f" {facts['tokens_per_reply']} a reply ({facts['sampled']:,} prompts measured, tokenizer: {facts['tokenizer']})",
        f"  {'':<32} {'calls':>11} {'tokens in':>15} {'tokens out':>13} {'cost':>10} {'hours':>8}",
    ]
    for name, plan in facts["plans"].items():
        lines.append(
            f"  {PLANS[name]:<32} {plan['calls']:>11,} {plan['tokens_in']:>15,} {plan['tokens_out']:>13,}"
            f" {plan['cost']:>10,.2f} {plan['hours']:>8.2f}"
        )
    return "\n".join([*lines, "  cost by endpoint.prices; hours by endpoint.per_minute alone"])
