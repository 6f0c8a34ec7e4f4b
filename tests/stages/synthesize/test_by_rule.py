"""What patterns take from an article or a table is whole: no rule of another paragraph, no piece of a parenthesis, no number as a name."""

import pytest

from mnatune.runs.records import Document, Source, content_id
from mnatune.stages.synthesize.by_rule import Made, extract
from mnatune.stages.synthesize.grounding import fault
from mnatune.stages.synthesize.passages import Passage, passages
from mnatune.stages.synthesize.sentences import balanced, pieces, sentences
from mnatune.stages.synthesize.views import views

TITLE = "시험법 제7조 (자기주식의 처분)"
OTHER = "② 회사는 제1항에도 불구하고 주주 외의 자에게 자기주식을 처분할 수 있다."


def passage(text: str, title: str = TITLE, place: str = "") -> Passage:
    document = Document(content_id(title, text), title, text, title, Source("s", place=place))
    return next(passages(document, 900, len))


def told(text: str, kind: str) -> list[str]:
    return [made.answer.removesuffix(" (시험법 제7조)") for made in extract(passage(text), 9) if made.kind == kind]


# ------------------------------------------------------------------------------------- principle and exception


def test_a_principle_with_a_list_is_not_replaced_by_another_paragraphs() -> None:
    text = (
        f"{OTHER}\n③ 회사가 자기주식을 처분하는 경우 다음 각 호의 사항은 이사회가 결정한다. "
        "다만, 정관으로 주주총회에서 결정하기로 정한 경우에는 그러하지 아니하다.\n1. 처분할 주식의 종류와 수"
    )
    assert told(text, "exception") == []


@pytest.mark.parametrize(
    "between",
    [
        "\n③ ",  # the paragraph of another rule
        "\n1. 처분할 주식의 수를 정한다.\n",  # after a list: of its last item, or of what stands above it?
        " 처분할 주식의 종류와 수:\n",  # no sentence
        " 다음 각 호의 주식은 소각한다. ",
    ],
)
def test_an_exception_goes_with_the_sentence_right_before_it_or_with_none(between: str) -> None:
    assert told(f"{OTHER}{between}다만, 3개월 이내에 알려야 한다.", "exception") == []
    assert told(f"{OTHER}{between}다만, 3개월 이내에 알려야 한다.", "deadline") == []


@pytest.mark.parametrize("between", [" ", "\n", " <개정 2020.1.1> "])
def test_an_exception_of_the_same_paragraph_is_told_after_its_principle(between: str) -> None:
    (answer,) = told(f"{OTHER}{between}다만, 3개월 이내에 알려야 한다.\n③ 회사는 정관을 둔다.", "exception")
    assert answer == (
        "회사는 제1항에도 불구하고 주주 외의 자에게 자기주식을 처분할 수 있습니다. 다만, 3개월 이내에 알려야 합니다."
    )


@pytest.mark.parametrize("first", ["이 경우", "이때", "그 통지는", "다만, 회사는", "그러나 회사는", "전항의 경우에"])
def test_a_sentence_that_leans_on_a_lost_one_is_not_told_alone(first: str) -> None:
    leaning = f"{first} 30일 이내에 의결권의 3분의 2 이상으로 하여야 한다."
    lost = f"{OTHER}\n③ 다음 각 호의 주식은 소각한다. {leaning}\n1. 자기주식"
    assert {made.kind for made in extract(passage(lost), 9)} & {"deadline", "share", "exception"} == set()
    assert "content" not in {made.kind for made in extract(passage(f"③ {leaning} 회사는 이를 지체 없이 알린다."), 9)}


def test_a_sentence_that_leans_is_told_with_all_that_it_leans_on() -> None:
    text = f"{OTHER} 이 경우 주주에게 통지하여야 한다. 다만, 30일 이내에 공고한 때에는 통지하지 아니한다."
    whole = (
        "회사는 제1항에도 불구하고 주주 외의 자에게 자기주식을 처분할 수 있습니다. 이 경우 주주에게 통지하여야 합니다. "
        "다만, 30일 이내에 공고한 때에는 통지하지 아니합니다."
    )
    assert told(text, "exception") == told(text, "deadline") == [whole]


def test_what_needs_nothing_before_it_stands_alone() -> None:
    for first in ("그 밖에 필요한 서류는", "이 법에 따른 신고는"):
        text = f"③ 다음 각 호의 주식은 소각한다.\n1. 자기주식\n④ {first} 30일 이내에 내야 한다."
        assert told(text, "deadline") == [f"{first} 30일 이내에 내야 합니다."]


def test_sentences_around_one_that_was_too_long_are_no_neighbours() -> None:
    long = f"회사는 {'주주와 채권자와 ' * 120}그 밖의 자에게 알려야 한다."
    text = f"{OTHER} 회사는 그 사실을 지체 없이 공고하여야 한다. {long} 다만, 주주 전원이 동의하면 알리지 아니한다."
    document = Document("d", TITLE, text, TITLE, Source("s"))
    made = [one for piece in passages(document, 300, len) for one in extract(piece, 9)]
    assert "content" in {one.kind for one in made}
    assert "exception" not in {one.kind for one in made}


def test_the_number_of_a_paragraph_beyond_twenty_is_left_out() -> None:
    assert [one.text for one in sentences("㉕ ㉕ 회사는 알려야 한다.\n2024. 3. 31.까지 낸다.")] == [
        "회사는 알려야 한다.",
        "2024. 3. 31.까지 낸다.",
    ]


# -------------------------------------------------------------------------------------------------- parentheses

