"""The whole way to a real model: the project's own server with the starter, whose replies are no JSON."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from known_rows import endpoint, make_job, make_rows, make_run

from mnatune.runs.errors import EnvironmentFault
from mnatune.stages.judge import judge


@pytest.fixture
def served_starter(tmp_path: Path) -> Iterator[str]:
    """base_url of `mnatune serve` with the starter model."""
    options = ["--models", str(tmp_path / "none"), "--base", "starter", "--port", "0", "--keyless", "--feedback", ""]
    command = [sys.executable, "-m", "mnatune", "serve", *options, "--keys", str(tmp_path / "keys.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"{process.stdout.readline().split()[-1]}/v1"
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
def test_a_real_model_that_writes_no_json_ends_every_row_once(
    served_starter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnatune.model.endpoint.rubric.REPLY_TOKENS", 40)
    rows, _ = make_rows(3)
    section = endpoint(served_starter, tmp_path, model="starter", timeout=300.0)
    run = make_run(tmp_path / "run", rows)

    def booked() -> tuple[int, int]:
        with sqlite3.connect(tmp_path / "ledger.sqlite3") as base:
            return base.execute("SELECT count(*) FROM replies").fetchone()[0], base.execute(
                "SELECT sum(calls) FROM spending"
            ).fetchone()[0]

    for _ in range(2):  # the second time nothing is asked
        with pytest.raises(EnvironmentFault, match="not one of 3 rows got a usable reply"):
            judge(make_job(run, judge={"scorer": "llm"}, endpoint=section))
        settled, calls = booked()
        assert settled == 3
        assert 3 <= calls <= 6  # a repair each at most; json_schema, which this server refuses, costs nothing
