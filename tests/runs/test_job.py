"""Progress without a terminal, and the language switch."""

import time
from pathlib import Path

import pytest

from mnatune.pack import Pack
from mnatune.runs.job import LINE_SECONDS, Job, Pace
from mnatune.runs.output_language import LANGUAGES, VARIABLE, language
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Manifest, Run, Stage


class Clock:
    """Stands for time.monotonic."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "monotonic", found)
    return found


@pytest.mark.parametrize(("switch", "left"), [("en", "0:04:00 left"), ("ko", "0:04:00 남음")])
def test_a_log_gets_a_line_a_minute(
    clock: Clock, switch: str, left: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    pack: Pack, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, switch)
    stage = Stage(tmp_path, Manifest("read", "", {}, {}, 1))
    job = Job(Recipe(name="t"), pack, Run(tmp_path), stage)
    for _ in job.track(range(600), "read"):
        clock.now += 0.5
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 300 // LINE_SECONDS
    assert ("120/600" in lines[0], left in lines[0]) == (True, True)
    assert ("파일 읽기" in lines[0]) == (switch == "ko")


def test_short_work_says_nothing_and_loses_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    pace = Pace("x")
    for done in range(1000):
        clock.now += 0.05
        pace.tell(done)
    assert capsys.readouterr().err == ""


def test_the_language_is_the_switchs_then_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert language() == "en"
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    assert language() == "ko"
    monkeypatch.setenv(VARIABLE, "en")
    assert language() == "en"
    assert set(LANGUAGES) == {"ko", "en"}
