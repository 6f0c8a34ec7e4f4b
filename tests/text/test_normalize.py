"""The one form of a text: markup, width, invisible signs and structure; and the forms that texts are compared in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.text.model_marks import CONTROL, THOUGHT, marks_of, without_control, without_switches, without_thoughts
from mnatune.text.normalize import folded, normalize, normalize_all, sameness

MARKED = st.lists(
    st.sampled_from(
        ["<b>", "</b>", "<br/>", "<A>", "</A>", "<", ">", "&", "amp;", "&lt;", "&amp;", "&#38;", "nbsp", "&nbsp;", "\u200b", "\n", "  ", "\t",
         "```", "- ", "1. ", "가", "M&A", "ｂ", "＜", "＆", "\uf0a7", "\U000f02b1", "\u3164", "<!--", "-->", "<script>", "</script>", ";", "a"]
    ), max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(MARKED)
def test_normalizing_is_idempotent_whatever_the_markup(text):
    once = normalize(text)
    assert normalize(once) == once
    assert normalize_all([text, once]) == [once, once]
    assert folded(text) == folded(once)


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("M&amp;A와 R&amp;amp;D", "M&A와 R&D"), ("&lt;상법&gt;&nbsp;제1조", "<상법> 제1조"), ("&#44032;&#xAC00;&#x200b;", "가가"),
        ("가<br>나<BR/>다<p>라</p>", "가\n나\n다\n라"), ("<b>가</b><span style='x'>나</span>", "가나"), ("<td>가</td><td>나</td>", "가 나"),
        ("&lt;b&gt;가&lt;/b&gt;", "가"), ("<NAME>과 <상법>", "<NAME>과 <상법>"), ("<A>는 <B>에게", "<A>는 <B>에게"), ("<B>굵게</B>", "굵게"),
        ("3 < 5이고 7 > 6", "3 < 5이고 7 > 6"), ("?a=1&copy=2", "?a=1&copy=2"), ("S&P; 500", "S&P; 500"), ("<!-- 숨김 -->가", "가"),
        ("<script>alert(1)</script>가", "가"), ("\uf0a7 항목", "• 항목"), ("\U000f02b1 개요 \U000f02b3 끝", "① 개요 ③ 끝"),
        ("ＡＢＣ（주）　１００％", "ABC(주) 100%"), ("가\u3164나\u2060다\ufe0f", "가 나다"), ("😊 𠮷田 𝑥", "😊 𠮷田 𝑥"),
    ],
)  # fmt: skip
def test_characters_and_markup(text, tidy):
    assert normalize(text) == tidy


NESTED = "절차\n1. 이사회\n   - 승인\n      - 세부\n   - 소집\n2. 총회"
CODE = "식은 다음과 같다.\n```python\ndef f(a):\n    return  a\n```\n끝"


@pytest.mark.parametrize("text", [NESTED, CODE, "| 가 | 나 |\n|---|---|\n| 1 | 2 |"])
def test_structure_stays(text):
    assert normalize(text) == text


def test_indentation_that_means_nothing_goes():
    assert normalize("가\n    나\n  다") == "가\n나\n다"
    assert normalize("가\n\t- 나\n\t\t- 다") == "가\n    - 나\n        - 다"
    assert normalize("```\n가   나") == "```\n가 나", "a fence that is never closed is none"


@pytest.mark.parametrize(
    "same",
    [
        ("합병이란 무엇인가요?", "합병이란 무엇인가요", "합병이란무엇인가요？", "Q. 합병이란 무엇인가요?", "'합병이란 무엇인가요?'", "질문: 합병이란 무엇인가요!", "Ｑ１．합병이란 무엇인가요?"),
        ("M&A란?", "Ｍ＆Ａ란", "m & a란??", "M&amp;A란?"),
    ],
)  # fmt: skip
def test_questions_that_are_one(same):
    assert len({sameness(question) for question in same}) == 1


def test_questions_that_are_not():
    assert sameness("제1조는?") != sameness("제2조는?")
    assert sameness("문의는 어디에 하나요?").startswith("문의는")
    assert sameness("?!") == "?!"


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("<think>\n생각\n</think>\n\n답이다.", "답이다."), ("생각이다.\n</think>\n답이다.", "답이다."), ("<THINKING> 가 </THINKING>답", "답"),
        ("앞<think>가</think>뒤", "앞뒤"), ("<think>가<think>나</think>다</think>답", "답"), ("◁think▷가◁/think▷답", "답"),
        ("<think>가</think><answer>답</answer>", "답"), ("＜think＞가＜/think＞답", "답"), ("&lt;think&gt;가&lt;/think&gt;답", "답"),
    ],
)  # fmt: skip
def test_reasoning_is_taken_out(answer, left):
    assert without_thoughts(normalize(answer)) == (left, True)


def test_an_open_trace_stays_to_be_seen():
    freed, _ = without_thoughts("답이다. <think>이제 생각")
    assert marks_of(freed) == {THOUGHT}
    assert without_thoughts("생각하는 답이다.") == ("생각하는 답이다.", False)


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|endoftext|>", "<｜begin▁of▁sentence｜>", "[INST]", "<<SYS>>", "<end_of_turn>", "[|endofturn|]", "</s>", "<|eot_id|>"])  # fmt: skip
def test_control_tokens(mark):
    mark = mark.replace("｜", "|")
    assert marks_of(f"답{mark}이다") == {CONTROL}
    assert without_control(f"답{mark}이다") == "답이다"


def test_switches_of_a_question():
    assert without_switches("합병이란? /no_think") == "합병이란?"
    assert without_switches("경로 a/think/b는?") == "경로 a/think/b는?"
