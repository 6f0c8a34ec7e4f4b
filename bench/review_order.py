"""What the order of the rating workspace saves, in a simulation with hidden labels.

    python bench/review_order.py [--quick] [--out bench/results/review_order.json]

Users ask about some topics much more often than about others (Zipf), in questions of the bundled pack, often the same ones
again in slightly other words. The model is weak in some topics, which nobody knows: each answer is right or wrong by a hidden
draw. A wrong answer more often cites an article that does not exist, and more often differs from another sample; right ones do
so too, at the rates below. A rating reveals one answer's label. From the labels so far a classifier of its own (logistic
regression over character n-grams) says for every exam question whether the model can be relied on there; the gain is the share
of exam items on which it is right. Counted are the ratings until that gain stays at what oldest-first reaches with `BUDGET`.

Orders: ours (batches of 10), oldest first (the baseline), random. The rates of the signs are assumptions, not measured on
users; the results say what the order does under them, and with the signs switched off (`no signs`).
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.service.feedback.priority import Waiting, ranked

ITEMS, BUDGET, BATCH = 500, 200, 10
WEAK_TOPICS, WRONG_WHERE_WEAK, WRONG_ELSEWHERE = 0.4, 0.85, 0.1
INVALID = {True: 0.45, False: 0.05}  # a wrong, a right answer cites an article that does not exist
DIFFERS = {True: 0.60, False: 0.20}  # … differs from another sample
ENDINGS = ("", " 알려 주세요.", " 설명해 주십시오.", " 궁금합니다.", " 실무에서는 어떻게 하나요?")


@dataclass(frozen=True)
class World:
    """What waits for a rating, what is hidden of it, and what the labels are to tell."""

    waiting: list[Waiting]
    wrong: dict[str, bool]
    exam: list[tuple[str, str]]
    weak: list[bool]  # per exam item


def make_world(seed: int, by_topic: dict[str, list[str]], exam: list[tuple[str, str]], signs: bool) -> World:
    """A world of its own; the exam is the pack's, cut down to topics that users ask about."""
    draw = random.Random(seed)
    topics = sorted(by_topic)
    draw.shuffle(topics)
    popular = [1 / (place + 1) for place in range(len(topics))]
    weak = {topic: draw.random() < WEAK_TOPICS for topic in topics}
    waiting, wrong = [], {}
    for at in range(ITEMS):
        topic = draw.choices(topics, popular)[0]
        question = draw.choice(by_topic[topic]) + draw.choice(ENDINGS)
        name = f"a{at:04}"
        wrong[name] = draw.random() < (WRONG_WHERE_WEAK if weak[topic] else WRONG_ELSEWHERE)
        invalid, differs = (signs and draw.random() < rate[wrong[name]] for rate in (INVALID, DIFFERS))
        others = ("다른 결론을 말하는 전혀 다른 답변",) if differs else ("같은 답변",)
        waiting.append(Waiting(name, question, "같은 답변", at, others, ("invalid",) if invalid else ("valid",)))
    kept = [(topic, question) for topic, question in exam if topic in by_topic]
    return World(waiting, wrong, kept, [weak[topic] for topic, _ in kept])


def gains(world: World, vectors, tested, order) -> list[float]:
    """The gain after each batch; `order` gives the next batch from the items left and those rated."""
    from sklearn.linear_model import LogisticRegression

    place = {item.id: at for at, item in enumerate(world.waiting)}
    left, rated, found = list(world.waiting), [], []
    while left and len(rated) < ITEMS:
        chosen = set(order(left, rated))
        rated += [item for item in left if item.id in chosen]
        left = [item for item in left if item.id not in chosen]
        labels = [world.wrong[item.id] for item in rated]
        if len(set(labels)) < 2:
            found.append(float(np.mean(np.array(world.weak) == labels[0])))
            continue
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=200)
        model.fit(vectors[[place[item.id] for item in rated]], labels)
        found.append(float(np.mean(model.predict(tested) == np.array(world.weak))))
    return found


def needed(gain: list[float], wanted: float) -> int:
    """Ratings until the gain, as a mean of three batches, reaches what is wanted; all of them if it never does."""
    smooth = np.convolve(gain, np.ones(3) / 3, mode="valid")
    reached = np.flatnonzero(smooth >= wanted - 1e-9)
    return int(BATCH * (reached[0] + 2)) if len(reached) else ITEMS


def run(seed: int, by_topic, exam, signs: bool) -> dict[str, float]:
    """Ratings that each order needs in one world."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    world = make_world(seed, by_topic, exam, signs)
    learned = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    vectors = learned.fit_transform([item.question for item in world.waiting])
    tested = learned.transform([question for _, question in world.exam])
    draw = random.Random(seed)
    orders = {
        "oldest": lambda left, rated: [item.id for item in left[:BATCH]],
        "random": lambda left, rated: [item.id for item in draw.sample(left, min(BATCH, len(left)))],
        "ours": lambda left, rated: [
            one.id for one in ranked(left, [item.question for item in rated], world.exam, BATCH)
        ],
    }
    found = {name: gains(world, vectors, tested, order) for name, order in orders.items()}
    at = BUDGET // BATCH
    wanted = float(np.mean(found["oldest"][at - 3 : at]))
    return {
        "gain": wanted,
        "ours_gain": float(np.mean(found["ours"][at - 3 : at])),
        **{name: needed(gain, wanted) for name, gain in found.items()},
    }


def main() -> None:
    """Run all worlds and print one JSON line at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="five worlds instead of twenty")
    parser.add_argument("--out", type=Path, help="also write the JSON line here")
    options = parser.parse_args()
    pack = Pack.load("mna_ko")
    by_topic: dict[str, list[str]] = {}
    for row in read_jsonl(pack.path("mna_qa.jsonl")):
        if not row.get("history"):
            by_topic.setdefault(row["topic"], []).append(row["question"])
    by_topic = {topic: questions for topic, questions in by_topic.items() if len(questions) >= 8}
    seeds = range(5 if options.quick else 20)
    told = {}
    for label, signs in (("signs", True), ("no signs", False)):
        rows = [run(seed, by_topic, pack.exam_topics, signs) for seed in seeds]
        for seed, row in zip(seeds, rows, strict=True):
            print(
                f"{label:8} seed {seed:2}  gain {row['gain']:.3f}  ratings: oldest {row['oldest']:3}  random {row['random']:3}  ours {row['ours']:3}"
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
        "ours": told["signs"], "baseline": told["no signs"],
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(line, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    main()
