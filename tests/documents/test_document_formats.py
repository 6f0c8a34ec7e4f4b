"""Every format against documents whose words, cells and places are known."""

import email.message
import unicodedata
from collections import Counter

import pytest

from mnatune.documents import Unreadable

KINDS = ("hwpx", "hwp", "docx", "xlsx", "pptx", "pdf", "html", "md", "txt", "eml")
LETTER = "제1조 (목적)\n이 계약은 영업양도에 관하여 정한다.\n\n제2조 (정의)\n이 계약에서 쓰는 말의 뜻은 다음과 같다.\n"


def text_of(file):
    return "\n".join([file.title, *(f"{s.heading}\n{s.text}" for s in file.sections)])


def cells_of(text):
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    return Counter(cell for line in lines for cell in line.strip("| ").split(" | "))


def recall(wanted, found):
    return 1 - sum((wanted - found).values()) / sum(wanted.values())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_words_and_cells(kind, seed, office, read_bytes):
    paper = office.paper(seed, 4)
    file = read_bytes(f"문서.{kind}", office.WRITERS[kind](paper))
    text = text_of(file)
    assert file.kind == kind
    assert recall(paper.words(), office.words_of(text)) >= 0.99
    if kind not in ("pptx", "xlsx"):
        assert file.title == paper.title
    if kind not in ("txt", "eml"):
        assert recall(paper.cells(), cells_of(text)) >= 0.98
    assert sum(s.tables for s in file.sections) == sum(len(part.grids) for part in paper.parts)
    assert not file.flags


@pytest.mark.parametrize("kind", KINDS)
def test_articles_are_headings(kind, office, read_bytes):
    file = read_bytes(f"a.{kind}", office.WRITERS[kind](office.paper(3, 4)))
    headings = [s.heading.split("제", 1)[1] for s in file.sections if "조(" in s.heading]
    assert [f"제{h}" for h in dict.fromkeys(headings)] == [
        part.heading.replace("조 (", "조(") for part in office.paper(3, 4).parts
    ]


@pytest.mark.parametrize("kind", ["hwpx", "hwp", "docx", "xlsx", "pptx", "pdf", "html"])
def test_merged_cells_are_written_out(kind, office, read_bytes):
    grid = office.Grid(
        [["갑", "을", "병", "정"], ["넓은 칸", "", "셋", "넷"], ["", "", "일곱", "여덟"], ["끝", "줄", "마지막", "칸"]],
        [(1, 0, 2, 2)],
    )
    paper = office.Paper("표", [office.Part("합친 칸의 표", ["설명하는 문단입니다."], [grid])])
    text = text_of(read_bytes(f"표.{kind}", office.WRITERS[kind](paper)))
    assert "| 넓은 칸 | 넓은 칸 | 셋 | 넷 |" in text
    assert "| 넓은 칸 | 넓은 칸 | 일곱 | 여덟 |" in text


def test_word_files_keep_what_is_accepted_and_count_what_is_not(office, read_bytes):
    extra = (
        '<w:p><w:ins w:id="1" w:author="x"><w:r><w:t>삽입된글</w:t></w:r></w:ins>'
        '<w:del w:id="2" w:author="x"><w:r><w:delText>삭제된글</w:delText></w:r></w:del></w:p>'
        '<w:p><w:r><w:t>의견이 달린 문단</w:t><w:commentReference w:id="0"/></w:r></w:p>'
    )
    file = read_bytes("a.docx", office.docx(office.paper(3, 3), extra, comments=2))
    text = text_of(file)
    assert "삽입된글" in text
    assert "의견이 달린 문단\n" in f"{text}\n"
    assert not {"삭제된글", "비밀 의견", "대외비 머리글", "[comment"} & {
        w for w in ("삭제된글", "비밀 의견", "대외비 머리글", "[comment") if w in text
    }
    assert file.running == ["대외비 머리글"]
    assert file.left_out["comments"] >= 1
    assert "[각주 1]" in text


