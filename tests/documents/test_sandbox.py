"""Parsers that die, hang, devour or reach out cost one task each."""

import os
import sys
from pathlib import Path

import pytest

from mnatune.documents import Lost, attempt
from mnatune.documents.sandbox import TaskLimits
from mnatune.runs.errors import EnvironmentFault

sys.path.append(str(Path(__file__).parent))
import sandbox_tasks as tasks

NUMBERS = [(n,) for n in range(6)]


def lost(results):
    return [r.reason if isinstance(r, Lost) else r for r in results]


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_results_come_in_order(processes):
    assert list(attempt(tasks.good, NUMBERS, processes)) == [0, 2, 4, 6, 8, 10]


def test_a_process_that_dies_costs_one_task():
    assert lost(attempt(tasks.die, NUMBERS, 2)) == [0, "the reader crashed", 2, 3, "the reader crashed", 5]


def test_a_process_that_hangs_is_ended():
    assert lost(attempt(tasks.hang, NUMBERS[:3], 2, TaskLimits(seconds=2))) == [0, "took too long", 2]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS holds on Linux alone")
def test_memory_is_limited():
    assert lost(attempt(tasks.devour, NUMBERS[:3], 1)) == [0, "needs too much memory", 2]


def test_output_is_limited():
    assert lost(attempt(tasks.flood, NUMBERS[:2], 1, TaskLimits(output=100_000))) == ["가", "too much output"]


@pytest.mark.parametrize(
    ("work", "reason"),
    [(tasks.recurse, "nested too deeply"), (tasks.refuse, "encrypted"), (tasks.break_down, "damaged file")],
)
def test_reasons(work, reason):
    assert lost(attempt(work, NUMBERS[:1], 1)) == [reason]


@pytest.mark.parametrize("work", [tasks.connect, tasks.resolve, tasks.start])
def test_nothing_outside_is_reached(work):
    (found,) = attempt(work, NUMBERS[:1], 1)
    assert isinstance(found, Lost)
    assert "PermissionError" in found.detail


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of POSIX")
def test_no_file_is_written_or_removed(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("x")
    written, removed = (
        next(attempt(work, [(path,)], 1)) for work, path in ((tasks.write, tmp_path / "new"), (tasks.remove, kept))
    )
    assert isinstance(written, Lost)
    assert isinstance(removed, Lost)
    assert kept.exists()
    assert not (tmp_path / "new").exists() or not (tmp_path / "new").stat().st_size


def test_a_missing_package_stops_the_whole():
    with pytest.raises(EnvironmentFault, match="dochan") as caught:
        list(attempt(tasks.lack, NUMBERS, 2))
    assert "mnatune[documents]" in caught.value.next_step
