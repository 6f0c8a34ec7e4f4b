"""A made-up run and its report, built once."""

from pathlib import Path

import pytest
from fake_run import FakeRun

from mnatune.reports import report
from mnatune.runs.workspace import Run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with every stage done; not to be changed by a test."""
    return FakeRun(tmp_path_factory.mktemp("whole")).build()


@pytest.fixture(scope="session")
def page_path(whole_run: Run) -> Path:
    """The whole run's report."""
    return report(whole_run)


@pytest.fixture(scope="session")
def page(page_path: Path) -> str:
    return page_path.read_text(encoding="utf-8")


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    """A builder over an empty folder."""
    return FakeRun(tmp_path)
