"""What the order of the rating workspace saves, in a simulation with hidden labels.

    python bench/review_order.py [--quick] [--out bench/results/review_order.json]

Users ask about some topics much more often than about others (Zipf), in questions of the bundled pack, often the same ones
again in slightly other words. The model is weak in some topics, which nobody knows: each answer is right or wrong by a hidden
draw. A wrong answer more often cites an article that does not exist, and more often differs from another sample; right ones do
so too, at the rates below. A rating reveals one answer's label, and a wrong answer is then corrected. What corrections teach is
modelled, not trained: a topic's share of the exam, where the model is weak, is mended to 1 - exp(-d / MENDED) by d corrected
questions; the same question again teaches nothing, and neither does the confirmation of a right answer. The gain is the mended
share of all weak exam items. Counted are the ratings until the gain reaches what oldest-first has after `BUDGET`.

Orders: ours (in batches of 10, told anew after each), oldest first (the baseline), random. The rates of the signs are
assumptions, not measured on users; `weak signs` halves their difference and `no signs` switches them off.
"""

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.service.feedback.priority import RatedQuestion, Waiting, ranked

ITEMS, BUDGET, BATCH = 500, 200, 10
WEAK_TOPICS, WRONG_WHERE_WEAK, WRONG_ELSEWHERE = 0.4, 0.85, 0.1
MENDED = 3  # corrected questions of a topic that mend 63 % of it
INVALID = {True: 0.45, False: 0.05}  # a wrong, a right answer cites an article that does not exist
DIFFERS = {True: 0.60, False: 0.20}  # … differs from another sample
ENDINGS = ("", " 알려 주세요.", " 설명해 주십시오.", " 궁금합니다.", " 실무에서는 어떻게 하나요?")


@dataclass(frozen=True)
class World:
    """What waits for a rating, what is hidden of it, and what the labels are to tell."""

    waiting: list[Waiting]
    wrong: dict[str, bool]
    hidden: dict[str, tuple[str, str]]  # topic and question, as the pack has them
    exam: list[tuple[str, str]]
    weak: list[bool]  # per exam item


def make_world(seed: int, by_topic: dict[str, list[str]], exam: list[tuple[str, str]], signs: float) -> World:
    """A world of its own; the exam is the pack's, cut down to topics that users ask about.

    Args:
        signs: how far the signs of wrong and right answers differ: 1 as in the tables above, 0 not at all.
    """
    draw = random.Random(seed)
    topics = sorted(by_topic)
    draw.shuffle(topics)
    popular = [1 / (place + 1) for place in range(len(topics))]
    weak = {topic: draw.random() < WEAK_TOPICS for topic in topics}
    waiting, wrong, hidden = [], {}, {}
    for at in range(ITEMS):
        topic = draw.choices(topics, popular)[0]
        asked = draw.choice(by_topic[topic])
        question = asked + draw.choice(ENDINGS)
        name = f"a{at:04}"
        hidden[name] = (topic, asked)
        wrong[name] = draw.random() < (WRONG_WHERE_WEAK if weak[topic] else WRONG_ELSEWHERE)
        invalid, differs = (
            draw.random() < rate[False] + signs * (rate[wrong[name]] - rate[False]) for rate in (INVALID, DIFFERS)
        )
        others = ("다른 결론을 말하는 전혀 다른 답변",) if differs else ("같은 답변",)
        waiting.append(Waiting(name, question, "같은 답변", at, others, ("invalid",) if invalid else ("valid",)))
    kept = [(topic, question) for topic, question in exam if topic in by_topic]
    return World(waiting, wrong, hidden, kept, [weak[topic] for topic, _ in kept])


