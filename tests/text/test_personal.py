"""Korean personal data: what must be masked, what must not, and that masking leaves everything else as it is."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.runs.errors import DataError
from mnatune.runs.recipe import bundled
from mnatune.text.codes import Codes
from mnatune.text.personal import Personal, suspects

RULES = Pack(bundled("packs") / "mna_ko").yaml("pii.yaml")
KINDS = {kind["kind"]: kind for kind in RULES["kinds"]}
ALL = Personal(RULES, every=True)
USUAL = Personal(RULES)
WIDE = str.maketrans("0123456789-", "０１２３４５６７８９－")


def digits(dice, count):
    return "".join(dice.choices("0123456789", k=count))


def resident(dice):
    year = dice.randint(1930, 2025)
    citizen, foreigner = ("12", "56") if year < 2000 else ("34", "78")
    sex = dice.choice(citizen if dice.random() < 0.8 else foreigner)
    return f"{year % 100:02d}{dice.randint(1, 12):02d}{dice.randint(1, 28):02d}-{sex}{digits(dice, 6)}"


MAKERS = {
    "resident_number": resident,
    "phone": lambda d: f"{d.choice(['010', '02', '031', '051', '070'])}-{d.randint(200, 9999)}-{digits(d, 4)}",
    "email": lambda d: f"{''.join(d.choices('abcdefgh', k=5))}{digits(d, 2)}@example.{d.choice(['com', 'co.kr'])}",
    "card": lambda d: f"{d.choice('459')}{digits(d, 3)}-{digits(d, 4)}-{digits(d, 4)}-{digits(d, 4)}",
    "passport": lambda d: f"M{digits(d, 3)}{d.choice('ABC')}{digits(d, 4)}" if d.random() < 0.5 else f"M{digits(d, 8)}",
    "driver_licence": lambda d: f"{d.randint(11, 26)}-{digits(d, 2)}-{digits(d, 6)}-{digits(d, 2)}",
    "account": lambda d: f"계좌번호 {digits(d, 6)}-{digits(d, 2)}-{digits(d, 6)}",
}
VARIANTS = (
    str,
    lambda t: t.translate(WIDE),
    lambda t: t.replace("-", " - "),
    lambda t: t.replace("-", "–"),
    lambda t: t.replace("-", "－"),
)


def test_500_made_up_numbers():
    dice = random.Random(19)
    texts = []
    for _ in range(500):
        kind = dice.choice(list(MAKERS))
        texts.append(
            (kind, f"담당자의 정보는 {dice.choice(VARIANTS)(MAKERS[kind](dice))} 이며 계약서 제3조에 적혀 있다.")
        )
    masked = USUAL.mask_all([text for _, text in texts], Counter())
    missed = [text for (kind, text), after in zip(texts, masked, strict=True) if KINDS[kind]["mask"] not in after]
    assert len(missed) <= 5, missed


@pytest.mark.parametrize("kind", KINDS)
def test_the_packs_own_examples(kind):
    only = Personal({**RULES, "kinds": [{**KINDS[kind], "enabled": True}]})
    assert [text for text in KINDS[kind]["match"] if not only.find(text)] == []
    assert [text for text in KINDS[kind]["no_match"] if only.find(text)] == []


LEGAL = [
    "대법원 2006. 1. 12. 선고 2005다12345, 2005다12346 판결 및 헌법재판소 2010. 3. 25.자 2008헌마439 결정에 따르면 위 조항은 유효하다.",
    "상법 제522조의3 제1항 및 자본시장과 금융투자업에 관한 법률 시행령 제176조의5 제1항 제1호에 따라 산정한다.",
    "법인등록번호 110111-1234567인 회사가 보통주 1,234,567주를 주당 12,345원, 총 15,240,729,615원에 인수하였다.",
    "2019. 12. 31. 현재 자산총계는 9,876,543,210원이고 2020. 1. 1.부터 2020. 12. 31.까지의 매출은 1,234,567,890원이다.",
    "서울중앙지방법원 2012가합123456, 2013가합654321(병합) 사건에서 원고의 청구를 기각하였다.",
    "대통령령 제31380호(2021. 1. 5.)로 개정되기 전의 것을 말하며, 관보 제19876호에 실렸다.",
]


@pytest.mark.parametrize("text", LEGAL)
def test_legal_numbers_are_left_alone(text):
    assert USUAL.mask(text) == text


def test_counts_and_masks():
    counts: Counter[str] = Counter()
    text = "연락처 ０１０－１２３４－５６７８, 또는 a.b@example.com 입니다. 주민등록번호 900101-1234567."
    assert USUAL.mask(text, counts) == "연락처 [전화번호], 또는 [전자우편] 입니다. 주민등록번호 [주민등록번호]."
    assert counts == {"phone": 1, "email": 1, "resident_number": 1}


@given(st.lists(st.text("0123456789０９-–. @가나다MS은행a(t)", max_size=40), max_size=8))
def test_the_quick_look_misses_nothing(texts):
    assert USUAL.mask_all(texts, Counter()) == [USUAL.mask(text) for text in texts]


@given(st.text("0123456789-－ @.a가MSＭ０１９계좌은행", max_size=60))
def test_masking_twice_changes_nothing_more(text):
    once = ALL.mask(text)
    assert ALL.mask(once) == once
    found = ALL.find(text)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_patterns_without_digits_switch_the_quick_look_off():
    rules = {"kinds": [{"kind": "name", "label": "이름", "mask": "[이름]", "pattern": "홍길동", "match": ["홍길동"]}]}
    assert Personal(rules).mask_all(["홍길동 씨"], Counter()) == ["[이름] 씨"]
    assert suspects(Codes.of(["홍길동", "010-1234-5678", "x@y"])).tolist() == [False, True, True]


def test_wrong_rules_are_a_clear_error():
    with pytest.raises(DataError, match="patterns of personal data"):
        Personal({"kinds": [{"kind": "x", "label": "x", "mask": "x", "pattern": "("}]})
