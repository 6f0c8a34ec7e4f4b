"""A new user's first hour, typed as the documents and the commands themselves say, with an Excel file of one's own."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl

ROWS = 40
SMALL = (
    "--set",
    "evaluate.items=2",
    "--set",
    "generation.max_new_tokens=24",
    "--set",
    "compose.splits=[0.8, 0.1, 0.1]",
)


@pytest.fixture
def desk(tmp_path, office) -> Path:
    """A folder with a workbook: questions, answers, topics, and a column that nobody needs."""
    rows = read_jsonl(Pack.load("mna_ko").path("qa.jsonl"))[:ROWS]
    sheet = [["질문", "답변", "분류", "비고"], *([r["question"], r["answer"], "합병", "내부"] for r in rows)]
    (tmp_path / "우리 팀 QA.xlsx").write_bytes(office.workbook({"질의응답": office.Grid(sheet)}))
    return tmp_path


def typed(desk: Path, *words: str) -> str:
    """What a command prints; it must succeed, and say nothing that a person cannot read."""
    done = subprocess.run(
        [sys.executable, "-m", "mnatune", *words], capture_output=True, text=True, cwd=desk, env=surroundings(desk)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def surroundings(desk: Path) -> dict[str, str]:
    return {**os.environ, "MNATUNE_LANG": "ko", "HF_HUB_OFFLINE": "1", "XDG_CONFIG_HOME": str(desk / "config")}


def asked(port: int, method: str, path: str, body: dict) -> dict:
    request = Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    with urlopen(request, timeout=60) as reply:
        text = reply.read()
    return json.loads(text) if text else {}


@pytest.mark.slow
def test_an_own_excel_file_becomes_a_model_that_answers_and_learns_from_ratings(desk: Path) -> None:
    shown = typed(desk, "read", "--preview", "우리 팀 QA.xlsx")
    assert f"질문·답변 {ROWS}행" in shown
    assert "비고" in shown
    assert [path.name for path in desk.iterdir()] == ["우리 팀 QA.xlsx"]

    command = shlex.split(re.search(r"다음: mnatune (.+)", shown)[1])
    run = command[command.index("--out") + 1]
    told = typed(desk, *command, *SMALL)
    assert "판정: " in told
    assert "학습은 되었으나" in told
    assert str(Path(run) / "report.html") in told
    report = (desk / run / "report.html").read_text(encoding="utf-8")
    assert "우리 팀 QA" in report
    assert "평가" in typed(desk, "runs")

    assert typed(desk, "ask", "합병이란 무엇입니까?", "--run", run).strip()
    serving = subprocess.Popen(
        [sys.executable, "-m", "mnatune", "serve", "--run", run, "--port", "0", "--keyless"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=desk, env=surroundings(desk),
    )  # fmt: skip
    try:
        for line in serving.stdout:
            if address := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                port = int(address[1])
                break
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    break
            except OSError:
                assert serving.poll() is None
                time.sleep(0.2)
        talk = [{"role": "user", "content": "주식매수청구권이란 무엇입니까?"}]
        answer = asked(port, "POST", "/v1/chat/completions", {"messages": talk, "max_tokens": 24, "store": True})
        assert answer["choices"][0]["message"]["content"]
        place = f"/api/generations/{answer['id']}"
        asked(port, "PUT", f"{place}/rating", {"thumb": -1})
        asked(port, "PUT", f"{place}/edit", {"text": "반대주주가 회사에 주식을 사 달라고 청구하는 권리입니다."})
    finally:
        serving.terminate()
        serving.communicate(timeout=60)

    for line in typed(desk, "feedback", "list").splitlines():
        if re.match(r"\w+\s", line) and "of" not in line.split()[1:3]:
            typed(desk, "feedback", "review", line.split()[0], "approved", "--reviewer", "lead")
    exported = typed(desk, "feedback", "export", "--out", "next", "--held-out", run)
    assert "train.jsonl" in exported
    (row,) = read_jsonl(desk / "next" / "train.jsonl")
    assert row["messages"][-1]["content"].startswith("반대주주가")
