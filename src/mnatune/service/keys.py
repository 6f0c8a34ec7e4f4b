"""API keys: 256 random bits, shown once, kept as SHA-256 only; limits per key on requests and tokens per minute.

A plain hash suffices because the key itself is random: there is nothing to guess. The file is read again when it
changes, so that a revoked key is refused within a second, without a restart. It holds the walls between matters too.
"""

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..model.engine.refusals import Refusal
from ..runs.errors import DataError, UsageError
from ..runs.workspace import atomic_path

log = logging.getLogger(__name__)

PREFIX = "mna_"
SHOWN = len(PREFIX) + 6  # characters of a key that lists may show
LONGEST_WALL = 80  # characters of a name
RECHECK = 1.0  # seconds between looks at the file


@dataclass(frozen=True, slots=True)
class Key:
    """A key's record; the key itself is nowhere.

    Attributes:
        id: short public name, also in logs and feedback.
        hash: SHA-256 of the key.
        shown: the key's first characters, to tell keys apart.
        expires: Unix time; None never.
        requests_per_minute, tokens_per_minute: 0 is no limit.
        admin: may see the admin page and review feedback.
        reviewer: may read and grade what others were answered.
        wall: the matter that the key is for, for good; empty for what is behind no wall.
    """

    id: str
    name: str
    hash: str
    shown: str
    created: float
    expires: float | None = None
    revoked: float | None = None
    requests_per_minute: int = 60
    tokens_per_minute: int = 60_000
    admin: bool = False
    reviewer: bool = False
    wall: str = ""

    @property
    def role(self) -> str:
        """ "admin", "reviewer" or "user"."""
        return "admin" if self.admin else "reviewer" if self.reviewer else "user"

    def state(self, now: float) -> str:
        """ "active", "expired" or "revoked"."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


@dataclass(frozen=True, slots=True)
class Wall:
    """A matter: what only the keys behind it may use and see.

    Attributes:
        models: served names; other keys are told that there are no such models.
        documents: a law memory (`mnatune law build`) whose documents only these keys get as evidence; empty for none.
    """

    name: str
    models: tuple[str, ...] = ()
    documents: str = ""


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a new key may do; `days` 0 means that it does not expire."""

    days: float = 90.0
    requests_per_minute: int = 60
    tokens_per_minute: int = 60_000
    admin: bool = False
    reviewer: bool = False
    wall: str = ""


class KeyStore:
    """The file of keys (mode 600, written atomically). A missing file holds no keys."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._looked = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._walls: dict[str, Wall] = {}
        self._in_use = False

    def create(self, name: str, terms: KeyTerms = KeyTerms()) -> tuple[Key, str]:
        """A new key's record and the key itself, which is never to be seen again.

        Raises:
            UsageError: the name is empty, so that lists and logs could not tell whose key it is, or there is no such wall.
        """
        if not name.strip():
            raise UsageError("a key needs a name", next_step="mnatune keys create NAME")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        key = Key(
            id=secrets.token_hex(4),
            name=name,
            hash=_hash(secret),
            shown=secret[:SHOWN],
            created=now,
            expires=now + terms.days * 86_400 if terms.days > 0 else None,
            requests_per_minute=terms.requests_per_minute,
            tokens_per_minute=terms.tokens_per_minute,
            admin=terms.admin,
            reviewer=terms.reviewer,
            wall=terms.wall,
        )
        with self._locked():
            keys, walls = self._read()
            if terms.wall and terms.wall not in walls:
                told = f"there are {', '.join(sorted(walls))}; " if walls else ""
                raise UsageError(
                    f"there is no wall {terms.wall!r}", next_step=f"{told}mnatune keys wall {terms.wall} MODEL"
                )
            self._write([*keys, key], walls)
        return key, secret

    def put_wall(self, wall: Wall) -> None:
        """Set up a wall, or say anew what is behind it.

        Raises:
            UsageError: the name is empty, has blanks at its ends or is too long.
        """
        if not wall.name or wall.name != wall.name.strip() or len(wall.name) > LONGEST_WALL:
            raise UsageError(
                f"a wall's name has 1 to {LONGEST_WALL} characters", next_step="mnatune keys wall NAME MODEL"
            )
        with self._locked():
            keys, walls = self._read()
            self._write(keys, {**walls, wall.name: wall})

    def revoke(self, key_id: str) -> Key:
        """Refuse a key from now on; raises `UsageError` if there is none of that id."""
        with self._locked():
            keys, walls = self._read()
            found = [key for key in keys if key.id == key_id]
            if not found:
                raise UsageError(f"there is no key {key_id!r}", next_step="mnatune keys list")
            revoked = replace(found[0], revoked=found[0].revoked or self._clock())
            self._write([revoked if key.id == key_id else key for key in keys], walls)
        return revoked

    def all(self) -> list[Key]:
        """All keys, oldest first."""
        return self._read()[0]

    def now(self) -> float:
        """The time by which keys expire."""
        return self._clock()

    @property
    def walls(self) -> dict[str, Wall]:
        """Name → wall; of a file that got lost or damaged the last that could be read."""
        self._refresh()
        return self._walls

    def in_use(self) -> bool:
        """Whether the file ever held a key while this store watched it; a damaged file counts as one that does.

        It never turns false again: a server that asked for keys is not opened by removing the file.
        """
        self._refresh()
        return self._in_use

    def find(self, secret: str) -> Key | None:
        """The active key that is this secret; None if it is wrong, expired or revoked, or its wall is gone."""
        self._refresh()
        key = self._keys.get(_hash(secret))
        if key is None or key.state(self._clock()) != "active" or (key.wall and key.wall not in self._walls):
            return None
        return key

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < RECHECK:
            return
        self._looked = now
        try:
            facts = self.path.stat()
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
            return
        stamp = (facts.st_mtime_ns, facts.st_ino)
        if stamp != self._stamp:
            try:
                keys, self._walls = self._read()
                self._keys = {key.hash: key for key in keys}
                self._in_use |= bool(self._keys)
            except DataError as error:  # a damaged file lets nobody in
                log.error("%s", error)
                self._keys, self._in_use = {}, True
            self._stamp = stamp

    def _read(self) -> tuple[list[Key], dict[str, Wall]]:
        """The file's keys and walls; a file without walls is a list of keys."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            held = found if isinstance(found, dict) else {"keys": found, "walls": []}
            walls = [Wall(**{**row, "models": tuple(row["models"])}) for row in held["walls"]]
            return [Key(**row) for row in held["keys"]], {wall.name: wall for wall in walls}
        except FileNotFoundError:
            return [], {}
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"not a file of keys: {error}", where=str(self.path)) from error

    def _write(self, keys: list[Key], walls: dict[str, Wall]) -> None:
        rows = [asdict(key) for key in keys]
        held = {"walls": [asdict(wall) for wall in walls.values()], "keys": rows} if walls else rows
        with atomic_path(self.path) as partial:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(held, file, ensure_ascii=False, indent=1)
        self._looked = float("-inf")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(slots=True)
