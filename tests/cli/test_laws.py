"""`mnatune law` from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnatune.cli import app
from mnatune.runs.errors import MnatuneError

LAW = """---
제목: 보기회사법
시행일자: {day}
---

##### 제1조 (목적)

이 법은 합병을 정한다.

##### 제2조 (매수청구)

합병에 반대하는 주주는 {days}일 이내에 매수를 청구할 수 있다. <개정 2023.5.1>
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("laws")
    (root / "old.md").write_text(LAW.format(day="2020-01-01", days=10), encoding="utf-8")
    (root / "new.md").write_text(LAW.format(day="2024-01-01", days=20), encoding="utf-8")
    twice = "---\n제목: 두번법\n시행일자: 2024-01-01\n---\n\n##### 제52조 (가)\n\n하나\n\n##### 제52조 (나)\n\n둘\n"
    (root / "twice.md").write_text(twice, encoding="utf-8")
    done = run("build", str(root), "--out", str(root / "law"))
    assert "두번법 has 제52조 twice" in done
    assert "1 laws, 2 articles" in done
    return root / "law"


def run(*args: str) -> str:
    done = CliRunner().invoke(app, ["law", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def fault(*args: str) -> MnatuneError:
    with pytest.raises(MnatuneError) as caught:
        CliRunner().invoke(app, ["law", *args], catch_exceptions=False)
    return caught.value


def test_search_prints_names_and_text(index: Path) -> None:
    told = run("search", "합병 반대 주주의 매수 청구", "--index", str(index), "--at", "2022-01-01")
    assert "보기회사법 제2조(매수청구)" in told
    assert "10일" in told
    hits = json.loads(run("search", "매수 청구", "--index", str(index), "--json", "--top", "1"))
    assert [(hit["law"], hit["article"], hit["since"]) for hit in hits] == [("보기회사법", "2", "2024-01-01")]


def test_search_of_a_file(index: Path, tmp_path: Path) -> None:
    questions, out = tmp_path / "q.jsonl", tmp_path / "hits.jsonl"
    rows = [{"id": 1, "question": "매수 청구"}, {"id": 2, "question": "매수 청구", "at": "2022-01-01"}]
    questions.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    run("search", "--file", str(questions), "--out", str(out), "--index", str(index))
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == [1, 2]
    assert ["20일" in row["hits"][0]["text"] for row in found] == [True, False]
    questions.write_text('{"ask": "x"}\n', encoding="utf-8")
    assert fault("search", "--file", str(questions), "--out", str(out), "--index", str(index)).where.endswith(":1")


def test_show_and_diff(index: Path) -> None:
    assert "10일" in run("show", "보기회사법 제2조", "--at", "2022-01-01", "--index", str(index))
    told = run("diff", "보기회사법", "2022-01-01", "2024-06-01", "--index", str(index))
    assert "amended  제2조(매수청구)" in told
    assert "-합병에 반대하는 주주는 10일" in told
    assert "+합병에 반대하는 주주는 20일" in told
    assert "1 articles changed" in told


@pytest.mark.parametrize(
    ("question", "at", "told"),
    [("xyzzy plugh", "", "ask in Korean"), ("매수 청구", "1999-01-01", "earliest is of 2020-01-01")],
)
def test_finding_nothing_says_why(index: Path, question: str, at: str, told: str) -> None:
    assert told in run("search", question, "--at", at, "--index", str(index))


@pytest.mark.parametrize(
    ("args", "told", "code"),
    [
        (("search",), "give one question", 2),
        (("search", "가", "--at", "2023-5-1"), "is no day", 2),
        (("search", "가", "--at", "2023-02-30"), "is no day", 2),
        (("search", "가", "--kind", "article,law"), "there is no kind", 2),
        (("search", "가", "--index", "nowhere"), "no law memory", 3),
        (("show", "상법"), "names no article", 2),
        (("show", "보기회사밥 제1조"), "there is no law", 2),
        (("show", "보기회사법 제7조"), "never had", 2),
        (("diff", "보기회사법", "2024-01-01", "2023-01-01"), "is not before", 2),
        (("build", "nowhere"), "no such file", 3),
    ],
)
def test_wrong_use_is_told(index: Path, tmp_path: Path, args: tuple[str, ...], told: str, code: int) -> None:
    given = [*args, *([] if "--index" in args or args[0] == "build" else ["--index", str(index)])]
    error = fault(*given, *(["--out", str(tmp_path)] if args[0] == "build" else []))
    assert told in error.what
    assert error.exit_code == code
    assert error.next_step or args[0] == "build"


def test_the_nearest_are_named(index: Path) -> None:
    assert "보기회사법" in fault("show", "보기회사밥 제1조", "--index", str(index)).next_step
    assert "제2조" in fault("show", "보기회사법 제7조", "--index", str(index)).next_step
