"""What new texts change: form or substance, what came, went and moved, and which texts cite it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.law.amendments import LawUpdate, law_update, plain_form
from mnatune.law.building import build
from mnatune.law.citing import CitingText, affected, cited_articles
from mnatune.law.law_memory import LawIndex
from mnatune.pack import Pack
from mnatune.runs.errors import DataError

HEAD = "---\n제목: {law}\n시행일자: {day}\n---\n\n"
BEFORE = """##### 제1조 (목적)

이 법은 합병ㆍ분할을 정한다. <개정 2019.1.1>

##### 제2조 (매수청구)

**①** 합병에 반대하는 주주는 10일 이내에 매수를 청구할 수 있다.
**②** 회사는 그 청구를 받아들여야 한다.

##### 제3조 (공고)

회사는 합병의 뜻을 신문에 공고하고 채권자에게 따로 알려야 한다. 공고는 한 달 동안 한다.

##### 제4조 (비율)

비율은 1.5로 한다.
"""
AFTER = """##### 제1조 (목적)

이 법은 합병·분할을  정한다. <개정 2019.1.1, 2024.5.1>

##### 제2조 (매수청구)

**①** 합병에 반대하는 주주는 20일 이내에 매수를 청구할 수 있다. <개정 2024.5.1>
**②** 회사는 그 청구를 받아들여야 한다.

##### 제3조

삭제 <2024.5.1>

##### 제4조 (비율)

비율은 15로 한다.

##### 제5조 (공고)

회사는 합병의 뜻을 신문에 공고하고 채권자에게 따로 알려야 한다. 공고는 한 달 동안 한다.

##### 제6조 (벌칙)

어기면 벌한다.
"""


def write(folder: Path, law: str, day: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{law}-{day}.md").write_text(HEAD.format(law=law, day=day) + text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def memory(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> LawIndex:
    root = tmp_path_factory.mktemp("law-before")
    sources = write(root / "texts", "보기회사법", "2020-01-01", BEFORE)
    write(sources, "다른법", "2020-01-01", "##### 제2조 (공고)\n\n다른 법의 공고.\n")
    build([sources], root / "law", small_pack)
    (root / "citations.yaml").write_bytes(small_pack.path("citations.yaml").read_bytes())
    return LawIndex.open(root)


@pytest.fixture(scope="module")
def update(memory: LawIndex, tmp_path_factory: pytest.TempPathFactory) -> LawUpdate:
    folder = write(tmp_path_factory.mktemp("law-after"), "보기회사법", "2024-06-01", AFTER)
    write(folder, "새법", "2024-06-01", "##### 제1조 (목적)\n\n새로 정한다.\n")
    write(folder, "다른법", "2019-01-01", "##### 제2조 (공고)\n\n옛 글.\n")
    return law_update(memory, folder)


def test_changes_are_told_apart(update: LawUpdate) -> None:
    found = {one.change.number: one for one in update.amendments}
    assert {n: (one.change.kind, one.substantial) for n, one in found.items()} == {
        "1": ("amended", False),
        "2": ("amended", True),
        "3": ("repealed", True),
        "4": ("amended", True),
        "5": ("added", True),
        "6": ("added", True),
    }
    assert found["2"].paragraphs == (1,)
    assert found["3"].moved_to == "5"
    assert {one.change.day for one in found.values()} == {"2024-06-01"}
    assert "10일" in found["2"].change.before
    assert "20일" in found["2"].change.after


def test_laws_that_cannot_be_compared_are_named(update: LawUpdate) -> None:
    assert update.laws == 1
    assert update.unknown == ["새법"]
    assert "다른법: the memory has the text of 2020-01-01" in update.faults[0]


def test_the_same_texts_change_nothing(memory: LawIndex, tmp_path: Path) -> None:
    assert law_update(memory, write(tmp_path / "same", "보기회사법", "2024-06-01", BEFORE)).amendments == []


def test_a_folder_without_a_statute_is_refused(memory: LawIndex, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no statute"):
        law_update(memory, tmp_path)


@given(st.lists(st.sampled_from(["합병", "10일", "ㆍ", " ", "\n", ", ", "「상법」", "①"]), max_size=30), st.randoms())
def test_form_is_no_substance(parts: list[str], draw: object) -> None:
    marked = "".join(
        part + draw.choice(["", " ", "\n", " <개정 2020.1.2, 2021. 3. 4>", "[본조신설 1999.1.1]"]) for part in parts
    )  # type: ignore[attr-defined]
    assert plain_form(marked) == plain_form("".join(parts))


@pytest.mark.parametrize(
    ("text", "cites"),
    [
        ("보기법 제2조제2항에 따른다.", {"보기회사법 2": {2}}),
        ("보기회사법을 봅니다. 같은 법 제3조입니다.", {"보기회사법 3": {0}}),
        ("근거: 제2조\n보기회사법 제4조", {"보기회사법 2": {0}, "보기회사법 4": {0}}),
        ("구 보기회사법 제2조는 달랐다.", {}),
        ("보기회사법 부칙 제2조", {}),
        ("보기회사법에 따르되 정관 제2조로 정한다.", {}),
        ("다른법 제2조와 보기회사법 제4조, 그리고 계약을 말하지 않고 제6조", {"다른법 2": {0}, "보기회사법 4": {0}}),
    ],
)
def test_what_a_text_cites(memory: LawIndex, text: str, cites: dict[str, set[int]]) -> None:
    found = cited_articles(text, memory.checker)
    assert {key: found[key] for key in cites} == cites
    assert cites or not found


def test_texts_that_cite_a_change(memory: LawIndex, update: LawUpdate) -> None:
    texts = [
        CitingText("training", str(number), "here", text)
        for number, text in enumerate(
            ["보기법 제2조 제1항", "보기법 제2조 제2항", "보기법 제1조", "다른법 제2조", "보기법 제3조, 제4조"]
        )
    ]
    found = list(affected(texts, update.substantial, memory.checker))
    assert [(hit.source.id, hit.direct, [a.key for a in hit.amendments]) for hit in found] == [
        ("0", True, ["보기회사법 2"]),
        ("1", False, ["보기회사법 2"]),
        ("4", True, ["보기회사법 3", "보기회사법 4"]),
    ]
