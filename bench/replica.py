"""An AI Hub 71748-shaped tree of any size, with generated text and known counts.

Scale 1 has the numbers that the set is known for: 978,172 pairs in 118 members of Other.zip, 36,988 label rows of which 1,738
echo their question, 4,623 validation rows with 264 echoes.
"""

import json
import random
import zipfile
from pathlib import Path

ROWS, LABELS, ECHOES, CHECKS, CHECK_ECHOES, MEMBERS = 978_172, 36_988, 1_738, 4_623, 264, 118
KEPT = ("사회", "인문", "자연", "공학", "산업", "기타")
LEFT_OUT = ("예체능", "종교", "보건")
SHARE_LEFT_OUT = 1 - 883_254 / 1_013_422
PLACES = [
    "서울",
    "부산",
    "대구",
    "인천",
    "광주",
    "대전",
    "울산",
    "세종",
    "수원",
    "창원",
    "청주",
    "전주",
    "천안",
    "포항",
    "제주",
    "김해",
]
BODIES = [
    "도시개발실",
    "시설공단",
    "기술원",
    "관광공사",
    "의료원",
    "교통공사",
    "상공회의소",
    "환경공단",
    "문화재단",
    "진흥원",
    "개발공사",
    "교육청",
]
TOPICS = [
    "재정현황",
    "감사결과",
    "예산집행",
    "조례개정",
    "인력운용",
    "시설보수",
    "흡수합병",
    "영업양수도",
    "주식교환",
    "기업실사",
    "공개매수",
    "물적분할",
]
ACTS = [
    "추진하였다",
    "검토하였다",
    "확대하였다",
    "축소하였다",
    "점검하였다",
    "발표하였다",
    "보고하였다",
    "개선하였다",
    "승인하였다",
]
SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4, 7)]
BODY_SENTENCES = 9


def sentence(dice: random.Random) -> str:
    """One sentence of about 110 characters."""
    pick = dice.choice
    name = "".join(dice.choices(SYLLABLES, k=5))
    return (
        f"{pick(PLACES)} {pick(BODIES)}은 {dice.randint(1990, 2024)}년 {pick(TOPICS)}에 관하여 {dice.randint(1, 9999):,}억 원 "
        f"규모의 {name} 사업을 {pick(ACTS)}. {pick(PLACES)} 지역의 {pick(TOPICS)} 지표는 {dice.randint(1, 99)}.{dice.randint(0, 9)}% "
        f"증가하였으며 담당은 {''.join(dice.choices(SYLLABLES, k=3))}팀이다."
    )


def pair(dice: random.Random, number: int) -> dict[str, str]:
    """One question and answer."""
    subject = "".join(dice.choices(SYLLABLES, k=4))
    question = f"{dice.choice(PLACES)} {dice.choice(BODIES)}의 {subject} {dice.choice(TOPICS)} 현황 {number}호에 대해 알려주세요."
    return {"question": question, "answer": " ".join(sentence(dice) for _ in range(dice.randint(1, 3)))}


def category(dice: random.Random) -> str:
    """A category; about one in eight is left out by curation."""
    return dice.choice(LEFT_OUT if dice.random() < SHARE_LEFT_OUT else KEPT)


def build(root: Path, scale: float, repeated: float = 0.005) -> dict[str, int]:
    """Write the tree; returns its true counts. `repeated` is the share of exact, and as many near, duplicates."""
    dice = random.Random(71748)
    truth = dict.fromkeys(("other", "labels", "echo", "left_out", "validation", "validation_echo", "exact", "near"), 0)
    data = root / "dataset/data"
    members = {f"/SL{n:03d}.json": n for n in range(MEMBERS)}
    rows = max(MEMBERS, round(ROWS * scale))
    earlier: list[dict[str, str]] = []
    with _zip(data / "Other/Other.zip") as archive:
        for name, n in members.items():
            documents = _documents(dice, rows // MEMBERS + (n < rows % MEMBERS), truth, earlier, repeated)
            archive.writestr(name, json.dumps(documents, ensure_ascii=False))
    for folder, name, count, echoes, side in (
        ("Training", "TL_02.RLHF데이터.zip", LABELS, ECHOES, ""),
        ("Validation", "VL.zip", CHECKS, CHECK_ECHOES, "validation"),
    ):
        labels = _labels(dice, max(3, round(count * scale)), round(echoes * scale), truth, side)
        with _zip(data / folder / "02.라벨링데이터" / name) as archive:
            third = len(labels) // 3
            for label, part in (("RMlabel", labels[:third]), ("SFTlabel", labels[third:])):
                archive.writestr(
                    f"/{label}.json", json.dumps({"dataset_info": {}, "data_info": part}, ensure_ascii=False)
                )
    (root / "truth.json").write_text(json.dumps(truth))
    return truth


def _zip(path: Path) -> zipfile.ZipFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    return zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)


def _documents(dice, count, truth, earlier, repeated):
    documents = []
    while count:
        group = category(dice)
        pairs = []
        for _ in range(min(count, dice.randint(1, 8))):
            lot = dice.random()
            if earlier and lot < repeated:
                pairs.append(dice.choice(earlier))
                truth["exact"] += 1
            elif earlier and lot < 2 * repeated:
                old = dice.choice(earlier)
                pairs.append(
                    {
                        "question": old["question"].replace("에 대해", "에 관해"),
                        "answer": old["answer"] + " 이상입니다.",
                    }
                )
                truth["near"] += 1
            else:
                pairs.append(pair(dice, truth["other"]))
                if len(earlier) < 20_000:
                    earlier.append(pairs[-1])
            truth["other"] += 1
        count -= len(pairs)
        truth["left_out"] += len(pairs) * (group in LEFT_OUT)
        documents.append({
            "data_id": f"{dice.getrandbits(128):032x}", "data_title": "회의록", "data_ccl": "CC BY",
            "data_category": {"main": "구어체", "middle": group, "sub": ""},
            "contents": [{"text": " ".join(sentence(dice) for _ in range(BODY_SENTENCES)), "QA": pairs}],
        })  # fmt: skip
    return documents


def _labels(dice, count, echoes, truth, side):
    rows = []
    for number in range(count):
        one, group = pair(dice, 10_000_000 + number), category(dice)
        if number < echoes:
            one["answer"] = one["question"]
        else:
            truth["left_out"] += (group in LEFT_OUT) and not side
        row = {
            "data_id": f"{dice.getrandbits(128):032x}",
            "data_category": {"main": "문어체", "middle": group},
            "question": one["question"],
        }
        if number % 3:
            row["answer"] = {"contents": one["answer"]}
        else:
            others = [one["answer"], *(sentence(dice) for _ in range(4))]
            row |= {f"answer{n:02d}": {"ranking": n, "contents": text} for n, text in enumerate(others, 1)}
        rows.append(row)
    truth[side or "labels"] += count
    truth[f"{side}_echo" if side else "echo"] += echoes
    return rows