class Bucket:
    """A bucket that fills evenly to `per_minute` and may be drawn below zero; then one has to wait."""

    per_minute: float
    level: float
    at: float

    def wait(self, now: float) -> float:
        """Seconds until something is in the bucket again; 0 if there is something now."""
        self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        return 0.0 if self.level >= 1 else (1 - self.level) * 60 / self.per_minute

    def draw(self, amount: float) -> None:
        """Take out."""
        self.level -= amount


SMALL = 10  # requests that make no answer weigh as one that does


class Limiter:
    """Requests and tokens per minute of each key. Tokens are charged when they are known; debt is waited off."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def admit(self, key: Key) -> None:
        """Count a request; raises `Refusal` 429 with the time to wait if a limit is reached."""
        requests = self._bucket(key, "requests", key.requests_per_minute)
        tokens = self._bucket(key, "tokens", key.tokens_per_minute)
        now = self._clock()
        for bucket, unit in ((requests, "requests"), (tokens, "tokens")):
            if bucket and (wait := bucket.wait(now)) > 0:
                message = f"this key's limit of {unit} per minute is reached"
                raise Refusal(429, message, code="rate_limit_exceeded", retry_after=wait)
        if requests:
            requests.draw(1)

    def admit_small(self, key: Key) -> None:
        """Count a request that makes no answer (ratings, marks, lists); `SMALL` of them weigh as one that does."""
        bucket = self._bucket(key, "small", key.requests_per_minute * SMALL)
        if bucket and (wait := bucket.wait(self._clock())) > 0:
            raise Refusal(
                429, "this key's limit of requests per minute is reached", code="rate_limit_exceeded", retry_after=wait
            )
        if bucket:
            bucket.draw(1)

    def count(self, key: Key, requests: int) -> None:
        """Count further requests of one that was admitted; debt is waited off."""
        if bucket := self._bucket(key, "requests", key.requests_per_minute):
            bucket.draw(requests)

    def charge(self, key: Key, tokens: int) -> None:
        """Count an answer's tokens, prompt and completion."""
        if bucket := self._bucket(key, "tokens", key.tokens_per_minute):
            bucket.wait(self._clock())
            bucket.draw(tokens)

    def _bucket(self, key: Key, unit: str, per_minute: int) -> Bucket | None:
        if per_minute <= 0:
            return None
        bucket = self._buckets.get((key.id, unit))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[key.id, unit] = Bucket(per_minute, per_minute, self._clock())
        return bucket


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
