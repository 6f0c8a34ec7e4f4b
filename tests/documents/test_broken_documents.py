"""Files broken in every way and traps: each ends in one state, and the run goes on. The thousand: bench/document_faults.py."""

import pytest

from mnatune.documents import Lost, ReadFile, Unreadable, attempt, read_file
from mnatune.documents.sandbox import TaskLimits

CHEAP = ("laughs.docx", "laughs.hwpx", "laughs.xlsx", "outside.docx", "deep.html", "wide.html", "far.xlsx")


def test_every_file_ends_in_one_state(faults, tmp_path):
    made = [path for _, path in faults.build(tmp_path, 60, 11, traps=())]
    found = list(attempt(read_file, [(path, path.name) for path in made], 2, TaskLimits(seconds=30)))
    assert len(found) == len(made) == 60
    assert all(isinstance(f, ReadFile) or (isinstance(f, Lost) and f.reason) for f in found)
    reasons = {f.reason for f in found if isinstance(f, Lost)}
    assert "took too long" not in reasons
    assert any(isinstance(f, ReadFile) for f in found)
    assert len(reasons) > 1


def test_traps_do_no_harm(faults, tmp_path):
    made = [path for _, path in faults.build(tmp_path, len(CHEAP), 1, CHEAP)]
    found = list(attempt(read_file, [(path, path.name) for path in made], 2, TaskLimits(seconds=30)))
    assert all("took too long" not in f.reason for f in found if isinstance(f, Lost))
    for file in found:
        if isinstance(file, ReadFile):
            assert sum(len(s.text) for s in file.sections) < 100_000


def test_a_package_that_would_unpack_to_much_is_not_unpacked(faults, read_bytes):
    with pytest.raises(Unreadable, match="decompression bomb"):
        read_bytes("a.docx", faults._word(b" " * 20_000_000))