HELD = (
    "주주(의결권이 없는 주주를 포함한다. 이하 이 조에서 같다)는 20일 이내에 청구할 수 있다. "
    "다만, 소수주주[「시험법」에 따른 자(법인은 제외한다. 이하 같다)를 말한다. 이하 이 조에서 같다]는 제외한다."
)


def made_of(text: str) -> list[Made]:
    here = passage(text)
    found = extract(here, 9)
    return [*found, *views(here, found)]


def test_no_sentence_ends_inside_a_parenthesis() -> None:
    assert [piece.strip() for piece in pieces(HELD)] == [HELD[: HELD.index(" 다만")], HELD[HELD.index("다만") :]]
    made = made_of(HELD)
    assert {"deadline", "exception", "content", "summary"} <= {one.kind for one in made}
    assert all(balanced(one.answer) for one in made)
    assert not any(one.answer.startswith("이하") for one in made)


def test_no_passage_begins_inside_a_parenthesis() -> None:
    document = Document("d", TITLE, HELD, TITLE, Source("s"))
    assert [piece.text for piece in passages(document, 100, len)] == [piece.strip() for piece in pieces(HELD)]


def test_a_definition_ends_after_its_parentheses() -> None:
    text = '"대주주"란 주주(최대주주를 말한다. 이하 같다)로서 (신탁을 말한다) 주식의 10퍼센트 이상을 가진 자를 말한다.'
    (answer,) = told(text, "definition")
    assert answer.startswith("대주주란 주주(최대주주를 말한다. 이하 같다)로서")
    assert answer.endswith("이상을 가진 자를 말합니다.")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("주주(의결권이 없는 주주를 포함합니다.", "unbalanced-parentheses"),
        ("이하 이 조에서 같다)는 청구할 수 있습니다.", "unbalanced-parentheses"),
        ("소수주주[법인은 제외합니다.", "unbalanced-parentheses"),
        ("주주(의결권이 없는 주주를 포함한다)는 청구할 수 있습니다.", ""),
        ("가목1)과 2)에 따른 주주는 1) 청구하거나 2) 팔 수 있습니다.", ""),  # the marks of a list
    ],
)
def test_a_piece_of_a_parenthesis_is_no_answer(answer: str, why: str) -> None:
    here = passage(f"{HELD} 가목1)과 2)에 따른 자는 제외한다.")
    assert fault(here, "주주는 언제 청구할 수 있나요?", answer, here.text[:40]) == why


# ------------------------------------------------------------------------------------------------------- tables


def table(*rows: str, title: str = "실사", place: str = "") -> list[Made]:
    lines = [f"| {row} |" for row in rows]
    text = "\n".join([lines[0], "|---|---|", *lines[1:]])
    return [made for made in extract(passage(text, title, place), 9) if made.kind == "table"]


@pytest.mark.parametrize(
    ("head", "first"),
    [
        ("번호", "1"),
        ("No.", "A-1"),
        ("연번", "가"),
        ("구분", "21"),
        ("항목", "2-1"),
        ("구분", "(1)"),
        ("순번 | 번호", "1 | 3"),
    ],
)
def test_a_running_number_names_no_row(head: str, first: str) -> None:
    (made,) = table(f"{head} | 요청 자료 | 기한 | 담당", f"{first} | 최근 3년의 감사보고서 | 2024-03-31 | 법무팀")
    assert made.question == "실사의 표에서 '최근 3년의 감사보고서' 항목의 기한, 담당은 무엇인가요?"
    assert made.answer == "'최근 3년의 감사보고서' 항목은 기한 2024-03-31, 담당 법무팀입니다."
    assert first.partition(" |")[0] in made.span


def test_a_name_that_has_digits_is_a_name() -> None:
    (made,) = table("사업연도 | 매출액의 규모와 전년의 증감", "2023 | 삼백억 원으로 전년보다 늘어남")
    assert "'2023' 항목의" in made.question
    assert table("번호 | 이름을 적는 칸", "1 | 홍길동과 그 밖의 주주 스무 명") == []


@pytest.mark.parametrize(
    "header",
    [
        "매도인은 다음 자료를 제출하여야 합니다.",
        "아래에 적어 주세요",
        "주주는 누구입니까?",
        "갑은 판다. 을은 산다",
        "가나다라 " * 7,
    ],
)
def test_a_table_whose_header_is_a_sentence_gives_no_question(header: str) -> None:
    rows = "정관과 등기부등본과 주주명부 | 2024-03-31까지 제출"
    assert table(f"요청 자료 | {header}", rows) == []
    assert table(f"번호 | 요청 자료 | {header}", f"1 | {rows}") == []
    assert table("요청 자료 | 개요 및 제출 필요", rows)


@pytest.mark.parametrize(
    ("title", "sheet", "named"),
    [
        ("실사 실사 목록", "실사 목록", "실사 목록"),
        ("실사 목록 실사", "실사", "실사 목록"),
        ("실사 목록 실사 목록", "실사 목록", "실사 목록"),
        ("딜룸 실사 목록", "실사 목록", "딜룸 실사 목록"),
        ("실사 목록", "", "실사 목록"),
    ],
)
def test_a_file_and_its_sheet_are_named_once(title: str, sheet: str, named: str) -> None:
    rows = ("요청 자료 | 기한", "정관과 등기부등본과 주주명부 | 2024-03-31까지 제출")
    (made,) = table(*rows, title=title, place=f"{sheet}!A3:B9" if sheet else "2쪽")
    assert made.question.startswith(f"{named}의 표에서 ")