def test_word_files_number_by_themselves(office, read_bytes):
    forms = [
        ("decimal", "제%1조"),
        ("ganada", "%2."),
        ("lowerRoman", "(%1.%3)"),
        ("decimalEnclosedCircle", "%4"),
        ("bullet", "•"),
    ]
    levels = "".join(
        f'<w:lvl w:ilvl="{n}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for n, (form, text) in enumerate(forms)
    )
    numbering = f'<w:abstractNum w:abstractNumId="7">{levels}</w:abstractNum><w:num w:numId="3"><w:abstractNumId w:val="7"/></w:num>'
    lines = [
        (0, "(목적)"),
        (1, "첫째 호"),
        (1, "둘째 호"),
        (2, "세부"),
        (0, "(정의)"),
        (1, "첫째 호"),
        (3, "동그라미"),
        (4, "글머리"),
    ]
    extra = "".join(
        f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="3"/></w:numPr></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        for level, text in lines
    )
    file = read_bytes("a.docx", office.docx(office.paper(1, 2), extra, numbering=numbering))
    assert [s.heading for s in file.sections][-2:] == ["제1조(목적)", "제2조(정의)"]
    assert file.sections[-2].text == "가. 첫째 호\n\n나. 둘째 호\n\n(1.i) 세부"
    assert file.sections[-1].text == "가. 첫째 호\n\n① 동그라미\n\n• 글머리"
    assert file.left_out["numbers restored"] == 7


def test_odd_lists_cost_the_numbers_alone(office, read_bytes):
    paper = office.paper(1, 2)
    odd = '<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="x"><w:start w:val="-"/></w:lvl></w:abstractNum><w:num/>'
    file = read_bytes("a.docx", office.docx(paper, numbering=odd))
    assert recall(paper.words(), office.words_of(text_of(file))) >= 0.99


def test_places(office, read_bytes):
    paper = office.paper(5, 4)
    pages = read_bytes("a.pdf", office.pdf(paper, lines=12)).sections
    assert pages[0].place.startswith("1")
    assert int(pages[-1].place.rstrip("쪽").split("–")[-1]) > 3
    slides = read_bytes("a.pptx", office.pptx(paper)).sections
    assert [s.place for s in slides] == [f"슬라이드 {n}" for n in range(1, len(paper.parts) + 1)]
    long = office.Grid([["번호", "요청 자료"], *[[str(n), f"자료 {n}번"] for n in range(1, 51)]])
    sheets = office.workbook({"실사 목록": office.Grid([["실사 요청 목록"], [], *long.rows])})
    found = read_bytes("a.xlsx", sheets).sections
    assert [(s.place, s.text.count("\n")) for s in found if s.tables] == [
        ("실사 목록!A4:B23", 21),
        ("실사 목록!A24:B43", 21),
        ("실사 목록!A44:B53", 11),
    ]
    assert "| 41 | 자료 41번 |" in found[-1].text


@pytest.mark.parametrize("wrap", ["spaced", "letters", "words"])
def test_words_that_a_line_break_cuts(wrap, office, read_bytes):
    paper = office.paper(6, 8)
    assert recall(paper.words(), office.words_of(text_of(read_bytes("a.pdf", office.pdf(paper, wrap=wrap))))) >= 0.99


def test_running_heads_stand_apart(office, read_bytes):
    paper = office.paper(7, 6)
    data = office.pdf(paper, lines=12, head="대외비")
    file = read_bytes("a.pdf", data)
    assert "대외비" not in text_of(file)
    assert file.running
    assert recall(paper.words(), office.words_of(text_of(file))) >= 0.99


def test_hangul_files_that_are_closed_say_so(office, read_bytes):
    paper = office.paper(1, 2)
    for flags, reason in ((1 | 2, "encrypted"), (1 | 4, r"for distribution only \(배포용\)"), (1 | 16, "DRM")):
        with pytest.raises(Unreadable, match=reason):
            read_bytes("a.hwp", office.hwp(paper, flags))
    with pytest.raises(Unreadable, match=r"HWP version 3\.x"):
        read_bytes("old.hwp", b"HWP Document File V3.00 \x1a\1\2\3\4\5" + bytes(200))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.docx", b"", "empty file"),
        ("a.docx", b"PK\3\4" + bytes(99), "damaged file"),
        ("a.pdf", b"%PDF-1.7\n" + bytes(99), "damaged file"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(3000), r"old Office format \(\.doc\): save it as \.docx"),
        ("a.png", b"\x89PNG", "image"),
        ("a.exe", b"MZ", "not a document"),
        ("a.txt", b"\xff\xff\xfe", "neither UTF-8"),
        ("a.md", b" \n\n ", "no text"),
        ("a.html", b"<html><script>x</script></html>", "no text"),
    ],
)
def test_what_cannot_be_read_has_its_reason(name, data, reason, read_bytes):
    with pytest.raises(Unreadable, match=reason):
        read_bytes(name, data)


