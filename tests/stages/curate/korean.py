"""Made-up Korean rows, and the edits that make near-duplicates of them."""

import random

PLACES = ["서울", "부산", "대구", "인천", "광주", "대전", "울산", "세종", "수원", "창원"]
FIRMS = [
    "한빛전자",
    "누리건설",
    "다온제약",
    "가람식품",
    "푸른해운",
    "새벽통신",
    "바른금융",
    "하늘항공",
    "온누리화학",
    "으뜸기계",
]
DEALS = [
    "흡수합병",
    "물적분할",
    "영업양도",
    "공개매수",
    "주식교환",
    "유상증자",
    "자산양수도",
    "지분매각",
    "회사분할",
    "경영권",
    "인수",
]
MOODS = [
    "시장의 기대를 모았다",
    "주주의 반발을 불렀다",
    "당국의 심사를 받았다",
    "채권자의 동의를 구했다",
    "이사회에서 의결되었다",
    "공정위에 신고되었다",
]
SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4, 11)]
PARTICLES = [
    ("은 ", "이 "),
    ("는 ", "가 "),
    ("을 ", "도 "),
    ("에서 ", "에서는 "),
    ("하였다", "했다"),
    ("관하여", "대하여"),
]


def sentence(dice: random.Random, numbers: bool = True) -> str:
    name = "".join(dice.choices(SYLLABLES, k=4))
    amount = f"{dice.randint(10, 9999):,}억 원 규모의 " if numbers else ""
    return (
        f"{dice.choice(PLACES)} {dice.choice(FIRMS)} {name}팀은 {amount}{dice.choice(DEALS)}에 관하여 "
        f"{''.join(dice.choices(SYLLABLES, k=3))} 방안을 검토하였다. 이 거래는 {dice.choice(MOODS)}."
    )


def row(dice: random.Random, sentences: int = 2, numbers: bool = True) -> dict[str, str]:
    subject = "".join(dice.choices(SYLLABLES, k=5))
    return {
        "question": f"{dice.choice(FIRMS)}의 {subject} {dice.choice(DEALS)} 현황을 설명해주세요.",
        "answer": " ".join(sentence(dice, numbers) for _ in range(sentences)),
    }


def edited(dice: random.Random, original: dict[str, str]) -> dict[str, str]:
    """The row with other particles, spacing, an ending more: every number stays."""
    answer = original["answer"]
    for old, new in dice.sample(PARTICLES, 1):
        answer = answer.replace(old, new, 1)
    choice = dice.randrange(3)
    if choice == 0:
        answer += " 이상입니다."
    elif choice == 1:
        answer = answer.replace(" ", "", 3)
    return {"question": original["question"].replace("설명해주세요", "설명해 주십시오"), "answer": answer}
