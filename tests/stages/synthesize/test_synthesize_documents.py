"""From a made row back to the page or the cells of the file that it rests on."""

import re

import pypdfium2
import pytest
from python_calamine import CalamineWorkbook

from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, bundled
from mnatune.runs.records import read_qa
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.stages.curate import curate
from mnatune.stages.read import read
from mnatune.stages.synthesize import synthesize

ARTICLES = [
    ("제1조 (목적)", "이 계약은 대상회사의 주식을 사고파는 데 필요한 사항을 정하는 것을 목적으로 한다."),
    ("제2조 (거래종결)", "매도인은 선행조건이 갖추어진 날부터 10일 이내에 주식을 매수인에게 양도하여야 한다."),
    ("제3조 (손해배상)", "매도인의 배상 책임은 매매대금의 100분의 20을 넘지 못한다."),
]


@pytest.fixture
def made(office, tmp_path):
    """Rows made from a contract as PDF and a request list as workbook, with their spans."""
    folder = tmp_path / "딜룸"
    folder.mkdir()
    contract = office.Paper("주식매매계약서", [office.Part(head, [text] * 3) for head, text in ARTICLES])
    (folder / "계약.pdf").write_bytes(office.pdf(contract, lines=5))
    items = [[f"합병 관련 {n}번 자료", f"{n}. 3. 31.까지 제출", f"법무팀 {n}"] for n in range(1, 31)]
    sheet = office.Grid([["실사 요청 목록"], [], ["요청 자료", "기한", "담당"], *items])
    (folder / "목록.xlsx").write_bytes(office.workbook({"요청": sheet}))
    source = {"kind": "documents", "path": str(folder), "name": "딜룸", "licence": "사내"}
    recipe = Recipe.model_validate({"name": "t", "model": {"id": "starter"}, "read": {"sources": [source]}})
    run, pack = Run(tmp_path / "run"), Pack(bundled("packs") / "mna_ko")
    for name, work in (("read", read), ("curate", curate), ("synthesize", synthesize)):
        run.perform(name, {}, {}, 42, "", lambda place, work=work: work(Job(recipe, pack, run, place)), force=True)
    spans = {row["id"]: row["span"] for row in read_jsonl(run.folder("synthesize") / "synthesized.jsonl")}
    return folder, [(row, spans[row.id]) for row in read_qa(run.folder("synthesize") / "qa.parquet")]


def test_a_row_of_a_table_is_found_in_its_cells(made):
    folder, rows = made
    tables = [(row, span) for row, span in rows if row.source.member == "목록.xlsx"]
    assert tables
    for row, span in tables:
        sheet, left, top, right, bottom = re.fullmatch(r"(.+)!([A-Z]+)(\d+):([A-Z]+)(\d+)", row.source.place).groups()
        cells = CalamineWorkbook.from_path(str(folder / row.source.member)).get_sheet_by_name(sheet).to_python()
        named = [[str(cell) for cell in line] for line in cells[int(top) - 1 : int(bottom)]]
        assert [cell.strip() for cell in span.strip("| ").split(" | ")] in named
        assert (left, right) == ("A", "C")


def test_an_article_is_found_on_its_page(made):
    folder, rows = made
    articles = [(row, span) for row, span in rows if row.source.member == "계약.pdf"]
    assert {row.reference for row, _ in articles} >= {
        "주식매매계약서 제2조(거래종결)",
        "주식매매계약서 제3조(손해배상)",
    }
    document = pypdfium2.PdfDocument(str(folder / "계약.pdf"))
    for row, span in articles:
        first, _, last = row.source.place.rstrip("쪽").partition("–")
        pages = [document[n - 1].get_textpage().get_text_range() for n in range(int(first), int(last or first) + 1)]
        assert "".join(span.split()) in "".join("".join(pages).split())
