"""Many texts as one array, and what rests on it: tidying and exam overlap."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.text.codes import Codes
from mnatune.text.normalize import normalize, normalize_all
from mnatune.text.shingles import ExamOverlap, resemblance, shingles, spaceless

TEXTS = st.lists(st.text("가나다 a1\n", max_size=25), max_size=12)
MESSY = st.lists(
    st.text(st.characters(codec=None), max_size=20) | st.text("가 \n\t\u3000\u200b\u1100\u1161e\u0301\r", max_size=20),
    max_size=6,
)


@given(TEXTS, st.integers(1, 13))
def test_pieces(texts, length):
    codes = Codes.of(texts)
    hashes, whole = codes.pieces(length)
    pieces = [text[i : i + length] for text in texts for i in range(len(text) - length + 1)]
    assert whole.sum() == len(pieces)
    by_hash = {}
    for piece, value in zip(pieces, hashes[whole].tolist(), strict=True):
        assert by_hash.setdefault(value, piece) == piece
    assert len(by_hash) == len(set(pieces))


@given(TEXTS)
def test_sums(texts):
    codes = Codes.of(texts)
    assert codes.sums(codes.points == ord("가")).tolist() == [text.count("가") for text in texts]
    assert codes.lengths.tolist() == [len(text) for text in texts]


@given(MESSY)
def test_normalizing_many_is_normalizing_each(texts):
    assert normalize_all(texts) == [normalize(text) for text in texts]


@given(st.text(st.characters(codec=None)))
def test_normalizing_is_idempotent_and_nfc(text):
    once = normalize(text)
    assert normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("\u1112\u1161\u11ab글", "한글"), ("  가\u00a0\u3000나  ", "가 나"), ("가\r\n\r\n\r\n나", "가\n\n나"), ("가 \n 나", "가\n나"),
        ("가\u200b나\ufeff", "가나"), ("\ud800", "\ufffd"), ("가\x00나", "가나"), ("", ""),
    ],
)  # fmt: skip
def test_normalize(text, tidy):
    assert normalize(text) == tidy


QUESTIONS = [
    "반대주주의 주식매수청구권은 언제까지 행사하여야 합니까?",
    "소규모합병에서 주주총회 승인을 갈음하는 것은 무엇입니까?",
]


def test_exam_overlap():
    exam = ExamOverlap(QUESTIONS)
    texts = [
        "합병이란 무엇입니까?", f"문제: {QUESTIONS[0]} 답은 20일입니다.", QUESTIONS[1].replace(" ", ""), "반대주주의 주식매수청구권을 설명하시오.", "",
        "소규모합병에서 주주총회의 승인을 갈음하는 것은 이사회 승인입니다.",
    ]  # fmt: skip
    assert exam.find(texts) == [1, 2]
    assert exam.overlaps(texts[1]) == 1
    assert 0 < exam.overlaps(texts[3]) < 0.5
    assert ExamOverlap([]).find(texts) == []


@given(
    st.lists(st.text("가나다라 마바", max_size=30), max_size=8),
    st.lists(st.text("가나다라 마바", min_size=9, max_size=20), min_size=1, max_size=3),
)
def test_the_quick_look_finds_what_the_exact_one_finds(texts, questions):
    questions = [q for q in questions if len(spaceless(q)) >= 8] or ["가나다라마바가나다라"]
    exam = ExamOverlap(questions)
    assert exam.find(texts) == [n for n, text in enumerate(texts) if exam.overlaps(text) >= 0.5]


def test_shingles():
    assert shingles("가나다라", 3) == {"가나다", "나다라"}
    assert shingles("가", 3) == {"가"}
    assert resemblance("", "") == 1
    assert resemblance("가" * 100, "나" * 100) == 0
    assert np.isclose(resemblance("가나다라마바", "가나다라마사"), 3 / 5)
