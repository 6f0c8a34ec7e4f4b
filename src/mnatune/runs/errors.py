"""Errors for the person at the keyboard: what is wrong, where, and what to do next.

MnatuneError
├── UsageError        exit 2   wrong usage or recipe
├── DataError         exit 3   bad input data
├── EnvironmentFault  exit 4   no GPU memory, no network, no model, a missing extra
└── Interrupted       exit 130 stopped by the user; the run can be continued
"""

import difflib
import errno
import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class MnatuneError(Exception):
    """One message for the person at the keyboard.

    Args:
        what: what is wrong, in one sentence.
        where: file, line, archive member or key; empty if unknown.
        next_step: the command or edit that fixes it, if there is one.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.next_step:
            lines.append(f"  next:  {self.next_step}")
        return "\n".join(lines)


class UsageError(MnatuneError):
    """A wrong command, option or recipe."""

    exit_code = 2


class DataError(MnatuneError):
    """Input data that cannot be used: a broken archive, a missing column, an unknown layout."""

    exit_code = 3


class EnvironmentFault(MnatuneError):
    """The machine lacks something: memory, network, a model, a package."""

    exit_code = 4


class Interrupted(MnatuneError):
    """Stopped by Ctrl-C or SIGTERM after what was done had been saved."""

    exit_code = 130


def missing_extra(package: str, extra: str) -> EnvironmentFault:
    """The error for an optional package that is not installed, with the pip command that installs it."""
    return EnvironmentFault(
        f"this needs the package {package!r}, which is not installed",
        next_step=f"pip install 'mnatune[{extra}]'",
    )


@contextmanager
def needs(package: str, extra: str) -> Iterator[None]:
    """Around the import of an optional package: if that fails, `missing_extra` is raised."""
    try:
        yield
    except ImportError as error:
        raise missing_extra(package, extra) from error


def did_you_mean(wrong: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint at the nearest of the known names, else what is said otherwise."""
    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


CAUSES = 4  # errors of a chain, and frames of each, that are logged
FRAMES = 6


def log_failure(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log a failure by kind and place. Its text, which may quote a prompt or an answer, is logged at DEBUG only."""
    log.error("%s: %s", what, _anonymous(error))
    log.debug("%s", what, exc_info=error)


def _anonymous(error: BaseException) -> str:
    """Class, code and place of an error and of those that led to it: "OperationalError SQLITE_BUSY at store.py:71"."""
    told: list[str] = []
    at: BaseException | None = error
    while at is not None and len(told) < CAUSES:
        codes = (getattr(at, name, None) for name in ("sqlite_errorname", "sqlstate", "errno"))
        code = next((f" {code}" for code in codes if code), "")
        frames = traceback.extract_tb(at.__traceback__)[-FRAMES:]
        place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        told.append(f"{type(at).__name__}{code} at {place or 'an unknown place'}")
        at = at.__cause__ or at.__context__
    return "; from ".join(told)


SYSTEM = {
    errno.ENOSPC: ("the disk is full", "free some space and run again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run again"),
    errno.EFBIG: ("the file is too large for this disk or its limit", "use another disk, or raise the limit"),
    errno.EACCES: ("no permission", "change the permissions, or use another folder"),
    errno.EPERM: ("no permission", "change the permissions, or use another folder"),
    errno.EROFS: ("the disk is read-only", "use a folder that can be written"),
    errno.ENAMETOOLONG: ("the name is too long", "use a shorter name"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "use another path"),
    errno.EEXIST: ("a file stands where a folder is needed", "use another path"),
    errno.EISDIR: ("a folder stands where a file is needed", "use another path"),
    errno.ELOOP: ("the links go in a circle", "use another path"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n 4096"),
}


def from_system(error: OSError) -> EnvironmentFault | None:
    """An error of the operating system in words; None for one that the user cannot fix."""
    if error.errno not in SYSTEM:
        return None
    what, step = SYSTEM[error.errno]
    return EnvironmentFault(what, where=str(error.filename or ""), next_step=step)
