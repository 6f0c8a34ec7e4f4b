"""SQLite files that several processes write at once: created readable by their owner only, with a write-ahead log (WAL)."""

import os
import sqlite3
import time
from pathlib import Path

OWNER_ONLY = 0o600
AGAIN_S = 0.01  # between two tries to switch the log on


def create_owner_only(path: Path) -> None:
    """Create the file and its folders where they lack; a file that is there keeps its mode. SQLite's other files get it.

    Raises:
        OSError: it cannot be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, OWNER_ONLY))


def write_ahead(handle: sqlite3.Connection, wait_s: float) -> None:
    """Switch the write-ahead log on; a database in memory stays without.

    The switch turns a read lock into an exclusive one. SQLite answers BUSY to that at once, without its busy timeout,
    where two connections try together: each could wait for the other for ever. One gives way, so it is tried again.

    Args:
        wait_s: for how long to try.

    Raises:
        sqlite3.OperationalError: the database stayed busy, or cannot be written.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            handle.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(AGAIN_S)
