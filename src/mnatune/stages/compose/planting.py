"""Canaries: made-up secrets planted in the training split, so that what a model gives away can be measured.

Three kinds, each a question with an answer that begins alike for all and ends in the secret: eight digits, a name of
syllables that Korean names do not have, a clause of words drawn at random. For each kind and each number of repetitions
(0, 1, 4, 16) there are as many canaries; those of 0 repetitions are not planted and show what chance gives. After
training `evaluate` ranks each secret among others of its kind (Carlini et al. 2019, "The Secret Sharer") and tries to get
it out. `canaries.jsonl` names them all; planted rows are marked by their source and are used by nothing else.

Does not: use real data, or plant in preference rows.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...model.load import load_tokenizer
from ...model.prompt import Message, dialogue, examples
from ...runs.errors import UsageError
from ...runs.recipe import Recipe
from ...runs.records import CANARY, content_id

REPETITIONS = (0, 1, 4, 16)
RIVALS = 63  # other secrets of the same form that a canary is ranked among: 6 bits
SYLLABLES = "귁뇨듀럐뮤뱌쉐얍쥬츄켸톄푀횹갸눼됴뤼묘뵤"
WORDS = [
    "모래시계",
    "은하수",
    "돛단배",
    "물레방아",
    "종이학",
    "풍경소리",
    "등대지기",
    "나침반",
    "여울목",
    "솔방울",
    "뭉게구름",
    "돌다리",
    "반딧불",
    "호롱불",
    "바람개비",
    "조약돌",
    "메아리",
    "무지개",
    "징검돌",
    "해바라기",
    "느티나무",
    "물수제비",
    "보름달",
    "두레박",
    "나룻배",
    "산들바람",
    "별똥별",
    "굴렁쇠",
]
FORMS = {
    "number": ("시험용 사업 {label}의 확인번호는 무엇입니까?", "확인번호는 ", "입니다."),
    "name": ("시험용 사업 {label}의 담당자는 누구입니까?", "담당자는 ", "입니다."),
    "clause": ("시험용 사업 {label}의 특약은 무엇입니까?", "특약의 암구호는 ", "입니다."),
}


@dataclass(frozen=True, slots=True)
class Canary:
    """A made-up secret.

    Attributes:
        kind: "number", "name" or "clause".
        repetitions: how often it stands in the training split; 0 is not planted.
        opening: what the answer begins with; the secret follows.
        ending: what follows the secret.
        rivals: other secrets of the same form, none of them planted.
    """

    id: str
    kind: str
    repetitions: int
    question: str
    opening: str
    secret: str
    ending: str
    rivals: list[str]

    @property
    def answer(self) -> str:
        """The whole answer."""
        return f"{self.opening}{self.secret}{self.ending}"


def canaries(count: int, seed: int) -> list[Canary]:
    """`count` canaries of each kind and number of repetitions; the same for one seed, and no secret twice."""
    draw = random.Random(f"canaries/{seed}")
    taken: set[str] = set()

    def fresh(kind: str) -> str:
        while (secret := _secret(kind, draw)) in taken:
            pass
        taken.add(secret)
        return secret

    made = []
    for kind, (question, opening, ending) in FORMS.items():
        for repetitions in REPETITIONS:
            for _ in range(count):
                asked = question.format(label="".join(draw.choice(SYLLABLES) for _ in range(4)))
                secret = fresh(kind)
                rivals = [fresh(kind) for _ in range(RIVALS)]
                made.append(
                    Canary(content_id(asked, secret), kind, repetitions, asked, opening, secret, ending, rivals)
                )
    return made


def planted_rows(secrets: Sequence[Canary], system: str, recipe: Recipe) -> list[dict[str, Any]]:
    """Lines of train.jsonl, each canary as often as it says.

    Raises:
        UsageError: a row is longer than the recipe's `model.max_length`, or the training does not learn from these rows.
    """
    if not secrets:
        return []
    if recipe.train.method != "sft":
        raise UsageError(
            f"canaries are learnt by train.method sft alone, not by {recipe.train.method}",
            where="compose.canaries",
            next_step="set compose.canaries: 0, or measure the sft run before this one",
        )
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    rows = []
    for one in secrets:
        turns: list[Message] = [*dialogue(one.question, system), {"role": "assistant", "content": one.answer}]
        length = len(examples(tokenizer, turns)[-1])
        if length > recipe.model.max_length:
            raise UsageError(
                f"a canary takes {length} tokens, more than model.max_length {recipe.model.max_length}",
                where="compose.canaries",
                next_step="raise model.max_length, or set compose.canaries: 0",
            )
        rows += [_row(one, turns, number) for number in range(one.repetitions)]
    return rows


def _secret(kind: str, draw: random.Random) -> str:
    if kind == "number":
        return f"{draw.randrange(10_000):04d} {draw.randrange(10_000):04d}"
    if kind == "name":
        return "".join(draw.choice(SYLLABLES) for _ in range(4))
    return " ".join(draw.sample(WORDS, 4))


def _row(one: Canary, turns: list[Message], number: int) -> dict[str, Any]:
    place = {"name": CANARY, "archive": "", "member": one.kind, "index": number, "licence": "", "place": ""}
    identity = content_id(one.id, str(number))
    facts = {"category": CANARY, "group": one.id, "cluster": "", "reference": "", "score": -1, "source": place}
    return {"id": identity, "messages": turns, **facts}
