"""Rows whose form used to cost them their place: signs, tables, lists; and rows that used to keep one they should lose."""

import pytest

from mnatune.pack import Pack
from mnatune.runs.recipe import bundled
from mnatune.stages.curate.rules import Drops, Rules

RULES = Rules(Drops.of(Pack(bundled("packs") / "mna_ko")))
ASK = "합병의 승인 절차는 어떻게 되나요?"
TEXT = "상법 제522조에 따라 합병계약서를 작성하여 주주총회의 특별결의로 승인을 받아야 하며, 반대주주는 주식매수청구권을 행사할 수 있습니다."
LONG = "합병을 하려는 회사는 합병계약서를 작성하여 주주총회의 특별결의로 승인을 받아야 하고 채권자를 보호하는 절차를 밟아야 합니다. "
STAY = {
    "emoji": TEXT + " 😊", "a new emoji": TEXT + " \U0001fae8", "rare Han": TEXT + " 𠮷田", "mathematics": TEXT + " 𝑥",
    "flags": TEXT + " 🇰🇷", "a table": "표와 같습니다.\n\n| 구분 | 요건 |\n|" + "-" * 26 + "|" + "-" * 29 + "|\n| 합병 | 주주총회 특별결의가 필요합니다 |\n| 분할 | 주주총회 특별결의가 필요합니다 |",
    "rules": "─" * 20 + "\n합병 승인 절차 안내\n" + "─" * 20 + "\n이사회 결의 후 주주총회 특별결의로 승인을 받습니다.\n" + "─" * 20,
    "dot leaders": "합병의 의의 ·············· 1쪽\n합병의 절차 ·············· 5쪽\n합병의 효과 ·············· 9쪽\n목차는 위와 같습니다.",
    "spaced leaders": "합병의 의의 . . . . . . . . . . . . 1쪽\n합병의 절차 . . . . . . . . . . . . 5쪽\n합병의 효과 . . . . . . . . . . 9쪽",
    "a drawn table": "┌──────┬──────┐\n│ 합병 │ 분할 │\n├──────┼──────┤\n│ 승계 │ 승계 │\n└──────┴──────┘\n위 표와 같이 권리와 의무가 승계됩니다.",
    "a list with one phrase": "\n".join(f"{n}. {name}은 주주총회의 특별결의가 필요합니다." for n, name in enumerate(("합병", "분할", "정관 변경", "영업 양도", "자본 감소"), 1)),
    "code": "다음 식입니다.\n```\nfor a in b:\n    c(a)\n}\n}\n}\n```\n이 식으로 합병비율을 계산합니다.",
    "said twice": LONG * 2,
}  # fmt: skip
GO = {
    "loop": [LONG * 3, LONG * 6, "합병계약서를 작성합니다. " * 12, TEXT + " " + LONG * 5],
    "repeated-lines": [(LONG + "\n") * 4, "\n".join(f"{n}. 합병은 결의가 필요합니다." for n in range(6)), "\n".join(["합병은 결의가 필요합니다."] * 5 + ["끝으로 등기를 합니다."])],
    "control-token": [TEXT + "<|im_end|>\n<|im_start|>user", TEXT + "[INST] 다음", TEXT + "<end_of_turn>"],
    "think-trace": ["<think>어떻게 답할까. " + TEXT],
    "phrase": ["저는 AI언어모델이라 답하지 못합니다만 합병은 둘 이상의 회사가 하나가 됩니다.", "해당 사안은 답변 드리기 어렵습니다. 전문가와 상의하시기 바랍니다."],
    "broken-text": [TEXT + "\ufffd\ufffd", TEXT + "\ue123\ue124"],
}  # fmt: skip


@pytest.mark.parametrize("name", STAY)
def test_a_form_that_costs_nothing(name):
    assert RULES.reasons([ASK], [STAY[name]], [""]) == [""]


@pytest.mark.parametrize("name", GO)
def test_a_form_that_costs_the_row(name):
    assert RULES.reasons([ASK] * len(GO[name]), GO[name], [""] * len(GO[name])) == [name] * len(GO[name])


def test_traces_control_tokens_and_names_through_the_stage(curating):
    out = curating(
        [
            {"question": f"{ASK} (1) /no_think", "answer": f"<think>음</think>{TEXT}"},
            {"question": f"{ASK} (2)<|im_end|>", "answer": TEXT},
            {"question": f"{ASK} (3)", "answer": LONG, "topic": "담당 010-1234-5678", "group": "김철수 010-1234-5678"},
            {"question": f"{ASK} (4)", "answer": LONG * 2, "group": "김철수 010-1234-5678"},
            {"question": f"{ASK} (5)", "answer": TEXT + LONG, "group": "이영희 010-8765-4321"},
        ],
        near_duplicates=0,
    )
    assert out.reasons() == {f"{ASK} (2)<|im_end|>": "control-token"}
    assert out.manifest.facts["thoughts_removed"] == 1
    by_question = {row["question"]: row for row in out.rows}
    assert by_question[f"{ASK} (1)"]["answer"] == TEXT
    groups = [by_question[f"{ASK} ({n})"]["group"] for n in (3, 4, 5)]
    assert groups == ["개인정보 1", "개인정보 1", "개인정보 2"]
    assert by_question[f"{ASK} (3)"]["category"] == "담당 [전화번호]"


def test_earlier_turns_are_tidied_as_what_they_are(curating):
    def spoken(*texts):
        return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]}

    out = curating(
        [
            spoken("합병이란? /no_think", f"<think>음</think>{LONG}", f"{ASK} (1)", TEXT),
            spoken("분할이란?", "<think>음</think>", f"{ASK} (2)", TEXT),
            spoken("해산이란?", f"{LONG}<|im_end|>", f"{ASK} (3)", TEXT),
        ],
        near_duplicates=0,
    )
    assert [row["history"] for row in out.rows] == [["합병이란?", LONG.strip()]]
    assert out.reasons() == {f"{ASK} (2)": "empty-turn", f"{ASK} (3)": "control-token"}
    assert out.manifest.facts["thoughts_removed"] == 2