def test_a_scan_is_told(office, read_bytes):
    with pytest.raises(Unreadable, match="images without text"):
        read_bytes("a.pdf", office.pdf(office.paper(1, 2), text=False))


def test_a_file_is_what_its_bytes_are(office, read_bytes):
    paper = office.paper(1, 2)
    assert read_bytes("계약.hwp", office.docx(paper)).kind == "docx"
    assert read_bytes("계약.docx", office.pdf(paper)).kind == "pdf"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_text(encoding, read_bytes):
    file = read_bytes("a.txt", LETTER.encode(encoding))
    assert [s.heading for s in file.sections] == ["제1조(목적)", "제2조(정의)"]
    assert [s.place for s in file.sections] == ["1–2줄", "4–5줄"]


def test_a_file_cut_within_a_letter_is_read(read_bytes):
    for encoding in ("utf-8", "cp949"):
        file = read_bytes("a.txt", LETTER.strip().encode(encoding)[:-2])
        assert "쓰는 말의 뜻은" in file.sections[1].text


def test_a_tab_within_a_line_is_no_table(read_bytes):
    file = read_bytes("a.txt", "제1조\t(목적)\n이 계약은 합병에 관하여 정한다.\n\n구분\t금액\n대금\t100억원\n".encode())
    assert file.sections[0].heading == "제1조(목적)"
    assert sum(s.tables for s in file.sections) == 1


def test_a_document_of_one_line_is_not_lost(read_bytes):
    (section,) = read_bytes("a.txt", "합병 계약서".encode()).sections
    assert (section.text, section.place) == ("합병 계약서", "1줄")


def test_text_comes_out_composed(read_bytes):
    file = read_bytes("a.txt", unicodedata.normalize("NFD", LETTER).encode())
    assert file.sections[0].heading == "제1조(목적)"


def test_mail_has_its_text_and_no_attachment(office, read_bytes):
    file = read_bytes("a.eml", office.eml(office.paper(4, 2)))
    assert file.left_out == {"attachments": 1}
    assert "a@example.com" not in text_of(file)
    message = email.message.EmailMessage()
    message["Subject"] = "회신"
    message.set_content("<p>본문 하나</p><script>숨김</script>", subtype="html", charset="euc-kr")
    only = read_bytes("b.eml", bytes(message))
    assert (only.title, text_of(only).count("본문 하나"), "숨김" in text_of(only)) == ("회신", 1, False)


def test_two_readers_of_hangul_files_that_disagree_are_flagged(office, read_bytes, monkeypatch):
    import unhwp

    data = office.hwp(office.paper(1, 3))
    assert read_bytes("a.hwp", data).flags == []
    genuine = unhwp.extract_text
    monkeypatch.setattr(unhwp, "extract_text", lambda path: genuine(path)[: len(genuine(path)) * 9 // 10])
    assert read_bytes("b.hwp", data).flags == ["readers-disagree"]


def test_automatic_numbers_come_from_the_second_reader(office, read_bytes, monkeypatch):
    import unhwp

    part = office.Part("총칙", ["목적에 관한 문단", "정의에 관한 문단", "목적에 관한 문단"])
    data = office.hwp(office.Paper("계약서", [part]))
    numbered = "계약서\n총칙\n제1조 목적에 관한 문단\n제2조 정의에 관한 문단\n제3조 목적에 관한 문단"
    monkeypatch.setattr(unhwp, "extract_text", lambda path: numbered)
    text = text_of(read_bytes("a.hwp", data))
    for line in numbered.split("\n"):
        assert line in text
