"""The law memory: what is read and left out, versions by day, search, and what damage does."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.law import Hit, LawIndex, postings
from mnatune.law.building import build
from mnatune.law.citations import CitationChecker
from mnatune.law.evidence_search import articles_for, documents_for
from mnatune.law.postings import Postings
from mnatune.law.relevance import Relevance
from mnatune.law.statute_index import Article, StatuteIndex
from mnatune.law.tables import questions_key
from mnatune.law.terms import WordTerms
from mnatune.pack import Pack
from mnatune.runs.errors import DataError, UsageError


@pytest.fixture(scope="module")
def memory(memory_folder: Path) -> LawIndex:
    return LawIndex.open(memory_folder)


def places(hits: list[Hit]) -> list[tuple[str, str]]:
    return [(hit.law, hit.article) for hit in hits]


# ---------------------------------------------------------------------------------------- what is built


def test_files_that_cannot_be_trusted_are_left_out_and_named(sources: Path, small_pack: Pack, tmp_path: Path) -> None:
    built = build([sources], tmp_path, small_pack)
    told = "\n".join(built.faults)
    assert (built.laws, built.articles, built.decisions, built.documents) == (2, 6, 2, 0)
    assert "두번법 has 제52조 twice" in told
    assert "날없는법" in told
    assert "2020-02-30" in told
    assert "깨진글.md" in told
    assert len(built.faults) == 3


def test_facts_of_articles_come_from_all_versions(memory: LawIndex) -> None:
    laws = memory.statutes.laws["보기회사법"]
    assert laws["2"] == Article("매수청구", 2, "2020-01-01", "")
    assert laws["2의2"] == Article("전자공고", 1, "2024-01-01", "")
    assert laws["3"] == Article("폐지될 조문", 1, "2020-01-01", "2023-05-01")
    assert memory.as_of == "2023-05-01"
    assert set(laws) == {"1", "2", "2의2", "3"}, "addenda are no articles"


def test_a_history_adds_what_no_text_has(rebuilt: Callable[..., Path], tmp_path: Path) -> None:
    row = {"title": "옛 조문", "paragraphs": 4, "first": "1990-01-01", "last": "2001-12-31", "current": False}
    lives = {**row, "article": "1", "title": "목적", "current": True}
    history = tmp_path / "history.jsonl"
    articles = [lives, {**row, "article": "99"}]
    history.write_text(json.dumps({"law": "보기회사법", "articles": articles}) + "\n", encoding="utf-8")
    laws = StatuteIndex.load(rebuilt(history)).laws["보기회사법"]
    assert laws["99"] == Article("옛 조문", 4, "1990-01-01", "2001-12-31")
    assert laws["1"] == Article("목적", 4, "1990-01-01", "")
    history.write_text('{"law": "보기회사법", "articles": []}\n{"law": "보', encoding="utf-8")
    with pytest.raises(DataError) as fault:
        rebuilt(history)
    assert fault.value.where.endswith("history.jsonl:2")


def test_equal_sources_give_equal_bytes(memory_folder: Path, rebuilt: Callable[..., Path]) -> None:
    again = rebuilt()
    files = [path.relative_to(again) for path in again.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert all((again / name).read_bytes() == (memory_folder / name).read_bytes() for name in files)


def test_nothing_to_build_from_is_told(tmp_path: Path, small_pack: Pack) -> None:
    with pytest.raises(DataError, match="no such file"):
        build([tmp_path / "nothing"], tmp_path / "out", small_pack)
    with pytest.raises(DataError, match="no law found"):
        build([tmp_path], tmp_path / "out", small_pack)


def test_a_memory_is_not_replaced_by_one_that_lacks_its_laws(memory_folder, small_pack: Pack, tmp_path: Path) -> None:
    out, less = Path(shutil.copytree(memory_folder, tmp_path / "law")), tmp_path / "less"
    less.mkdir()
    (less / "법률.md").write_text(
        "---\n제목: 보기회사법\n시행일자: 2025-01-01\n---\n\n##### 제1조 (목적)\n\n정한다.\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match="laws that these sources lack"):
        build([less], out, small_pack)
    assert LawIndex.open(out).statutes.laws.keys() == LawIndex.open(memory_folder).statutes.laws.keys()
    (out / "articles.parquet").write_bytes(b"damaged")
    build([less], out, small_pack)
    assert set(LawIndex.open(out).statutes.laws) == {"보기회사법"}


# ------------------------------------------------------------------------------------------------ by day


def test_the_text_is_that_of_the_day(memory: LawIndex) -> None:
    before, after = (memory.article("보기법", "제2조", day) for day in ("2022-01-01", "2025-01-01"))
    assert before is not None
    assert after is not None
    assert "10일" in before.text
    assert "20일" in after.text
    assert (before.note, after.note) == ("", "")
    assert after.name == "보기회사법 제2조(매수청구)"


@pytest.mark.parametrize(
    ("number", "day", "note"),
    [
        ("2", "2010-01-01", "2020-01-01부터 시행"),
        ("3", "2025-01-01", "2023-05-01까지 시행"),
        ("2의2", "2022-01-01", "2024-01-01부터 시행"),
    ],
)
def test_a_day_without_the_article_is_told(memory: LawIndex, number: str, day: str, note: str) -> None:
    hit = memory.article("보기회사법", number, day)
    assert hit is not None
    assert hit.note == note


def test_a_text_amended_after_the_day_says_so(small_pack: Pack, tmp_path: Path) -> None:
    law = tmp_path / "in" / "법률.md"
    law.parent.mkdir()
    head = "---\n제목: 보기회사법\n시행일자: 2024-01-01\n---\n\n"
    law.write_text(head + "##### 제1조 (목적)\n\n정한다. <개정 2023.5.1>\n", encoding="utf-8")
    row = {
        "article": "1",
        "title": "목적",
        "paragraphs": 1,
        "first": "2000-01-01",
        "last": "2024-01-01",
        "current": True,
    }
    history = tmp_path / "h.jsonl"
    history.write_text(json.dumps({"law": "보기회사법", "articles": [row]}), encoding="utf-8")
    build([law.parent, history], tmp_path / "law", small_pack)
    memory = LawIndex.open(tmp_path / "law")
    notes = [memory.article("보기회사법", "1", day).note for day in ("2010-01-01", "2023-06-01", "2024-06-01")]
    assert notes == ["2023-05-01 개정 뒤의 글입니다. 2010-01-01의 글은 색인에 없습니다.", "", ""]


def test_articles_without_a_date_of_amendment_may_have_changed(
    memory: LawIndex, small_pack: Pack, tmp_path: Path
) -> None:
    law = tmp_path / "in" / "법률.md"
    law.parent.mkdir()
    head = "---\n제목: 보기회사법\n시행일자: 2024-01-01\n---\n\n"
    texts = "##### 제1조 (목적)\n\n정한다.\n\n##### 제2조 (뜻)\n\n뜻이다. <개정 2023.5.1>\n"
    law.write_text(head + texts, encoding="utf-8")
    rows = [
        {"article": n, "title": "목적", "paragraphs": 1, "first": "2000-01-01", "last": "2024-01-01", "current": True}
        for n in "12"
    ]
    history = tmp_path / "h.jsonl"
    history.write_text(json.dumps({"law": "보기회사법", "articles": rows}), encoding="utf-8")
    build([law.parent, history], tmp_path / "out", small_pack)
    one = LawIndex.open(tmp_path / "out")
    assert [c.number for c in one.changes("보기회사법", "2020-01-01", "2025-01-01")] == ["2"]
    assert one.unmarked("보기회사법", "2020-01-01", "2025-01-01") == ["1"]
    assert one.unmarked("보기회사법", "2024-01-01", "2025-01-01") == [], "the same text on both days"
    assert memory.unmarked("보기회사법", "2022-01-01", "2025-01-01") == [], "it has the texts of both days"


def test_changes_between_two_days(memory: LawIndex) -> None:
    found = {
        (c.kind, c.number): (c.day, c.before, c.after) for c in memory.changes("보기법", "2023-01-01", "2024-06-01")
    }
    assert set(found) == {("amended", "2"), ("added", "2의2"), ("repealed", "3")}
    day, before, after = found["amended", "2"]
    assert day == "2024-01-01"
    assert "10일" in before
    assert "20일" in after
    assert list(memory.changes("보기법", "2024-06-01", "2025-01-01")) == []


def test_an_article_not_yet_in_force_is_not_valid(memory_folder: Path, small_pack: Pack) -> None:
    today = CitationChecker(small_pack)
    [citation] = today.find("보기미래법 제2조")
    assert (citation.verdict, citation.in_force) == ("invalid", False)
    assert "2999-01-01부터 시행" in citation.note
    [citation] = CitationChecker(small_pack, at="2999-01-02").find("보기미래법 제2조")
    assert (citation.verdict, citation.in_force) == ("valid", True)
    [citation] = CitationChecker(small_pack, at="2022-01-01").find("보기회사법 제2조의2")
    assert citation.verdict == "invalid"
    [citation] = CitationChecker(small_pack, at="2001-01-01").find("보기회사법 제2조")
    assert citation.verdict == "unresolved", "before the first version that the memory knows, it cannot tell"


# ---------------------------------------------------------------------------------------------- searching


def test_a_question_finds_its_article(memory: LawIndex) -> None:
    hits = memory.search("합병에 반대하면 주식을 사 달라고 청구할 수 있나요?")
    assert places(hits)[0] == ("보기회사법", "2")
    assert "20일" in hits[0].text
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_search_answers_for_the_day(memory: LawIndex) -> None:
    assert "10일" in memory.search("주식의 매수 청구", at="2022-01-01")[0].text
    assert places(memory.search("스키장의 영업", at="2022-01-01"))[0] == ("보기회사법", "3")
    assert ("보기회사법", "3") not in places(memory.search("스키장의 영업"))
    assert ("보기미래법", "2") not in places(memory.search("우주여행의 환급"))
    assert memory.search("주식의 매수 청구", at="1999-01-01") == []


@pytest.mark.parametrize(
    ("question", "article"),
    [
        ("축출되는 소수주주의 지위는 어떤 성질인가요?", "2"),  # words of a decision alone
        ("홈페이지에 알려도 되나요?", "2의2"),  # words of a question of the pack
        ("바이아웃청구를 하려고 합니다", "2"),  # another name by the glossary
        ("what is the appraisal right?", "2"),  # its English name
        ("보기법 제1조는 무엇을 정하나요? 매수 청구인가요?", "1"),  # cited
    ],
)
def test_what_leads_to_an_article(memory: LawIndex, question: str, article: str) -> None:
    assert places(memory.search(question))[0] == ("보기회사법", article)


def test_what_is_asked_about_an_article_leads_to_it_while_it_is_in_force(memory: LawIndex) -> None:
    assert places(memory.search("눈밭 리프트", at="2022-01-01")) == [("보기회사법", "3")]
    assert memory.search("눈밭 리프트") == []


def test_what_is_left_out_of_a_build_leads_nowhere(rebuilt: Callable[..., Path]) -> None:
    without = LawIndex.open(rebuilt(without=lambda name: name == "2021다12345"))
    assert without.search("축출", kinds=["decision"]) == []
    assert ("보기회사법", "2") not in places(without.search("축출"))


def test_decisions_and_documents_are_found_by_the_same_call(rebuilt: Callable[..., Path], tmp_path: Path) -> None:
    table = tmp_path / "documents.parquet"
    source = {"name": "딜룸", "archive": "딜룸", "member": "지침/실사.docx", "place": "3–9문단"}
    rows = {
        "title": ["사내 지침"],
        "text": ["실사는 삼 주 안에 마친다."],
        "in_force": ["2021-01-01"],
        "source": [source],
    }
    pq.write_table(pa.table(rows), table)
    memory = LawIndex.open(rebuilt(table))
    [document] = memory.search("실사 기간", kinds=["document"])
    assert document.origin == "지침/실사.docx, 3–9문단"
    assert documents_for(memory, "실사 기간") == [document]
    assert (document.kind, document.name, document.text) == ("document", "사내 지침", "실사는 삼 주 안에 마친다.")
    kinds = [hit.kind for hit in memory.search("소수주주 축출 지위 실사", kinds=["decision", "document"])]
    assert kinds[0] == "decision"
    assert kinds[-1] == "document"
    assert memory.search("소수주주 축출", kinds=["decision"])[0].name == "대법원 2022-03-04 선고 2021다12345"
    assert memory.search("소수주주 축출", at="2021-01-01", kinds=["decision"]) == []


def test_a_follow_up_is_searched_with_the_questions_before_it(memory: LawIndex) -> None:
    assert memory.search("기한은 며칠인가요?") == []
    earlier = ["합병에 반대하는 주주가 주식의 매수를 청구합니다."]
    assert places(memory.search("기한은 며칠인가요?", earlier=earlier))[0] == ("보기회사법", "2")
    asked = "회사는 신문 대신 누리집에 공고할 수 있나요?"
    assert places(memory.search(asked, earlier=earlier))[0] == ("보기회사법", "2의2")
    assert articles_for(memory, [*earlier, asked], memory.today)[0].article == "2의2"


def test_other_names_and_earlier_questions_count_half(memory_folder: Path) -> None:
    relevance = Relevance(memory_folder, {})
    counts = Counter(relevance.terms("바이아웃청구", "스키장의 영업").tolist())
    asked, half = (WordTerms().query(text).tolist() for text in ("바이아웃청구", "스키장의 영업 매수청구"))
    assert {counts[term] for term in asked if term not in half} == {2}
    assert {counts[term] for term in half if term not in asked and term in counts} == {1}


def test_a_key_of_questions_tells_each_field_that_is_searched() -> None:
    row = {"question": "가", "answer": "나", "source": "상법 제1조", "topic": "다"}
    keys = {name: questions_key([{**row, name: "라"}], []) for name in row}
    assert keys.pop("topic") == questions_key([row], [])
    asked = {"law": "상법", "article": "1", "questions": ["바"]}
    changes: list[dict[str, object]] = [{}, {"law": "민법"}, {"article": "2"}, {"questions": ["바", "사"]}]
    keys |= {str(change): questions_key([row], [{**asked, **change}]) for change in changes}
    assert len({*keys.values(), questions_key([row], [])}) == 8
    others = [row, {**row, "question": "마"}]
    assert questions_key(others, [asked]) == questions_key(others[::-1], [asked])


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_arrays_do_not_depend_on_the_size_of_a_chunk(size: int, seed: int) -> None:
    """Terms of many chunks are put together as if there were one."""
    draw = np.random.default_rng(seed)
    words = ["합병", "분할", "주주", "이사", "공고", "매수", "청구", "등기"]
    texts = [" ".join(draw.choice(words, draw.integers(0, 9))) for _ in range(size)]
    found = []
    for chunk in (postings.CHUNK, 8):
        terms = WordTerms()
        with TemporaryDirectory() as folder, mock.patch.object(postings, "CHUNK", chunk):
            Postings.build(Path(folder), terms, [terms.numbers(text) for text in texts])
            found.append([(Path(folder) / f"{name}.npy").read_bytes() for name in postings.PARTS])
    assert found[0] == found[1]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80))
def test_any_question_gets_an_answer(memory: LawIndex, question: str) -> None:
    assert all(hit.score > 0 for hit in memory.search(question, kinds=["article", "decision", "document"]))


def test_unknown_names_get_the_nearest(memory: LawIndex) -> None:
    assert memory.nearest("보기회사밥")[0] == "보기회사법"
    with pytest.raises(UsageError, match="no law") as fault:
        memory.article("보기회시법", "1")
    assert "보기회사법" in fault.value.next_step
    assert memory.article("보기회사법", "77") is None
    assert memory.nearest_numbers("보기회사법", "제2조의5", 2) == ["제2조의2", "제2조"]


@pytest.mark.parametrize("part", ["law.json", "articles.parquet", "search/articles/scores.npy", "search/cited.npy"])
def test_damage_is_told_with_the_next_command(memory_folder: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(memory_folder, tmp_path / "law")
    whole = (tmp_path / "law" / part).read_bytes()
    (tmp_path / "law" / part).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as fault:
        LawIndex.open(tmp_path / "law").search("합병")
    assert "mnatune law build" in fault.value.next_step
    (tmp_path / "law" / part).unlink()
    with pytest.raises(DataError):
        LawIndex.open(tmp_path / "law").search("합병")


def test_terms_left_out_change_no_better_rank(tmp_path: Path) -> None:
    """The arrays against a plain BM25 over the same terms, in which a term of the question given n times counts √n."""
    texts = ["합병에 반대하는 주주", "합병의 공고", "이사의 책임과 겸직", "주주총회의 소집과 공고", ""]
    terms = WordTerms()
    numbers = [terms.numbers(text) for text in texts]
    postings = Postings.build(tmp_path, terms, numbers)
    rows = [terms.of([row])[0].tolist() for row in numbers]
    mean = np.mean([len(row) for row in rows])
    for question in ("합병 공고", "주주의 책임", "이사", "합병 합병 공고 합병 공고"):
        asked = terms.query(question)
        counts = Counter(asked.tolist())
        expected = []
        for row in rows:
            score = 0.0
            for term, times in counts.items():
                found_in, count = sum(term in other for other in rows), row.count(term)
                idf = np.log(1 + (len(rows) - found_in + 0.5) / (found_in + 0.5))
                part = idf * count / (count + 1.2 * (0.4 + 0.6 * len(row) / mean)) if count else 0
                score += times**0.5 * part
            expected.append(score)
        assert postings.scores(asked) == pytest.approx(np.array(expected), abs=len(asked) * np.log(6) / 255)


# --------------------------------------------------------------------------------------------- the pack's


def test_the_bundled_memory_is_small_and_current(pack: Pack) -> None:
    folder = pack.path("law")
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert sum(sizes) < 34_000_000, "half of it is the encoder"
    memory = LawIndex.open(pack.root)
    assert len(memory.statutes.laws) > 50
    assert memory.as_of < "2026-12-01", "the day of the texts, not of the last entry into force"
    article = memory.article("상법", "제522조의3", "2026-11-28")
    assert article is not None
    assert (article.title, article.last, article.note) == ("합병반대주주의 주식매수청구권", "", "")
    assert "20일" in article.text


def test_the_module_is_light() -> None:
    code = "import sys, mnatune.law; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "pyarrow", "kiwipiepy", "bm25s"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("question", "known", "article"),
    [
        ("홈페이지에 알려도 됩니까?", " 홈페이지에 알려도 됩니까", "2의2"),  # a question of the pack
        ("축출될 때 누리는 지위", "소수주주가 축출될 때 누리는 지위의 성질", "2"),  # an issue of a decision
    ],
)
def test_what_cites_an_article_can_be_hidden_from_a_search(memory_folder, question, known, article):
    memory = LawIndex.open(memory_folder)
    assert memory.search(question)[0].article == article
    assert memory.search(question, hidden=["다른 질문"])[0].article == article
    assert article not in [hit.article for hit in memory.search(question, hidden=[known])]
