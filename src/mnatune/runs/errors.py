"""What mnatune says when it cannot go on: what was wrong, where, and what to do next.

MnatuneError
├── UsageError        exit 2   wrong usage or recipe
├── DataError         exit 3   bad input data
├── EnvironmentFault  exit 4   no GPU memory, no network, no model, a missing extra
└── Interrupted       exit 130 stopped by the user; the run can be continued
"""


class MnatuneError(Exception):
    """One message for the person at the keyboard.

    Args:
        what: what is wrong, in one sentence.
        where: file, line, archive member or key; empty if it is nowhere in particular.
        next_step: the command or edit that mends it; empty if there is none.
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
    """The error for an optional package that is not installed, with the pip line that cures it."""
    return EnvironmentFault(
        f"this needs the package {package!r}, which is not installed",
        next_step=f"pip install 'mnatune[{extra}]'",
    )
