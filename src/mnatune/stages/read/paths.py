"""File names on disk in UTF-8, cp949 or neither."""

import os
import unicodedata
from pathlib import Path

from ...text.normalize import decoded


def files_below(root: Path) -> list[Path]:
    """The file itself, or every file below a folder in name order."""
    return sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]


def name_of(path: Path, root: Path) -> str:
    """The path from the root in NFC, decoded as UTF-8, else cp949, else with the bytes escaped."""
    raw = os.fsencode(path.relative_to(root if root.is_dir() else root.parent).as_posix())
    name = decoded(raw)
    return raw.decode("utf-8", "backslashreplace") if name is None else unicodedata.normalize("NFC", name)