def gains(world: World, order, wanted: float = math.inf) -> list[float]:
    """The gain after each batch, until what is wanted is reached and the budget spent.

    Args:
        order: gives the next batch from the items left and those rated.
    """
    share = Counter(topic for (topic, _), weak in zip(world.exam, world.weak, strict=True) if weak)
    left, rated, found = list(world.waiting), [], []
    corrected: dict[str, set[str]] = {topic: set() for topic in share}
    while left and (len(rated) < BUDGET or found[-1] < wanted):
        chosen = set(order(left, rated))
        for item in left:
            topic, question = world.hidden[item.id]
            if item.id in chosen and world.wrong[item.id] and topic in corrected:
                corrected[topic].add(question)
        rated += [item for item in left if item.id in chosen]
        left = [item for item in left if item.id not in chosen]
        mended = sum(part * (1 - math.exp(-len(corrected[topic]) / MENDED)) for topic, part in share.items())
        found.append(mended / share.total())
    return found


def needed(gain: list[float], wanted: float) -> int:
    """Ratings until the gain reaches what is wanted; all of them if it never does."""
    return next((BATCH * (at + 1) for at, value in enumerate(gain) if value >= wanted - 1e-9), ITEMS)


def run(seed: int, by_topic: dict[str, list[str]], exam: list[tuple[str, str]], signs: float) -> dict[str, float]:
    """Ratings that each order needs in one world."""
    world = make_world(seed, by_topic, exam, signs)
    draw = random.Random(seed)
    orders = {
        "oldest": lambda left, rated: [item.id for item in left[:BATCH]],
        "random": lambda left, rated: [item.id for item in draw.sample(left, min(BATCH, len(left)))],
        "ours": lambda left, rated: [
            one.id
            for one in ranked(
                left, [RatedQuestion(i.question, not world.wrong[i.id]) for i in rated], world.exam, BATCH
            )
        ],
    }
    at = BUDGET // BATCH - 1
    wanted = gains(world, orders["oldest"], 0.0)[at]
    found = {name: gains(world, order, wanted) for name, order in orders.items()}
    counts = {name: needed(gain, wanted) for name, gain in found.items()}
    return {"gain": wanted, "ours_gain": found["ours"][at], **counts}


def main() -> None:
    """Run all worlds and print one JSON line at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="five worlds instead of twenty")
    parser.add_argument("--out", type=Path, help="also write the JSON line here")
    options = parser.parse_args()
    pack = Pack.load("mna_ko")
    by_topic: dict[str, list[str]] = {}
    for row in read_jsonl(pack.path("qa.jsonl")):
        if not row.get("history"):
            by_topic.setdefault(row["topic"], []).append(row["question"])
    by_topic = {topic: questions for topic, questions in by_topic.items() if len(questions) >= 8}
    seeds = range(5 if options.quick else 20)
    told = {}
    for label, signs in (("signs", 1.0), ("weak signs", 0.5), ("no signs", 0.0)):
        rows = [run(seed, by_topic, pack.exam_topics, signs) for seed in seeds]
        for seed, row in zip(seeds, rows, strict=True):
            print(
                f"{label:10} seed {seed:2}  gain {row['gain']:.3f}  ratings: oldest {row['oldest']:3}  random {row['random']:3}  ours {row['ours']:3}"
            )
        told[label] = {
            "seeds": len(rows),
            "gain": round(statistics.mean(row["gain"] for row in rows), 4),
            "ours_gain_at_budget": round(statistics.mean(row["ours_gain"] for row in rows), 4),
            **{name: round(statistics.mean(row[name] for row in rows), 1) for name in ("oldest", "random", "ours")},
            "share": round(statistics.mean(row["ours"] / row["oldest"] for row in rows), 3),
            "share_median": round(statistics.median(row["ours"] / row["oldest"] for row in rows), 3),
            "seeds_at_half_or_less": sum(row["ours"] <= row["oldest"] / 2 for row in rows),
        }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    line = {
        "bench": "review_order", "commit": commit.stdout.strip(),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "ratio": {"oldest": round(1 / told["signs"]["share"], 2)},
        "ours": told, "baseline": "oldest first",
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(line, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    main()
