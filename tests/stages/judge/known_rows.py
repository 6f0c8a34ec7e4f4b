"""Rows whose usefulness is known by construction, a run that holds them as curated, and a judge that knows the truth.

Useful rows mostly use terms of the pack's lexicon; some tell of the same deals in plain words that it does not know.
Useless rows are public administration, and some of them use the field's words in another sense.
"""

import random
from pathlib import Path
from typing import Any

from mnatune.model.endpoint.fake import ROW_LINE, Body, judged
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import QA, QA_SCHEMA, Source, content_id, to_table, write_table
from mnatune.runs.workspace import Manifest, Run, Stage

FIELD = [
    "흡수합병",
    "신설합병",
    "영업양수도",
    "주식교환",
    "주식매수청구권",
    "공개매수",
    "물적분할",
    "인적분할",
    "기업결합신고",
    "합병비율",
    "전환사채",
]
PLAIN = [
    "회사를 통째로 사들이는 계약",
    "지분을 모두 넘겨받는 절차",
    "상대 회사의 재무와 법률 위험을 미리 살피는 조사",
    "두 회사를 하나로 합치는 일정",
    "대주주 지분을 넘기는 값을 정하는 방법",
]
FRIENDS = ["한일합병 조약", "당뇨병 합병증 관리", "토지 분할 측량", "공개매수 없는 물품 구매", "이사 비용 지원"]
OTHERS = [
    "재정현황",
    "감사결과",
    "예산집행",
    "조례개정",
    "인력운용",
    "시설보수",
    "민원처리",
    "창업지원",
    "도로정비",
    "하수처리",
    "관광객유치",
    "에너지절감",
]
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
]
DEAL = [
    "주주총회 특별결의를 거쳐 반대주주를 보호해야 합니다",
    "매수인은 계약을 맺기 전에 우발채무를 확인합니다",
    "이사회가 거래 조건을 승인하고 공시합니다",
    "매도인은 자료를 내고 매수인은 가격을 다시 정합니다",
]
OFFICE = [
    "담당 부서는 지역 주민의 의견을 들었습니다",
    "시는 내년에도 사업을 이어 가기로 했습니다",
    "예산은 의회의 심의를 거쳐 확정되었습니다",
    "현장 점검 결과 보완할 점이 나왔습니다",
]
NEUTRAL = [
    "자세한 내용은 관련 규정을 따릅니다",
    "기한을 넘기면 효력이 달라질 수 있습니다",
    "당사자는 필요한 서류를 갖추어 제출합니다",
    "금액은 협의를 거쳐 정하였습니다",
    "전문가의 검토를 받는 편이 안전합니다",
    "절차는 세 단계로 나뉩니다",
]


def make_rows(count: int, share: float = 0.03, plain: float = 0.1, seed: int = 0) -> tuple[list[QA], set[str]]:
    """`count` distinct rows and the ids of the useful ones; `plain` of those use no term of the lexicon."""
    r = random.Random(seed)
    rows, useful = [], set()
    for at in range(count):
        good = r.random() < share
        kind = r.random()
        topic = r.choice(PLAIN if kind < plain else FIELD) if good else r.choice(FRIENDS if kind < 0.05 else OTHERS)
        question = f"{r.choice(PLACES)} {at}호 {topic}에 대해 설명해 주세요."
        own = DEAL if good else OFFICE
        parts = [r.choice(NEUTRAL if r.random() < 0.7 else own) for _ in range(r.randint(1, 3))]
        size, year = r.randint(1, 9999), r.randint(1998, 2024)
        answer = f"{topic}에 관하여 {size}억 원 규모로 {year}년에 진행되었습니다. " + ". ".join(parts)
        row = QA(content_id(question, answer), question, answer, "사회", f"g{at}", Source("replica", index=at))
        rows.append(row)
        if good:
            useful.add(row.id)
    return rows, useful


def make_run(root: Path, rows: list[QA]) -> Run:
    """A run in which `curate` is done with these rows."""
    run = Run(root)

    def work(place: Stage) -> None:
        write_table(to_table(rows, QA_SCHEMA), place.path("qa.parquet"))

    run.perform("curate", {}, {}, 0, "", work)
    return run


def make_job(run: Run, stage: str = "judge", **sections: Any) -> Job:
    """A job of a stage whose manifest is not written by a journey."""
    recipe = Recipe.model_validate({"name": "t", **sections})
    folder = run.folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    return Job(recipe, Pack.load("mna_ko"), run, Stage(folder, Manifest(stage, "", {}, {}, recipe.seed)))


def endpoint(base_url: str, root: Path, **more: Any) -> dict[str, Any]:
    """An endpoint section without effective rate limits."""
    fast = {"per_minute": (10**8, 10**12), "ledger": str(root / "ledger.sqlite3")}
    return {"base_url": base_url, "model": "fake", "timeout": 5.0} | fast | more


def knowing(useful: set[str]) -> Any:
    """A reply function that scores useful rows high and others low, with some spread."""

    def reply(body: Body) -> str:
        found = ROW_LINE.search(body["messages"][1]["content"])
        row_id = found.group(1) if found else ""
        wobble = int(row_id[:4] or "0", 16) % 2
        level = (5, 4 - wobble, 4, 4) if row_id in useful else (wobble, 1, 1, 1)
        return judged(body, lambda text: level)

    return reply
