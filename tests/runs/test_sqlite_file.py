"""A database that another connection reads is busy for a moment: opening it waits, and says so where it lasts."""

import sqlite3
import stat

import pytest

from mnatune.runs import sqlite_file
from mnatune.runs.sqlite_file import create_owner_only, write_ahead


@pytest.fixture
def read_by_another(tmp_path):
    """Two connections to a file: the first holds a read lock on it."""
    path = tmp_path / "a" / "b.sqlite3"
    create_owner_only(path)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("CREATE TABLE one (x)")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM one").fetchall()
    writer = sqlite3.connect(path, timeout=0)
    yield reader, writer
    reader.close()
    writer.close()


def test_the_switch_is_tried_again_until_the_reader_has_ended(read_by_another, monkeypatch):
    reader, writer = read_by_another
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            reader.execute("COMMIT")

    monkeypatch.setattr(sqlite_file.time, "sleep", wait)
    write_ahead(writer, 60)
    assert len(waits) == 3
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_that_stays_busy_is_said_so(read_by_another):
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(read_by_another[1], -1)


def test_another_fault_is_not_waited_for(monkeypatch):
    class Broken:
        def execute(self, _):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    monkeypatch.setattr(sqlite_file.time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(sqlite3.OperationalError, match="disk"):
        write_ahead(Broken(), 60)


def test_a_new_file_is_its_owners_only_and_an_old_one_stays_as_it_is(tmp_path):
    path = tmp_path / "a" / "b.sqlite3"
    create_owner_only(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o660)  # a group's own ledger
    path.write_bytes(b"kept")
    create_owner_only(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.read_bytes() == b"kept"
