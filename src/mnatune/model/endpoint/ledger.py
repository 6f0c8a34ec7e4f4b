"""The ledger: every paid reply once, in SQLite (WAL), so that no row is paid twice, across runs and crashes.

A reply is committed in the turn of the event loop in which it arrives. What a `kill -9` can lose is the calls that are
in flight: at most the concurrency limit. Replies may quote rows, so the file is as confidential as the data;
it is created readable by its owner only.
"""

import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runs.errors import EnvironmentFault
from ...runs.sqlite_file import create_owner_only, write_ahead
from ...runs.workspace import value_hash
from .tally import CallUsage

BUSY_S = 60  # how long a writer waits for another
SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY, state TEXT NOT NULL, code TEXT NOT NULL, how TEXT NOT NULL, value TEXT NOT NULL,
  at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spending (
  run TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
  cost REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS canaries (key TEXT NOT NULL, at REAL NOT NULL, score INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS canaries_by_key ON canaries (key, at);
"""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A recorded reply: state "ok" with its value, or "failed" with a code."""

    state: str
    code: str
    how: str
    value: dict[str, Any]


def ledger_key(*parts: Any) -> str:
    """Hash of everything that a reply depends on: the row, the prompts and rubric, the model."""
    return value_hash(list(parts))


class Ledger:
    """An open ledger file; safe for several processes at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            create_owner_only(path)
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            write_ahead(self._base, BUSY_S)
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise EnvironmentFault(
                f"the ledger of paid replies cannot be opened: {error}",
                where=str(path),
                next_step="set endpoint.ledger to a file on a local disk that you may write",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def find(self, key: str) -> LedgerEntry | None:
        """The recorded reply of a key, if there is one."""
        row = self._base.execute("SELECT state, code, how, value FROM replies WHERE key = ?", (key,)).fetchone()
        return LedgerEntry(row[0], row[1], row[2], json.loads(row[3])) if row else None

    def record(self, key: str, entry: LedgerEntry) -> None:
        """Keep a reply; the first one of a key stays."""
        value = json.dumps(entry.value, ensure_ascii=False)
        self._base.execute(
            "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
            (key, entry.state, entry.code, entry.how, value, time.time()),
        )

    def pay(self, run: str, usage: CallUsage) -> None:
        """Add a call to what a run has spent."""
        self._base.execute(
            "INSERT INTO spending VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (run) DO UPDATE SET calls = calls + excluded.calls, "
            "tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out, "
            "cost = cost + excluded.cost",
            (run, usage.calls, usage.tokens_in, usage.tokens_out, usage.cost),
        )

    def spent(self, run: str) -> CallUsage:
        """What a run has spent so far, over all its processes."""
        query = "SELECT calls, tokens_in, tokens_out, cost FROM spending WHERE run = ?"
        row = self._base.execute(query, (run,)).fetchone()
        return CallUsage(*row) if row else CallUsage()

    def begin(self) -> bool:
        """Open a transaction; False if one is open already."""
        if self._base.in_transaction:
            return False
        self._base.execute("BEGIN IMMEDIATE")
        return True

    def commit(self) -> None:
        """Make what was recorded since `begin` last."""
        self._base.commit()

    def first_canary(self, key: str) -> int | None:
        """The score that a canary got when it was first judged."""
        row = self._base.execute("SELECT score FROM canaries WHERE key = ? ORDER BY at LIMIT 1", (key,)).fetchone()
        return int(row[0]) if row else None

    def add_canary(self, key: str, score: int) -> None:
        """Keep a canary's score of now."""
        self._base.execute("INSERT INTO canaries VALUES (?, ?, ?)", (key, time.time(), score))
